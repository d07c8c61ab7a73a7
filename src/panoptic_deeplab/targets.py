"""What the network should give for an image, computed from its panoptic map.

In: a `PanopticMap` (after all transforms, so centers and areas are of what is left in the crop).
Out: `Targets` without the leading B. Every segment is summed up in joint counts over the whole
image and painted through look-up tables, so the cost does not grow with the number of segments.

Paper: arXiv:1911.10194, section 3.3, and its supplement.
"""

from math import ceil
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from panoptic_deeplab.backends import choose_backend
from panoptic_deeplab.labels import IGNORED, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Targets

MAX_TABLE = 1 << 25
"""Largest look-up table by segment id. COCO's ids need 2**24; pages that no id touches cost
nothing, so the limit only keeps absurd ids from reserving gigabytes."""

ROWS_PER_COUNT = 256
"""Rows counted at once; keeps the 64-bit temporaries of the joint counts small."""


class Entries(NamedTuple):
    """What is painted for each segment; entry 0 is void, entry i the i-th of the list.

    Attributes:
        class_ids: (S + 1,), `IGNORED` where the semantic loss is off.
        weights: (S + 1, 3) semantic, center and offset weight.
        draws: (S + 1,) which have a center and offsets.
    """

    class_ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    draws: NDArray[np.bool_]


def make_targets(
    panoptic: PanopticMap,
    labels: LabelSpace,
    *,
    sigma_px: float = 8.0,
    small_instance_area_px: int = 4096,
    small_instance_weight: float = 3.0,
    ignore_stuff_in_offset: bool = True,
    ignore_crowd_in_semantic: bool = True,
    exclude_crowd_instances: bool = False,
    backend: Literal["auto", "numba", "plain"] = "auto",
) -> Targets:
    """Paint semantic classes, center heat map, offsets and their loss weights.

    Args:
        panoptic: truth, (H, W).
        labels: classes of its segments.
        sigma_px: of the Gaussian at each center, in pixels of the map; paper: 8.
        small_instance_area_px: things below this area get `small_instance_weight`; paper: 64 x 64.
        small_instance_weight: of their pixels in the semantic loss; paper: 3.
        ignore_stuff_in_offset: no offset loss on stuff; paper.
        ignore_crowd_in_semantic: crowd regions become `IGNORED`; paper, on COCO.
        exclude_crowd_instances: crowd regions draw no center, offset or small-instance weight. By
            default they do, as in the public codes, with weight 0 on their own pixels.
        backend: compiled loops ("numba"), NumPy alone ("plain"), or "auto": numba where it is
            installed; the results are equal.

    Returns:
        Targets without B: semantic (H, W) int64, center (1, H, W), offset (2, H, W) as (dy, dx)
        in pixels, and three weights (H, W), all float32. Pixels of no listed segment are
        ignored everywhere.

    Raises:
        ValueError: if a segment's class is not in the label space, an id of the map is negative,
            or the back end is unknown.
        ImportError: if numba is asked for and not installed.
    """
    ids = panoptic.segment_map
    _check_ids(ids)
    chosen, highest = choose_backend(backend, ("plain",)), _highest_id(panoptic)
    compiled = chosen == "numba" and highest < MAX_TABLE
    if compiled:
        from panoptic_deeplab import kernels

        table = _index_table(panoptic, highest, np.int32)
        areas, sums = kernels.measure(ids, table, len(panoptic.segments) + 1)
        centroids = sums / np.maximum(areas, 1)[:, None]
    else:
        index = segment_index(panoptic)
        areas, centroids = measure_segments(index, len(panoptic.segments) + 1)
    entries = _make_entries(
        panoptic,
        labels,
        areas,
        small_instance_area_px,
        small_instance_weight,
        ignore_stuff_in_offset,
        ignore_crowd_in_semantic,
        exclude_crowd_instances,
    )
    if compiled:
        semantic, offset, weights = kernels.paint(ids, table, *entries, centroids)
    else:
        semantic, offset, weights = _paint(index, entries, centroids)
    center = draw_centers(ids.shape, centroids[entries.draws], sigma_px)[None]
    return Targets(*map(torch.from_numpy, (semantic, center, offset, *weights)))


def segment_index(panoptic: PanopticMap) -> NDArray[np.intp]:
    """Replace each pixel's segment id by the segment's place in the list, counted from 1.

    Returns:
        (H, W): 1..S, 0 for void and for ids that the list does not have.
    """
    ids = panoptic.segment_map
    highest = _highest_id(panoptic)
    if highest < MAX_TABLE:
        return _index_table(panoptic, highest, np.intp)[ids]
    listed = np.array([s.id for s in panoptic.segments], np.int64)
    order = np.argsort(listed)
    place = np.searchsorted(listed, ids, sorter=order)
    found = order[np.minimum(place, len(listed) - 1)]
    return np.where(listed[found] == ids, found + 1, 0)


def measure_segments(
    index: NDArray[np.intp], num_entries: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count areas and average coordinates of all segments in one pass.

    Args:
        index: (H, W), values below `num_entries`.
        num_entries: S + 1, with void as entry 0.

    Returns:
        (S + 1,) areas in pixels and (S + 1, 2) mean (y, x): exact integer sums divided once in
        float64; (0, 0) where the area is 0.
    """
    height, width = index.shape
    column_counts = np.zeros((width, num_entries), np.int64)
    sums = np.zeros((num_entries, 2), np.int64)
    columns = np.arange(width) * num_entries
    for top in range(0, height, ROWS_PER_COUNT):
        block = index[top : top + ROWS_PER_COUNT]
        column_counts += np.bincount(
            (block + columns).ravel(), minlength=width * num_entries
        ).reshape(width, num_entries)
        rows = np.arange(len(block)) * num_entries
        row_counts = np.bincount(
            (block + rows[:, None]).ravel(), minlength=len(block) * num_entries
        ).reshape(len(block), num_entries)
        sums[:, 0] += np.arange(top, top + len(block)) @ row_counts
    sums[:, 1] = np.arange(width) @ column_counts
    areas = column_counts.sum(axis=0)
    return areas, sums / np.maximum(areas, 1)[:, None]


def draw_centers(
    size: tuple[int, ...], centers: NDArray[np.float64], sigma_px: float
) -> NDArray[np.float32]:
    """Draw a Gaussian of height 1 at each center, the larger value winning where two overlap.

    Args:
        size: (H, W).
        centers: (N, 2), (y, x); rounded to whole pixels, halves to the even one.
        sigma_px: in pixels; nothing is drawn further than about three of them along an axis.

    Returns:
        (H, W) heat map.
    """
    height, width = size
    heat = np.zeros((height, width), np.float32)
    radius = ceil(3 * sigma_px) + 1  # a patch of 6 sigma + 3 pixels, as in the public codes
    squares = np.arange(-radius, radius + 1, dtype=np.float64) ** 2
    patch = np.exp(-(squares[:, None] + squares) / (2 * sigma_px**2)).astype(np.float32)
    for y, x in np.rint(centers).astype(np.int64).tolist():
        top, left = max(y - radius, 0), max(x - radius, 0)
        bottom, right = min(y + radius + 1, height), min(x + radius + 1, width)
        window = heat[top:bottom, left:right]
        inside = patch[
            top - y + radius : bottom - y + radius, left - x + radius : right - x + radius
        ]
        np.maximum(window, inside, out=window)
    return heat


def _segment_tables(
    panoptic: PanopticMap, labels: LabelSpace
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Class, thing and crowd of each segment, with void as entry 0."""
    for segment in panoptic.segments:
        if not 0 <= segment.class_id < labels.num_classes:
            raise ValueError(
                f"Segment {segment.id} must have a class id of label space {labels.name!r} "
                f"(0 to {labels.num_classes - 1}), got {segment.class_id}. "
                "Read the labels with the label space of their data set."
            )
    class_ids = np.array([IGNORED, *(s.class_id for s in panoptic.segments)], np.uint8)
    is_thing = np.isin(class_ids, labels.thing_ids)
    is_crowd = np.array([False, *(s.is_crowd for s in panoptic.segments)])
    return class_ids, is_thing, is_crowd


def _make_entries(
    panoptic: PanopticMap,
    labels: LabelSpace,
    areas: NDArray[np.int64],
    small_instance_area_px: int,
    small_instance_weight: float,
    ignore_stuff_in_offset: bool,
    ignore_crowd_in_semantic: bool,
    exclude_crowd_instances: bool,
) -> Entries:
    """Decide what each segment paints; arguments as in `make_targets`, areas by entry."""
    class_ids, is_thing, is_crowd = _segment_tables(panoptic, labels)
    draws = is_thing & (areas > 0)
    if exclude_crowd_instances:
        draws &= ~is_crowd
    weights = np.ones((len(areas), 3), np.float32)
    # Deviation 11: the weight stays a float; the public codes keep it in 8 bits.
    weights[draws & (areas < small_instance_area_px), 0] = small_instance_weight
    weights[is_crowd, 1:] = 0
    weights[0, 1:] = 0  # void
    if ignore_stuff_in_offset:
        weights[~is_thing, 2] = 0
    painted_ids = class_ids.astype(np.int64)
    if ignore_crowd_in_semantic:
        painted_ids[is_crowd] = IGNORED
    return Entries(painted_ids, weights, draws)


def _check_ids(ids: NDArray[np.int32]) -> None:
    if ids.size and ids.min() < 0:
        raise ValueError(
            f"Segment ids of a map must be 0 (void) or more, got {ids.min()}. "
            "Write void pixels as 0."
        )


def _highest_id(panoptic: PanopticMap) -> int:
    """Of the map and the list."""
    listed = max((s.id for s in panoptic.segments), default=0)
    return max(int(panoptic.segment_map.max(initial=0)), listed)


def _index_table(
    panoptic: PanopticMap, highest: int, dtype: type[np.signedinteger]
) -> NDArray[np.signedinteger]:
    """The place in the list, counted from 1, by segment id up to the highest."""
    table = np.zeros(highest + 1, dtype)
    for place, segment in enumerate(panoptic.segments, 1):
        table[segment.id] = place
    return table


def _paint(
    index: NDArray[np.intp], entries: Entries, centroids: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(H, W) class ids, (2, H, W) offsets as (dy, dx), (3, H, W) weights."""
    height, width = index.shape
    offset = np.zeros((2, height, width), np.float32)
    pixels = entries.draws[index]
    axes = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)[None]
    for axis, coordinate in enumerate(axes):
        # Subtracted in float64 and rounded once, so that no bit depends on the image's size.
        np.subtract(centroids[:, axis][index], coordinate, out=offset[axis], where=pixels)
    weights = np.stack([weight[index] for weight in entries.weights.T])
    return entries.class_ids[index], offset, weights
