"""One step of training: forward, losses, backward, and what happens to the gradients.

In: a network, a batch of one process, settings. Out: gradients in the network's weights, and the
losses. The batch may be computed in parts, and other processes may hold the rest of it: the sums
are those of the whole batch.
"""

import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from panoptic_deeplab.config import Experiment, ScheduleConfig
from panoptic_deeplab.decoder import fewest_images
from panoptic_deeplab.distributed import summed
from panoptic_deeplab.losses import Losses, Part, compute_losses
from panoptic_deeplab.model import PanopticDeepLab
from panoptic_deeplab.processes import Processes
from panoptic_deeplab.sharding import exchanging_gradients, own_part, whole
from panoptic_deeplab.structures import Batch, Targets

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gradients:
    """What a backward pass gave.

    Attributes:
        losses: of the whole batch, over all processes.
        norm: of all gradients together, before clipping.
        is_finite: whether both are.
    """

    losses: Losses
    norm: float
    is_finite: bool


def make_optimizer(model: PanopticDeepLab, schedule: ScheduleConfig) -> torch.optim.Optimizer:
    """Adam, or AdamW with weight decay; the backbone as a group of its own where its rate differs.

    Each group has a `factor`, by which the schedule's rate is multiplied.
    """
    backbone = [p for p in model.backbone.parameters() if p.requires_grad]
    ids = {id(p) for p in backbone}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
    groups: list[dict[str, object]] = [{"params": [*backbone, *rest], "factor": 1.0}]
    if schedule.backbone_rate_factor != 1:
        groups = [
            {"params": backbone, "factor": schedule.backbone_rate_factor},
            {"params": rest, "factor": 1.0},
        ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
    )  # with the paper's weight decay of 0 this is Adam


def backward(
    network: nn.Module,
    model: PanopticDeepLab,
    batch: Batch,
    experiment: Experiment,
    processes: Processes,
    *,
    parts: int,
    dtype: torch.dtype,
    loss_scale: float = 1.0,
) -> Gradients:
    """Compute the gradients of a batch.

    Args:
        network: the model, or what joins it with those of other processes.
        model: itself, in training mode.
        batch: this process's share, on the model's device.
        experiment: losses and clipping.
        processes: that hold the rest of the batch.
        parts: in which the batch is computed.
        dtype: the network runs in; weights, losses and gradients are float32.
        loss_scale: see `loss_scale.py`; gradients come out without it.
    """
    count = batch.image.shape[0]
    parts = min(parts, count)
    totals = _sums(batch.targets) if parts * processes.world > 1 else None
    sums = torch.zeros(4, device=batch.image.device)
    for i in range(parts):
        first, last = count * i // parts, count * (i + 1) // parts
        targets = Targets(*(t[first:last] for t in batch.targets))
        image = batch.image[first:last].contiguous(memory_format=torch.channels_last)
        # Gradients are exchanged once, behind the last part.
        with exchanging_gradients(network, wanted=i == parts - 1):
            is_lower = dtype != torch.float32
            with (
                torch.autocast(image.device.type, dtype, enabled=is_lower),
                fastest_convolutions(image.device),
            ):
                outputs = network(image)
            outputs = type(outputs)(*(head.float() for head in outputs))
            outputs = model.upsample(outputs, (image.shape[2], image.shape[3]))
            share = (last - first) / (count * processes.world)
            part = None if totals is None else Part(share, totals[0], totals[1])
            losses = compute_losses(outputs, targets, part=part, **experiment.loss.model_dump())
            # Processes' gradients are averaged; those of the parts of one sum are to be added.
            with fastest_convolutions(image.device):
                (losses.total * (processes.world * loss_scale)).backward()  # type: ignore[no-untyped-call]
        sums += torch.stack([value.detach() for value in losses])
    told = Losses(*summed(sums).unbind())
    weights = [p for p in model.parameters() if p.grad is not None]
    gradients: list[torch.Tensor] = [p.grad for p in weights]  # type: ignore[misc]
    if loss_scale != 1:
        torch._foreach_div_([own_part(g) for g in gradients], loss_scale)
    norm = nn.utils.get_total_norm(gradients)
    bound = experiment.schedule.clip_norm
    if bound:
        nn.utils.clip_grads_with_norm_(weights, bound, norm)
    # A GPU is waited for once: reading either number alone would hold it up twice.
    numbers = torch.stack([told.total, whole(norm).to(told.total.device)]).tolist()
    is_finite = all(map(math.isfinite, numbers))
    return Gradients(told, numbers[1] if math.isfinite(numbers[0]) else math.nan, is_finite)


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """Let cuDNN try its algorithms at the first step: all further crops have the same size."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def backward_that_fits(
    network: nn.Module,
    model: PanopticDeepLab,
    batch: Batch,
    experiment: Experiment,
    processes: Processes,
    *,
    parts: int,
    dtype: torch.dtype,
    loss_scale: float = 1.0,
) -> tuple[Gradients, int]:
    """As `backward`; where memory does not suffice, in twice as many parts, and so on.

    Returns:
        The gradients, and in how many parts they were computed.

    Raises:
        torch.OutOfMemoryError: if the fewest images that the network trains on do not fit
            either, or if there are other processes, which could not follow.
    """
    while True:
        try:
            found = backward(
                network,
                model,
                batch,
                experiment,
                processes,
                parts=parts,
                dtype=dtype,
                loss_scale=loss_scale,
            )
        except torch.OutOfMemoryError:
            most = batch.image.shape[0] // fewest_images(model)
            if parts >= most or processes.world > 1:
                raise
            parts = min(2 * parts, most)
            logger.warning(
                "The memory does not hold the batch: from now on it is computed in %d parts. "
                "Set schedule.accumulate to %d to begin so.",
                parts,
                parts,
            )
            model.zero_grad(set_to_none=True)
            continue
        return found, parts


def learning_rate(schedule: ScheduleConfig, step: int) -> float:
    """The rate of step `step` (from 0): poly decay after a linear warm-up.

    Example:
        >>> config = ScheduleConfig(iterations=100, learning_rate=1.0, poly_power=1.0)
        >>> learning_rate(config, 0), learning_rate(config, 75)
        (1.0, 0.25)
    """
    left = max(0.0, 1 - step / schedule.iterations)
    rate = schedule.learning_rate * math.pow(left, schedule.poly_power)
    if step < schedule.warmup_iterations:
        rate *= (step + 1) / schedule.warmup_iterations
    return rate


def compute_dtype(experiment: Experiment, device: torch.device) -> torch.dtype:
    """What the network runs in; weights, losses and optimizer stay float32.

    Raises:
        ValueError: if it is float16 on a CPU, where a step takes minutes.
    """
    wanted = experiment.schedule.precision
    if wanted == "float16":
        if device.type == "cpu":
            raise ValueError(
                "schedule.precision must be float32, bfloat16 or auto on a CPU, got float16, which "
                "CPUs emulate. Leave it at auto, or train on a GPU."
            )
        return torch.float16
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    native = False
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":  # where it is slower than float32 unless there are instructions
        # Old torch releases cannot tell, they train in float32.
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        native = bool(capabilities.get("avx512_bf16", False))
    return torch.bfloat16 if native else torch.float32


def compiled(model: PanopticDeepLab, device: torch.device) -> nn.Module:
    """The same weights behind a forward pass that torch compiles at its first call.

    Raises:
        ValueError: if there is no compiler for a CPU.
    """
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl")
    if device.type == "cpu" and not any(map(shutil.which, filter(None, compilers))):
        raise ValueError(
            "schedule.compile needs a C++ compiler, found none. Install g++ or clang++, name one "
            "in the environment variable CXX, or leave the setting off."
        )
    network: nn.Module = torch.compile(model, dynamic=False)  # type: ignore[assignment]
    return network


def _sums(targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the center and the offset weights of the whole batch, over all processes."""
    pair = torch.stack([targets.center_weight.sum(), targets.offset_weight.sum()])
    center, offset = summed(pair.float()).unbind()
    return center, offset
