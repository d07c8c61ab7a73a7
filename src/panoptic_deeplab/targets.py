"""What the network should give for an image, computed from its panoptic map.

In: a `PanopticMap` (after all transforms, so centers and areas are of what is left in the crop).
Out: `Targets` without the leading B. Every segment is summed up in joint counts over the whole
image and painted through look-up tables, so the cost does not grow with the number of segments.

Paper: arXiv:1911.10194, section 3.3, and its supplement.
"""

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from panoptic_deeplab.labels import IGNORED, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Targets

MAX_TABLE = 1 << 25
"""Largest look-up table by segment id. COCO's ids need 2**24; pages that no id touches cost
nothing, so the limit only keeps absurd ids from reserving gigabytes."""

ROWS_PER_COUNT = 256
"""Rows counted at once; keeps the 64-bit temporaries of the joint counts small."""


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

    Returns:
        Targets without B: semantic (H, W) int64, center (1, H, W), offset (2, H, W) as (dy, dx)
        in pixels, and three weights (H, W), all float32. Pixels of no listed segment are
        ignored everywhere.

    Raises:
        ValueError: if a segment's class is not in the label space, or an id of the map is negative.
    """
    index = segment_index(panoptic)
    class_ids, is_thing, is_crowd = _segment_tables(panoptic, labels)
    areas, centroids = measure_segments(index, len(class_ids))
    draws = is_thing & (areas > 0)
    if exclude_crowd_instances:
        draws &= ~is_crowd

    semantic = class_ids.astype(np.int64)
    if ignore_crowd_in_semantic:
        semantic[is_crowd] = IGNORED
    # Deviation 11: the weight stays a float; the public codes keep it in 8 bits.
    semantic_weight = np.where(
        draws & (areas < small_instance_area_px), np.float32(small_instance_weight), np.float32(1)
    )
    counted = ~is_crowd
    counted[0] = False  # void
    counted_in_offset = counted & is_thing if ignore_stuff_in_offset else counted

    return Targets(
        semantic=torch.from_numpy(semantic[index]),
        center=torch.from_numpy(draw_centers(index.shape, centroids[draws], sigma_px)[None]),
        offset=torch.from_numpy(_offsets(index, centroids, draws)),
        semantic_weight=torch.from_numpy(semantic_weight[index]),
        center_weight=torch.from_numpy(counted.astype(np.float32)[index]),
        offset_weight=torch.from_numpy(counted_in_offset.astype(np.float32)[index]),
    )


def segment_index(panoptic: PanopticMap) -> NDArray[np.intp]:
    """Replace each pixel's segment id by the segment's place in the list, counted from 1.

    Returns:
        (H, W): 1..S, 0 for void and for ids that the list does not have.

    Raises:
        ValueError: if an id of the map is negative.
    """
    ids = panoptic.segment_map
    if ids.size and ids.min() < 0:
        raise ValueError(
            f"Segment ids of a map must be 0 (void) or more, got {ids.min()}. "
            "Write void pixels as 0."
        )
    listed = np.array([s.id for s in panoptic.segments], np.int64)
    highest = max(int(ids.max(initial=0)), int(listed.max(initial=0)))
    if highest < MAX_TABLE:
        table = np.zeros(highest + 1, np.intp)
        table[listed] = np.arange(1, len(listed) + 1)
        return table[ids]
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


def _offsets(
    index: NDArray[np.intp], centroids: NDArray[np.float64], draws: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(2, H, W), (dy, dx) from each pixel of a drawn thing to its center, 0 elsewhere."""
    height, width = index.shape
    offset = np.zeros((2, height, width), np.float32)
    pixels = draws[index]
    axes = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)[None]
    for axis, coordinate in enumerate(axes):
        # Subtracted in float64 and rounded once, so that no bit depends on the image's size.
        np.subtract(centroids[:, axis][index], coordinate, out=offset[axis], where=pixels)
    return offset
