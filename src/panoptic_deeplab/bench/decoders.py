"""Panoptic-DeepLab's decoder against DeepLabV3+'s, on the same backbone: supplement, table 1."""

from functools import partial

import torch
from rich.progress import Progress
from torch import Tensor, nn

from panoptic_deeplab.bench.base import Result, threads, time_in_turn
from panoptic_deeplab.bench.measure import copy_milliseconds, machine, or_none, peak_mb
from panoptic_deeplab.config import ModelConfig, Size
from panoptic_deeplab.counting import count
from panoptic_deeplab.model import build_model

DECODERS = {
    "panoptic_deeplab": ModelConfig(),
    "deeplabv3plus": ModelConfig(
        decoder="deeplabv3plus", semantic_projections=(32,), instance_projections=(16,)
    ),
}
"""The settings of table 1 but for the backbone: our count of both equals the published one."""

COLUMNS = (
    "decoder",
    "parameters",
    "multiply-adds",
    "profiler G",
    "median ms",
    "fastest ms",
    "times as long",
)


def compare_decoders(
    *,
    backbone: str,
    output_stride: int,
    size: Size,
    num_classes: int,
    rounds: int,
    num_threads: int,
    progress: Progress | None = None,
) -> Result:
    """Count and time both decoders on one random image, on the CPU.

    Args:
        backbone: name in `BACKBONES`, or `timm:NAME`.
        output_stride: of the backbone.
        size: (H, W) of the image.
        num_classes: K.
        rounds: that count.
        num_threads: of torch; 0: its own choice.
        progress: shows the rounds.

    Returns:
        The figures of Panoptic-DeepLab's decoder also stand alone: speedup over the other one, and
        floor_milliseconds, of reading image and weights and writing the heads once.

    Raises:
        ValueError: if the backbone is unknown or refuses the output stride, or if there is no
            class.
    """
    if num_classes < 1:
        raise ValueError(f"classes must be at least 1, got {num_classes}. Cityscapes has 19.")
    configs = {
        name: ModelConfig.model_validate(
            config.model_dump() | {"backbone": backbone, "output_stride": output_stride}
        )
        for name, config in DECODERS.items()
    }
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8)
    counts = {name: count(config, num_classes, size) for name, config in configs.items()}
    models = {name: _prepare(config, num_classes) for name, config in configs.items()}
    functions = {name: partial(_run, model, image) for name, model in models.items()}
    ours, other = DECODERS
    with threads(num_threads) as used, torch.inference_mode():
        times = time_in_turn(functions, rounds=rounds, progress=progress)
        peaks = {name: or_none(peak_mb(function)) for name, function in functions.items()}
        heads = models[ours](image)
    weights = sum(weight.numel() for weight in models[ours].parameters())
    floor = copy_milliseconds(image.numel() + 4 * (weights + sum(x.numel() for x in heads)))
    first = times[ours]
    return Result(
        title=f"{backbone}, {size[0]}x{size[1]}, {num_classes} classes, CPU, {used} threads",
        columns=COLUMNS,
        rows=[
            [
                name,
                f"{counts[name].parameters:,}",
                f"{counts[name].multiply_adds.convolution:,}",
                f"{counts[name].published / 1e9:.2f}",
                f"{times[name].median_ms:.1f}",
                f"{times[name].fastest_ms:.1f}",
                f"{times[name].times_as_long_as(first):.2f}",
            ]
            for name in configs
        ],
        plain={
            "milliseconds": first.median_ms,
            "speedup": times[other].times_as_long_as(first),
            "peak_mb": peaks[ours],
            "floor_milliseconds": floor,
            "backbone": backbone,
            "output_stride": output_stride,
            "input": list(size),
            "classes": num_classes,
            "device": "cpu",
            "threads": used,
            "rounds": rounds,
            "machine": machine(),
            "torch": torch.__version__,
            "results": [
                {
                    "name": name,
                    "params": counts[name].parameters,
                    "multiply_adds": counts[name].multiply_adds.convolution,
                    "multiply_adds_profiler": round(counts[name].published / 1e9, 3),
                    "latency_ms": times[name].median_ms,
                    "fastest_ms": times[name].fastest_ms,
                    "times_as_long": times[name].times_as_long_as(first),
                    "peak_mb": peaks[name],
                }
                for name in configs
            ],
        },
    )


def _prepare(config: ModelConfig, num_classes: int) -> nn.Module:
    """As the predictor does: eval mode, channels last, which is faster on CPUs."""
    model = build_model(config, num_classes).eval()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _run(model: nn.Module, image: Tensor) -> None:
    model(image.to(memory_format=torch.channels_last))
