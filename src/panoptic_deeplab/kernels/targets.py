"""Compiled loops that measure the segments of a map and paint targets, run by run."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.kernels.base import compiled


@compiled
def _measure(ids: Any, table: Any, areas: Any, sums: Any) -> None:
    """Add up pixels and coordinates; neighbors of one id at once."""
    height, width = ids.shape
    for y in range(height):
        row = ids[y]
        begin = 0
        while begin < width:
            end = begin + 1
            while end < width and row[end] == row[begin]:
                end += 1
            index, length = table[row[begin]], end - begin
            areas[index] += length
            sums[index, 0] += length * y
            sums[index, 1] += length * (begin + end - 1) // 2
            begin = end


def measure(
    ids: NDArray[np.int32], table: NDArray[np.int32], num_entries: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of each entry and sum up their coordinates.

    Args:
        ids: (H, W), 0 or more.
        table: entry by id, long enough for all ids.
        num_entries: of the table.

    Returns:
        (n,) areas and (n, 2) sums of (y, x).
    """
    areas, sums = np.zeros(num_entries, np.int64), np.zeros((num_entries, 2), np.int64)
    _measure(ids, table, areas, sums)
    return areas, sums


@compiled
def _paint(
    ids: Any,
    table: Any,
    class_ids: Any,
    weights: Any,
    draws: Any,
    centroids: Any,
    semantic: Any,
    offset: Any,
    semantic_weight: Any,
    center_weight: Any,
    offset_weight: Any,
) -> None:
    height, width = ids.shape
    for y in range(height):
        row = ids[y]
        begin = 0
        while begin < width:
            end = begin + 1
            while end < width and row[end] == row[begin]:
                end += 1
            index = table[row[begin]]
            semantic[y, begin:end] = class_ids[index]
            semantic_weight[y, begin:end] = weights[index, 0]
            center_weight[y, begin:end] = weights[index, 1]
            offset_weight[y, begin:end] = weights[index, 2]
            if draws[index]:
                # Subtracted in float64 and rounded once.
                offset[0, y, begin:end] = np.float32(centroids[index, 0] - y)
                for x in range(begin, end):
                    offset[1, y, x] = np.float32(centroids[index, 1] - x)
            else:
                offset[0, y, begin:end] = 0
                offset[1, y, begin:end] = 0
            begin = end


def paint(
    ids: NDArray[np.int32],
    table: NDArray[np.int32],
    class_ids: NDArray[np.int64],
    weights: NDArray[np.float32],
    draws: NDArray[np.bool_],
    centroids: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Paint all targets but the heat map.

    Args:
        ids: (H, W).
        table: entry by id.
        class_ids: (n,) by entry.
        weights: (n, 3) semantic, center and offset weight by entry.
        draws: (n,) which entries have offsets.
        centroids: (n, 2), (y, x).

    Returns:
        (H, W) class ids, (2, H, W) offsets as (dy, dx), (3, H, W) weights.
    """
    semantic = np.empty(ids.shape, np.int64)
    offset = np.empty((2, *ids.shape), np.float32)
    painted = np.empty((3, *ids.shape), np.float32)
    _paint(ids, table, class_ids, weights, draws, centroids, semantic, offset, *painted)
    return semantic, offset, painted
