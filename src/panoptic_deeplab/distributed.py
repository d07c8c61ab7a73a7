"""Several processes that train one network together, as `torchrun` starts them.

What they are is read from the environment, see `processes`; in a process that is alone everything
here does nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from panoptic_deeplab.processes import Processes, from_environment

Item = TypeVar("Item")


@contextmanager
def joined(device: str | None = None) -> Iterator[Processes]:
    """Join the other processes, and leave them at the end: NCCL on GPUs, gloo on CPUs.

    Args:
        device: torch's name of where the network is; None: a GPU if there is one.
    """
    processes = from_environment()
    if processes.world == 1:
        yield processes
        return
    on_gpu = (device or ("cuda" if torch.cuda.is_available() else "cpu")).startswith("cuda")
    if on_gpu:
        if processes.local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"Each process needs a GPU of its own, got process {processes.local_rank + 1} on a "
                f"machine with {torch.cuda.device_count()}. Start fewer, or set "
                "CUDA_VISIBLE_DEVICES= to train on the CPU."
            )
        torch.cuda.set_device(processes.local_rank)
    backend = "nccl" if on_gpu else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        dist.init_process_group(
            backend, store=_store(processes), rank=processes.rank, world_size=processes.world
        )
    else:
        dist.init_process_group(backend)
    try:
        yield processes
    finally:
        dist.destroy_process_group()


def _store(processes: Processes) -> Any:
    """Where processes leave their addresses for one another: `torchrun`'s, with a shelf per start.

    Without one, processes that were started anew find the addresses of those that died, and wait
    for them (seen with torch 2.13 and gloo).
    """
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(*place, is_master=False)  # type: ignore[attr-defined]
    return dist.PrefixStore(f"start_{processes.restarts}", store)  # type: ignore[attr-defined]


def is_joined() -> bool:
    """Whether there are others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def summed(value: Tensor) -> Tensor:
    """The sum of all processes' tensors, in place."""
    if is_joined():
        dist.all_reduce(value)
    return value


def any_says(flag: bool, device: torch.device) -> bool:
    """Whether any process says yes; all learn the same."""
    if not is_joined():
        return flag
    return bool(summed(torch.tensor([int(flag)], device=device)).item())


def gathered(items: list[Item]) -> list[Item]:
    """The items of all processes, in the order of their ranks."""
    if not is_joined():
        return items
    lists: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


class _Sum(torch.autograd.Function):
    """Sum over the processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return summed(value.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return summed(gradients[0].clone())


def differentiable_sum(value: Tensor) -> Tensor:
    """The sum of all processes' tensors, through which gradients flow to each of them."""
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total
