"""From a panoptic map to targets: ours against one full mask per segment.

The reference is the way of the public codes: for each segment a mask over the whole image, its
coordinates, and assignments through it.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from panoptic_deeplab.bench.measure import REFERENCE, Row, table
from panoptic_deeplab.bench.scenes import Scene, draw_map, label_space
from panoptic_deeplab.labels import IGNORED, LabelSpace
from panoptic_deeplab.structures import PanopticMap
from panoptic_deeplab.targets import make_targets


def masked_reference(panoptic: PanopticMap, labels: LabelSpace) -> list[NDArray[np.generic]]:
    """Targets in the order of `Targets`, mask by mask; paper's settings."""
    height, width = panoptic.size
    semantic = np.full((height, width), IGNORED, np.int64)
    center = np.zeros((height, width), np.float32)
    offset = np.zeros((2, height, width), np.float32)
    semantic_weight = np.ones((height, width), np.float32)
    center_weight = np.zeros((height, width), np.float32)
    offset_weight = np.zeros((height, width), np.float32)
    sigma, radius = 8, 25
    away = np.arange(-radius, radius + 1, dtype=float) ** 2
    gaussian = np.exp(-(away[:, None] + away) / (2 * sigma**2))
    for segment in panoptic.segments:
        mask = panoptic.segment_map == segment.id
        semantic[mask] = segment.class_id
        center_weight[mask] = 1
        if not labels.is_thing(segment.class_id):
            continue
        offset_weight[mask] = 1
        ys, xs = np.nonzero(mask)
        if len(ys) < 64 * 64:
            semantic_weight[mask] = 3
        center_y, center_x = ys.mean(), xs.mean()
        offset[0][mask] = center_y - ys
        offset[1][mask] = center_x - xs
        y, x = round(center_y), round(center_x)
        top, left = max(y - radius, 0), max(x - radius, 0)
        bottom, right = min(y + radius + 1, height), min(x + radius + 1, width)
        patch = gaussian[top - y + radius : bottom - y + radius, left - x + radius :]
        window = center[top:bottom, left:right]
        np.maximum(window, patch[:, : right - left], out=window, casting="same_kind")
    return [semantic, center[None], offset, semantic_weight, center_weight, offset_weight]


def bench_targets(
    scene: Scene,
    *,
    backends: tuple[str, ...] = ("numba", "plain"),
    repeats: int = 7,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Compare the ways of `make_targets` with the reference.

    Args:
        scene: what is drawn.
        backends: of `make_targets`.
        repeats: of each.
        progress: shows the rounds.

    Returns:
        For each back end and "reference": milliseconds, speedup over the reference, peak_mb and
        floor_milliseconds (reading the map and writing the targets once).
    """
    labels = label_space(scene.num_classes)
    truth = draw_map(scene.size, scene.num_things, labels, np.random.default_rng(0))
    functions: dict[str, Callable[[], object]] = {
        name: partial(make_targets, truth, labels, backend=name)  # type: ignore[arg-type]
        for name in backends
    }
    functions[REFERENCE] = partial(masked_reference, truth, labels)
    num_bytes = 4 + 8 + 7 * 4  # per pixel: id, class id, seven float32 maps
    return table(
        functions,
        num_bytes=num_bytes * scene.size[0] * scene.size[1],
        repeats=repeats,
        progress=progress,
    )
