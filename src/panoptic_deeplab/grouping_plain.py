"""The steps of grouping in their plain form, on NumPy arrays; every other form equals this one.

In: the heads of one image. Out: instances, stuff and scores, put together in `grouping.py`. All
steps stream over the classes and over bands of rows: no array holds classes x pixels or centers x
pixels, and 50 megapixels fit in a few gigabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab.labels import IGNORED, LabelSpace
from panoptic_deeplab.layers import resize, resize_offset
from panoptic_deeplab.structures import VOID, PanopticMap, Segment

Size = tuple[int, int]
"""(height, width) in pixels."""

CHUNK_VALUES = 1 << 24
"""Logits resized at once (64 MB of float32); measured: larger chunks are no faster."""

BAND_PIXELS = 1 << 16
"""Pixels grouped at once; their coordinates and distances stay in a core's second cache."""


@dataclass(frozen=True)
class Grid:
    """How maps get from the network's grid to the result's.

    Attributes:
        size: (H, W) of the network's input, padding included; heads are resized to it.
        crop_size: its top left part without padding.
        output_size: of the result; differs where the image was scaled for the network.
        align_corners: of the first resize, a property of the model. The second one follows the
            scaling of images, which maps pixel edges on pixel edges: never aligned corners.
    """

    size: Size
    crop_size: Size
    output_size: Size
    align_corners: bool

    def bring(self, maps: Tensor) -> Tensor:
        """Resize (C, h, w) to (C, H, W) of the result."""
        height, width = self.crop_size
        full = resize(maps[None], self.size, align_corners=self.align_corners)
        return resize(full[..., :height, :width], self.output_size, align_corners=False)[0]

    def bring_offset(self, offset: Tensor) -> Tensor:
        """Resize (2, h, w); the values become pixels of the result."""
        height, width = self.crop_size
        full = resize_offset(offset[None], self.size, align_corners=self.align_corners)
        return resize_offset(full[..., :height, :width], self.output_size, align_corners=False)[0]


class Things(NamedTuple):
    """The instances of one image; instance i has segment id i + 1.

    Attributes:
        class_ids: (n,) by majority vote.
        centers: (n, 2) (y, x) of the detected centers, or None if there were none and the
            instances are connected regions.
    """

    class_ids: NDArray[np.int64]
    centers: NDArray[np.int64] | None


def classify(logits: Tensor, grid: Grid) -> NDArray[np.uint8]:
    """Resize the logits and take each pixel's best class, some classes at a time.

    Args:
        logits: (K, h, w) float32 on the CPU.
        grid: where to.

    Returns:
        (H, W) class ids; the lower class among equals.
    """
    best = torch.full(grid.output_size, -torch.inf)
    classes = torch.zeros(grid.output_size, dtype=torch.uint8)
    for first, part in _class_chunks(logits, grid):
        for class_id, values in enumerate(part, first):
            classes.masked_fill_(values > best, class_id)
            torch.maximum(best, values, out=best)
    return classes.numpy()


def find_centers(
    heat: NDArray[np.float32],
    *,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    merge_plateaus: bool = False,
) -> NDArray[np.int64]:
    """Find the highest pixels of the heat map.

    Args:
        heat: (H, W).
        threshold: heat must exceed it, and 0.
        nms_kernel: a center is the highest of this window around it, or equals the highest.
        top_k: at most so many, by (heat descending, row, column). Deviation 1: the public codes
            keep one less, and drop all that equal the last one.
        merge_plateaus: keep the first pixel of each connected plateau (8 neighbors).

    Returns:
        (N, 2) as (y, x), rows from the top, each from the left.

    Raises:
        ValueError: if a setting is out of range.
    """
    _check_center_settings(nms_kernel, top_k, merge_plateaus)
    window = np.ones((nms_kernel, nms_kernel), np.uint8)
    bar = np.float32(max(threshold, 0.0))
    peaks = (heat > bar) & (heat == cv2.dilate(heat, window))  # outside the map is never highest
    places = np.flatnonzero(peaks)
    if merge_plateaus:
        _, plateau = cv2.connectedComponents(peaks.view(np.uint8), connectivity=8)
        _, first = np.unique(plateau.ravel()[places], return_index=True)
        places = places[np.sort(first)]
    if len(places) > top_k:
        by_heat = np.argsort(-heat.ravel()[places], kind="stable")
        places = np.sort(places[by_heat[:top_k]])
    return np.stack(np.divmod(places, heat.shape[1]), axis=1)


def assign_pixels(
    offset: NDArray[np.float32], centers: NDArray[np.int64], pixels: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Give each pixel the number of the center nearest to where it points.

    Args:
        offset: (2, H, W), (dy, dx) in pixels of this grid.
        centers: (N, 2), (y, x). N may be 0.
        pixels: (H, W), the pixels that take part.

    Returns:
        (H, W): 1..N; the lower number among equally near centers; 0 for other pixels, and
        everywhere if N is 0.
    """
    numbers = np.zeros(pixels.shape, np.int32)
    for rows in _bands(pixels.shape):
        ys, xs = np.nonzero(pixels[rows])
        target_y = (ys + rows.start).astype(np.float32) + offset[0, rows][ys, xs]
        target_x = xs.astype(np.float32) + offset[1, rows][ys, xs]
        nearest = np.full(len(ys), np.inf, np.float32)
        number = np.zeros(len(ys), np.int32)
        for i, (y, x) in enumerate(centers.astype(np.float32), 1):
            dy, dx = y - target_y, x - target_x
            # The root is taken before comparing: it can make two distances equal, and then the
            # lower number wins, as in the public codes.
            distance = np.sqrt(dy * dy + dx * dx)
            closer = distance < nearest
            number[closer] = i
            np.minimum(nearest, distance, out=nearest)
        numbers[rows][ys, xs] = number
    return numbers


def vote(
    numbers: NDArray[np.int32], semantic: NDArray[np.uint8], num_instances: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Let the pixels of each instance elect its class.

    Args:
        numbers: (H, W), 0..N.
        semantic: (H, W) class ids; `IGNORED` pixels do not vote.
        num_instances: N.

    Returns:
        (N,) class ids, the smallest among equally frequent ones; (N,) votes, 0 for an instance
        without pixels, whose class id means nothing.
    """
    votes = np.zeros((num_instances + 1, IGNORED + 1), np.int64)
    for rows in _bands(numbers.shape):
        inside = numbers[rows] > 0
        pairs = numbers[rows][inside] * (IGNORED + 1) + semantic[rows][inside]
        votes += np.bincount(pairs, minlength=votes.size).reshape(votes.shape)
    votes = votes[1:, :IGNORED]
    return votes.argmax(axis=1), votes.sum(axis=1)


def group_maps(
    semantic: NDArray[np.uint8],
    center: NDArray[np.float32],
    offset: NDArray[np.float32],
    labels: LabelSpace,
    *,
    threshold: float,
    nms_kernel: int,
    top_k: int,
    merge_plateaus: bool,
    orphans: Literal["void", "component"],
    foreground: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], Things]:
    """Find the instances of one image; arguments as in `panoptic_from_maps`.

    Returns:
        (H, W) segment ids of the things, `VOID` elsewhere, and the things.
    """
    if foreground is None:
        foreground = _is_thing(labels)[semantic]
    centers = find_centers(
        center,
        threshold=threshold,
        nms_kernel=nms_kernel,
        top_k=top_k,
        merge_plateaus=merge_plateaus,
    )
    without_center = len(centers) == 0 and orphans == "component"
    if without_center:
        numbers, num_instances = _connected_regions(semantic, foreground)
    else:
        numbers, num_instances = assign_pixels(offset, centers, foreground), len(centers)
    class_ids, votes = vote(numbers, semantic, num_instances)
    kept = np.flatnonzero(votes)  # an instance without pixels takes no segment id
    segment_ids = np.zeros(num_instances + 1, np.int32)
    segment_ids[kept + 1] = np.arange(1, len(kept) + 1)
    np.take(segment_ids, numbers, out=numbers, mode="clip")
    return numbers, Things(class_ids[kept], None if without_center else centers[kept])


def add_stuff(
    segment_map: NDArray[np.int32],
    things: Things,
    semantic: NDArray[np.uint8],
    labels: LabelSpace,
    stuff_area_px: int,
) -> PanopticMap:
    """Paint each large enough stuff class where no instance lies, into the same array.

    Args:
        segment_map: (H, W), ids of the things.
        things: class by id.
        semantic: (H, W) class ids.
        labels: classes.
        stuff_area_px: fewest pixels of a stuff segment.
    """
    num_things = len(things.class_ids)
    areas = np.zeros(IGNORED + 1, np.int64)
    thing_areas = np.zeros(num_things + 1, np.int64)
    for rows in _bands(segment_map.shape):
        areas += np.bincount(semantic[rows][segment_map[rows] == VOID], minlength=len(areas))
        thing_areas += np.bincount(segment_map[rows].ravel(), minlength=num_things + 1)
    segments = [
        Segment(i, int(class_id), int(thing_areas[i]))
        for i, class_id in enumerate(things.class_ids, 1)
    ]
    segment_ids = np.zeros(IGNORED + 1, np.int32)
    for class_id in labels.stuff_ids:
        if areas[class_id] >= max(stuff_area_px, 1):
            segment_ids[class_id] = len(segments) + 1
            segments.append(Segment(len(segments) + 1, class_id, int(areas[class_id])))
    for rows in _bands(segment_map.shape):
        free = segment_map[rows] == VOID
        segment_map[rows][free] = segment_ids[semantic[rows][free]]
    return PanopticMap(segment_map, tuple(segments))


def score_things(
    segment_map: NDArray[np.int32],
    things: Things,
    logits: Tensor,
    heat: NDArray[np.float32],
    grid: Grid,
    *,
    score: Literal["product", "objectness", "class"],
    objectness_at: Literal["center", "centroid"],
) -> list[float]:
    """Rate the things of one image; supplement, Table 2.

    Args:
        segment_map: (H, W), ids of the things, `VOID` elsewhere.
        things: their classes and centers.
        logits: (K, h, w) on the network's grid.
        heat: (H, W).
        grid: from there to here.
        score: see `group_outputs`.
        objectness_at: see `group_outputs`; things without a center are rated at their centroid.
    """
    if not len(things.class_ids):
        return []
    places = np.flatnonzero(segment_map)
    index = segment_map.ravel()[places] - 1  # (P,) which thing
    areas = np.bincount(index)
    rating = np.ones(len(areas))
    if score != "class":
        if objectness_at == "centroid" or things.centers is None:
            ys, xs = np.divmod(places, segment_map.shape[1])
            y = (np.bincount(index, ys) / areas).astype(np.int64)
            x = (np.bincount(index, xs) / areas).astype(np.int64)
        else:
            y, x = things.centers.T
        rating = rating * heat[y, x]
    if score != "objectness":
        probabilities = _class_probabilities(logits, grid, places, things.class_ids[index])
        rating = rating * (np.bincount(index, probabilities) / areas)
    return [float(r) for r in rating]


def _class_probabilities(
    logits: Tensor, grid: Grid, places: NDArray[np.intp], class_ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Soft-maxed probability of one class per pixel, on the result's grid.

    Args:
        logits: (K, h, w).
        grid: from there to the result.
        places: (P,) flat positions on the result's grid.
        class_ids: (P,) the class asked for at each.

    Returns:
        (P,).
    """
    best = np.full(len(places), -np.inf, np.float32)
    total = np.zeros(len(places), np.float32)
    asked = np.zeros(len(places), np.float32)
    for first, part in _class_chunks(logits, grid):
        for class_id, values in enumerate(part.flatten(1).numpy(), first):
            value = values[places]
            higher = np.maximum(best, value)
            # Running soft-max: what was summed up so far is rescaled to the new maximum.
            total *= np.exp(best - higher)
            total += np.exp(value - higher)
            best = higher
            np.copyto(asked, value, where=class_ids == class_id)
    probabilities: NDArray[np.float32] = np.exp(asked - best) / total
    return probabilities


def _class_chunks(logits: Tensor, grid: Grid) -> Iterator[tuple[int, Tensor]]:
    """Yield (first class, its and the next classes' maps (c, H, W)), a bounded number at a time."""
    pixels = max(grid.size[0] * grid.size[1], grid.output_size[0] * grid.output_size[1])
    step = max(CHUNK_VALUES // pixels, 1)
    for first in range(0, len(logits), step):
        yield first, grid.bring(logits[first : first + step])


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of a map into bands of about `BAND_PIXELS`."""
    rows = max(BAND_PIXELS // max(shape[1], 1), 1)
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


def segment_boxes(panoptic: PanopticMap) -> dict[int, tuple[int, int, int, int]]:
    """Find the smallest box around each segment that has pixels.

    Returns:
        (top, left, bottom, right) in pixels by segment id, the latter two exclusive.
    """
    boxes: dict[int, tuple[int, int, int, int]] = {}
    ids = panoptic.segment_map
    if not ids.size:
        return boxes
    width = ids.shape[1]
    flat = ids.ravel()
    breaks = flat[1:] != flat[:-1]
    breaks[width - 1 :: width] = True  # runs end with their row
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    ends = np.append(starts[1:], flat.size) - 1
    names, which = np.unique(flat[starts], return_inverse=True)
    low = np.full((len(names), 2), flat.size)
    high = np.zeros((len(names), 2), np.int64)
    np.minimum.at(low, which, np.stack(np.divmod(starts, width), axis=1))
    np.maximum.at(high, which, np.stack(np.divmod(ends, width), axis=1) + 1)
    for name, (top, left), (bottom, right) in zip(
        names.tolist(), low.tolist(), high.tolist(), strict=True
    ):
        if name != VOID:
            boxes[name] = (top, left, bottom, right)
    return boxes


def _is_thing(labels: LabelSpace) -> NDArray[np.bool_]:
    table = np.zeros(IGNORED + 1, bool)
    table[list(labels.thing_ids)] = True
    return table


def _connected_regions(
    semantic: NDArray[np.uint8], foreground: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], int]:
    """Number the connected regions (8 neighbors) of each class, by their first pixel."""
    numbers = np.zeros(semantic.shape, np.int32)
    count = 0
    for class_id in np.unique(semantic[foreground]):
        mask = (foreground & (semantic == class_id)).view(np.uint8)
        found, region = cv2.connectedComponents(mask, connectivity=8)
        np.add(region, count, out=numbers, where=region > 0)
        count += found - 1
    values, first = np.unique(numbers, return_index=True)
    order = np.zeros(count + 1, np.int32)
    in_raster_order = values[np.argsort(first)]
    order[in_raster_order[in_raster_order > 0]] = np.arange(1, count + 1)
    return order[numbers], count


def _check_center_settings(nms_kernel: int, top_k: int, merge_plateaus: bool) -> None:
    if nms_kernel < 1 or nms_kernel % 2 == 0:
        raise ValueError(
            f"nms_kernel must be odd and positive so that its window has a middle, got "
            f"{nms_kernel}. Use {max(nms_kernel, 0) + 1}."
        )
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}. The paper's value is 200.")
    if merge_plateaus and nms_kernel == 1:
        raise ValueError(
            "merge_plateaus needs an nms_kernel of 3 or more, got 1. With 1 every pixel above the "
            "threshold is a center of its own."
        )
