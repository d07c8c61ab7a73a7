"""On a GPU: the network, the tensor back end, and how far both are from moving bytes once.

The dense reference for grouping runs on the same device. Times are by the clock on the wall, with
the device waited for; the floor is the time it needs to copy the bytes that must be read and
written at least once.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from rich.progress import Progress
from torch import Tensor, nn

from panoptic_deeplab.bench.base import time_in_turn
from panoptic_deeplab.bench.measure import REFERENCE, Row, peak_mb
from panoptic_deeplab.bench.postprocess import dense_reference
from panoptic_deeplab.bench.scenes import Scene, draw_heads, label_space
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.grouping import Score, group_outputs
from panoptic_deeplab.grouping_plain import segment_boxes
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.structures import Outputs

_AS_BUILT = "network, float32"
_COPIED = 2**31
"""Bytes copied to learn the device's speed: more than its caches hold."""


def bench_device(
    scene: Scene,
    *,
    device: torch.device,
    backbone: str = "resnet52",
    repeats: int = 5,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Time one image through the network, and drawn heads through grouping.

    Args:
        scene: what is drawn; the network, with random weights, sees an image of its size.
        device: on which all of it happens.
        backbone: name in `BACKBONES`, or `timm:NAME`.
        repeats: of each.
        progress: shows the rounds.

    Returns:
        For the network's forms, grouping and the dense reference, by name: milliseconds; speedup,
        over the network as built or the reference; peak_mb on the device (of the process on a
        CPU); floor_milliseconds; times_network, over the fastest form of the network.

    Raises:
        ValueError: if the backbone is unknown.
    """
    plain = build_model(ModelConfig(backbone=backbone), scene.num_classes).eval().to(device)
    networks = _networks(plain, scene, device)
    functions = _groupings(scene, device) | networks
    times = time_in_turn(
        {name: partial(_waited_for, device, function) for name, function in functions.items()},
        rounds=repeats,
        clock=time.perf_counter,
        progress=progress,
    )
    milliseconds = {name: measured.median_ms for name, measured in times.items()}
    fastest = min(milliseconds[name] for name in networks)
    weights = 4 * sum(weight.numel() for weight in plain.parameters())
    network_floor, grouping_floor = _floors(scene, weights, _bytes_per_millisecond(device))
    rows = {}
    for name, function in functions.items():
        base = _AS_BUILT if name in networks else REFERENCE
        base += ", scores" if name.endswith("scores") else ""
        rows[name] = {
            "milliseconds": milliseconds[name],
            "speedup": milliseconds[base] / milliseconds[name],
            "peak_mb": _peak_mb(device, function),
            "floor_milliseconds": network_floor if name in networks else grouping_floor,
            "times_network": milliseconds[name] / fastest,
        }
    return rows


def _networks(
    plain: PanopticDeepLab, scene: Scene, device: torch.device
) -> dict[str, Callable[[], object]]:
    """The network's forms, each at one image."""
    image = torch.zeros((1, 3, *scene.size), dtype=torch.uint8, device=device)
    image.random_(generator=torch.Generator(device).manual_seed(0))
    forms: dict[str, nn.Module] = {
        _AS_BUILT: plain,
        "network, float32, optimized": plain.optimize_for_inference(),
        "network, bfloat16, optimized": plain.optimize_for_inference(dtype=torch.bfloat16),
    }
    return {name: partial(_run, model, image) for name, model in forms.items()}


def _run(model: nn.Module, image: Tensor) -> None:
    with torch.inference_mode():
        model(image)


def _groupings(scene: Scene, device: torch.device) -> dict[str, Callable[[], object]]:
    """The tensor back end and the reference, from heads on the device to a map in memory."""
    labels = label_space(scene.num_classes)
    drawn = draw_heads(scene.size, scene.num_things, labels)
    outputs = Outputs(*(head.to(device) for head in drawn))

    def group(score: str) -> None:
        (panoptic,) = group_outputs(
            outputs,
            labels,
            size=scene.size,
            align_corners=False,
            backend="tensor",
            score=cast(Score, score),
        )
        if score == "product":
            segment_boxes(panoptic)

    def reference(with_scores: bool) -> None:
        dense_reference(outputs, labels, scene.size, with_scores=with_scores)[0].cpu()

    return {
        "grouping": partial(group, "objectness"),
        "grouping, scores": partial(group, "product"),
        REFERENCE: partial(reference, False),
        f"{REFERENCE}, scores": partial(reference, True),
    }


def _floors(scene: Scene, weights: int, speed: float) -> tuple[float, float]:
    """Milliseconds to move what must be moved: by the network, and by grouping.

    Args:
        scene: sizes.
        weights: bytes of them.
        speed: bytes per millisecond.
    """
    height, width = scene.size
    heads = 4 * (scene.num_classes + 3) * (height // 4) * (width // 4)
    image, segment_map = 3 * height * width, 4 * height * width
    return (image + weights + heads) / speed, (heads + segment_map) / speed


def _bytes_per_millisecond(device: torch.device) -> float:
    """Read and written while copying."""
    source = torch.ones(_COPIED // 2, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    copy = partial(_waited_for, device, partial(target.copy_, source))
    return _COPIED / time_in_turn({"copy": copy}, rounds=9)["copy"].median_ms


def _waited_for(device: torch.device, function: Callable[[], object]) -> None:
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mb(device: torch.device, function: Callable[[], object]) -> float:
    """Extra megabytes at the worst moment of a call."""
    if device.type != "cuda":
        return peak_mb(function)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    _waited_for(device, function)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20
