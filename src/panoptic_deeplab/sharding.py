"""A network whose weights lie in parts on several processes, gradients and averages too (FSDP2).

Each process keeps a part of every weight and, for it, gradient and optimizer state, and gets the
others' parts while they are needed. What is written to files is whole, so that any number of
processes can go on. The functions that put something together must be called by all processes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def shard(model: nn.Module, units: Sequence[nn.Module], device: torch.device) -> None:
    """Leave this process its part of a network.

    Args:
        model: on a CPU, or on its device already; changed in place. Weights lose a channels-last
            order, which FSDP2 does not take.
        units: parts of the model that are whole only while they compute; they must be called as
            modules. All else is whole while the model computes.
        device: of this process, where its part goes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for unit in (*units, model):
        fully_shard(unit, mesh=mesh)


@contextmanager
def exchanging_gradients(network: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Join the processes' gradients of the backward pass within, or leave that to a later one.

    Args:
        network: in parts, or a `DistributedDataParallel`; others have nothing to join.
        wanted: else gradients are added up here.
    """
    if isinstance(network, DistributedDataParallel) and not wanted:
        with network.no_sync():
            yield
        return
    switch = getattr(network, "set_requires_gradient_sync", None)  # FSDP2's networks have it
    if switch is not None:
        switch(wanted)
    yield


def whole(value: Tensor) -> Tensor:
    """The tensor of which each process has a part; any other is returned as it is."""
    full: Tensor = value.full_tensor() if _is_part(value) else value  # type: ignore[attr-defined]
    return full


def own_part(value: Tensor) -> Tensor:
    """This process's part of a tensor, in the same memory; any other is returned as it is."""
    part: Tensor = value.to_local() if _is_part(value) else value  # type: ignore[attr-defined]
    return part


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights by name; of statistics, which each process has for itself, those of the first."""
    weights = {}
    for name, value in model.state_dict().items():
        if _is_part(value):
            weights[name] = whole(value)
        else:
            weights[name] = value.clone()
            dist.broadcast(weights[name], src=0)
    return weights


def in_parts_as(value: Tensor, own: Tensor) -> Tensor:
    """This process's part of a whole tensor, if that is what it has of another one of its shape.

    All processes call it together; the first one's tensor counts.
    """
    if not _is_part(own) or value.shape != own.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    part: Tensor = distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
    return part


def _is_part(value: Tensor) -> bool:
    return hasattr(value, "full_tensor")  # a DTensor, whose module not every torch has
