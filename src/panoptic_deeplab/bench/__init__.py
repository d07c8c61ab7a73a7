"""What `panoptic-deeplab bench` can measure: a table of names.

A new bench is a file with a function that returns rows, a dataclass in `choices.py`, and a line in
`BENCHES`. Heavy modules are imported inside the functions.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from panoptic_deeplab.bench.choices import (
    Data,
    Decoders,
    Depthwise,
    Device,
    Evaluation,
    Metrics,
    Network,
    Postprocess,
    Targets,
    Train,
    without_quick,
)

if TYPE_CHECKING:
    from panoptic_deeplab.bench.base import Result
    from panoptic_deeplab.bench.scenes import Scene

__all__ = ["BENCHES", "run_bench"]


def run_bench(name: str, options: Any, progress: Progress) -> "Result":
    """Run one of `BENCHES`.

    Args:
        name: in the table.
        options: an instance of its dataclass.
        progress: shows the rounds.

    Raises:
        ValueError: if an option is out of range.
    """
    return BENCHES[name][1](without_quick(options), progress)


def _postprocess(options: Postprocess, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.measure import as_result
    from panoptic_deeplab.bench.postprocess import bench_postprocess, bench_public_form

    scene = _scene(options)
    if any(side % 4 for side in options.size):
        raise ValueError(
            f"Sides must be multiples of 4, got {options.size}. Heads lie at stride 4."
        )
    if not options.backends:
        raise ValueError("backends must name at least one of numba, tensor, plain.")
    rows = bench_postprocess(
        scene, backends=options.backends, repeats=options.rounds, progress=progress
    )
    if options.public_form:
        rows["centers x pixels"] = bench_public_form(scene)
    return as_result(f"heads to segments, {_named(options)}", rows, _settings(options))


def _targets(options: Targets, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.measure import as_result
    from panoptic_deeplab.bench.targets import bench_targets

    if not options.backends:
        raise ValueError("backends must name at least one of numba, plain.")
    rows = bench_targets(
        _scene(options), backends=options.backends, repeats=options.rounds, progress=progress
    )
    return as_result(f"truth to targets, {_named(options)}", rows, _settings(options))


def _metrics(options: Metrics, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.measure import as_result
    from panoptic_deeplab.bench.metrics import bench_metrics

    rows = bench_metrics(_scene(options), repeats=options.rounds, progress=progress)
    return as_result(f"metrics of one image, {_named(options)}", rows, _settings(options))


def _evaluation(options: Evaluation, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.evaluation import bench_evaluation

    return bench_evaluation(
        _scene(options), images=options.images, workers=options.workers, progress=progress
    )


def _network(options: Network, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.measure import as_result
    from panoptic_deeplab.bench.network import bench_network

    if options.classes < 1:
        raise ValueError(f"classes must be at least 1, got {options.classes}. Cityscapes has 19.")
    rows = bench_network(
        backbone=options.backbone,
        size=options.size,
        num_classes=options.classes,
        with_bfloat16=options.bfloat16,
        repeats=options.rounds,
        progress=progress,
    )
    height, width = options.size
    return as_result(f"{options.backbone}, {height}x{width}", rows, _settings(options))


def _device(options: Device, progress: Progress) -> "Result":
    import torch

    from panoptic_deeplab.bench.base import checked_device
    from panoptic_deeplab.bench.device import bench_device
    from panoptic_deeplab.bench.measure import as_result

    device = checked_device(options.device)
    rows = bench_device(
        _scene(options),
        device=device,
        backbone=options.backbone,
        repeats=options.rounds,
        progress=progress,
    )
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    title = f"{options.backbone} and grouping on {named}, {_named(options)}"
    settings = _settings(options) | {"device": named}
    return as_result(title, rows, settings, clock="time by the clock")


def _decoders(options: Decoders, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.decoders import compare_decoders

    return compare_decoders(
        backbone=options.backbone,
        output_stride=options.output_stride,
        size=options.size,
        num_classes=options.classes,
        rounds=options.rounds,
        num_threads=options.threads,
        progress=progress,
    )


def _data(options: Data, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.data import bench_data

    return bench_data(
        data=options.data,
        pictures=options.pictures,
        size=options.size,
        crop=options.crop,
        images=options.images,
        batch=options.batch,
        workers=options.workers,
        cache_mb=options.cache_mb,
        network_ms=options.network_ms,
        progress=progress,
    )


def _train(options: Train, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.base import checked_device
    from panoptic_deeplab.bench.train import bench_train

    return bench_train(
        backbones=options.backbones,
        crop=options.crop,
        batch=options.batch,
        steps=options.steps,
        rounds=options.rounds,
        workers=options.workers,
        num_threads=options.threads,
        device=checked_device(options.device),
        with_compiled=options.compile,
        progress=progress,
    )


def _depthwise(options: Depthwise, progress: Progress) -> "Result":
    import torch

    from panoptic_deeplab.bench.depthwise import bench_depthwise
    from panoptic_deeplab.bench.measure import as_result

    if options.batch < 1:
        raise ValueError(f"batch must be at least 1, got {options.batch}.")
    rows = bench_depthwise(
        batch=options.batch,
        dtype=torch.bfloat16 if options.bfloat16 else torch.float32,
        repeats=options.rounds,
        progress=progress,
    )
    kind = "bfloat16" if options.bfloat16 else "float32"
    title = f"training step of a depthwise convolution, batch of {options.batch}, {kind}"
    return as_result(title, rows, _settings(options))


def _scene(options: Any) -> "Scene":
    """What is to be drawn, checked.

    Raises:
        ValueError: if nothing could be drawn.
    """
    from panoptic_deeplab.bench.scenes import Scene

    if min(options.size) < 32:
        raise ValueError(f"Each side must be at least 32 pixels, got {options.size}.")
    if not 4 <= options.classes <= 255:
        raise ValueError(f"classes must be 4 to 255, got {options.classes}. Cityscapes has 19.")
    if options.things < 1:
        raise ValueError(f"things must be at least 1, got {options.things}. Streets have about 80.")
    return Scene(options.size, options.classes, options.things)


def _named(options: Any) -> str:
    height, width = options.size
    return f"{height}x{width}, {options.classes} classes, {options.things} things"


def _settings(options: Any) -> dict[str, Any]:
    """What is needed to repeat it."""
    shown = {"json", "debug", "quick"}
    return {k: v for k, v in vars(options).items() if k not in shown}


BENCHES: dict[str, tuple[Any, Callable[[Any, Progress], "Result"]]] = {
    "postprocess": (Postprocess, _postprocess),
    "targets": (Targets, _targets),
    "metrics": (Metrics, _metrics),
    "evaluation": (Evaluation, _evaluation),
    "network": (Network, _network),
    "device": (Device, _device),
    "decoders": (Decoders, _decoders),
    "depthwise": (Depthwise, _depthwise),
    "data": (Data, _data),
    "train": (Train, _train),
}
"""Name to options, which have `json` and `debug`, and function."""
