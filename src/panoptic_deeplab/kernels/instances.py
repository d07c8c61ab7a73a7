"""Compiled loops from heat map and offsets to instances: peaks, nearest centers, segment ids."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.interpolation import Axis
from panoptic_deeplab.kernels.base import compiled, indices, inlined, mix

TILE_HEIGHT, TILE_WIDTH = 16, 32
"""Pixels that share one list of centers; measured: lists of one or two centers on street scenes."""


@inlined
def _is_highest(heat: Any, y: int, x: int, reach: int) -> bool:
    """Whether no pixel of the window exceeds its middle."""
    height, width = heat.shape
    value = heat[y, x]
    left, right = max(x - reach, 0), min(x + reach + 1, width)
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for column in range(left, right):
            if heat[row, column] > value:
                return False
    return True


@compiled
def _find_peaks(heat: Any, bar: Any, reach: int, places: Any, most_windows: int) -> int:
    """Fill in flat positions of peaks; returns how many, or -1 if there is too much to look at."""
    height, width = heat.shape
    near = min(reach, 1)
    count = 0
    for y in range(height):
        row = heat[y]
        for x in range(width):
            if row[x] > bar and _is_highest(heat, y, x, near):
                most_windows -= 1
                if most_windows < 0 or count == len(places):
                    return -1
                if _is_highest(heat, y, x, reach):
                    places[count] = y * width + x
                    count += 1
    return count


def find_peaks(heat: NDArray[np.float32], bar: float, nms_kernel: int) -> NDArray[np.int64] | None:
    """Find the pixels above a bar that no pixel of their window exceeds.

    Args:
        heat: (H, W).
        bar: heat must exceed it.
        nms_kernel: side of the window, odd.

    Returns:
        (n,) flat positions, ascending; None on a map with wide plateaus, where looking at window
        after window would take long.
    """
    places = np.empty(1 << 14, np.int64)
    most_windows = max(heat.size // nms_kernel**2, 1 << 14)
    count = _find_peaks(heat, np.float32(bar), nms_kernel // 2, places, most_windows)
    return None if count < 0 else places[:count]


@inlined
def _near_centers(centers: Any, top: Any, left: Any, bottom: Any, right: Any, near: Any) -> int:
    """List the centers that may be the nearest to some point of a box; returns how many."""
    bar = np.inf
    for i in range(len(centers)):
        y, x = np.float64(centers[i, 0]), np.float64(centers[i, 1])
        away_y = max(abs(y - top), abs(y - bottom))
        away_x = max(abs(x - left), abs(x - right))
        bar = min(bar, away_y * away_y + away_x * away_x)
    # Distances are compared in float32 and their roots may tie: leave room for many roundings.
    bar = bar * 1.0001 + 0.0001
    count = 0
    for i in range(len(centers)):
        y, x = np.float64(centers[i, 0]), np.float64(centers[i, 1])
        away_y = max(max(top - y, y - bottom), 0.0)
        away_x = max(max(left - x, x - right), 0.0)
        if not away_y * away_y + away_x * away_x > bar:  # also if the box is not finite
            near[count] = i
            count += 1
    return count


@inlined
def _aim(
    maps: Any,
    scale: Any,
    rows_low: Any,
    rows_high: Any,
    rows_weight: Any,
    columns_low: Any,
    columns_high: Any,
    columns_weight: Any,
    row_places: Any,
    column_places: Any,
    aims: Any,
    buffers: Any,
) -> None:
    """Interpolate one axis of the offsets for a tile and add the pixels' coordinates.

    Args:
        maps: (h, w), the axis's offsets.
        scale: of their values.
        rows_low: as in `Axis`, of the tile's rows, like the following five.
        rows_high: as there.
        rows_weight: as there.
        columns_low: of the tile's columns.
        columns_high: as there.
        columns_weight: as there.
        row_places: (rows,) float32, added to the aims of a row.
        column_places: (columns,) float32, added to the aims of a column.
        aims: (rows, columns) float32, filled.
        buffers: (2, columns) float32, scratch.
    """
    height, width = aims.shape
    held_low = held_high = -1
    first, second = buffers[0], buffers[1]
    for y in range(height):
        low, high, weight = rows_low[y], rows_high[y], rows_weight[y]
        if low != held_low or high != held_high:
            above, below = maps[low], maps[high]
            for x in range(width):
                first[x] = mix(above[columns_low[x]], above[columns_high[x]], columns_weight[x])
                second[x] = mix(below[columns_low[x]], below[columns_high[x]], columns_weight[x])
            held_low, held_high = low, high
        row, place = aims[y], row_places[y]
        for x in range(width):
            value = mix(first[x], second[x], weight) * scale
            row[x] = value + (place + column_places[x])


@inlined
def _extent(aims: Any, mask: Any, lows: Any, highs: Any) -> Any:
    """Smallest and largest aim of the pixels of a mask; infinities in reverse without any."""
    height, width = aims.shape
    far = np.float32(np.inf)
    lows[:] = far
    highs[:] = -far
    for y in range(height):  # column by column first, so that it runs in vector registers
        row, inside = aims[y], mask[y]
        for x in range(width):
            lows[x] = min(lows[x], row[x] if inside[x] else far)
            highs[x] = max(highs[x], row[x] if inside[x] else -far)
    for x in range(1, width):
        lows[0], highs[0] = min(lows[0], lows[x]), max(highs[0], highs[x])
    return lows[0], highs[0]


@inlined
def _nearest(centers: Any, near: Any, ys: Any, xs: Any, nearest: Any, numbers: Any) -> None:
    """Number each point of a tile by the nearest of some centers, the lowest if several are."""
    height, width = ys.shape
    for y in range(height):
        row_y, row_x, best, number = ys[y], xs[y], nearest[y], numbers[y]
        for x in range(width):
            best[x] = np.inf
            number[x] = 1  # stays where all distances overflow
        for i in near:
            center_y, center_x, name = centers[i, 0], centers[i, 1], np.int32(i + 1)
            for x in range(width):
                dy = center_y - row_y[x]
                dx = center_x - row_x[x]
                distance = np.sqrt(dy * dy + dx * dx)
                number[x] = name if distance < best[x] else number[x]
                best[x] = min(best[x], distance)


@inlined
def _count_runs(numbers: Any, classes: Any, length: int, votes: Any) -> None:
    """Add up pixels by number and class, a run at a time: each addition waits for the last."""
    number, class_id, begin = numbers[0], classes[0], 0
    for x in range(1, length):
        if numbers[x] != number or classes[x] != class_id:
            votes[number, class_id] += x - begin
            number, class_id, begin = numbers[x], classes[x], x
    votes[number, class_id] += length - begin


@compiled
def _assign(
    offset: Any,
    scales: Any,
    rows_low: Any,
    rows_high: Any,
    rows_weight: Any,
    columns_low: Any,
    columns_high: Any,
    columns_weight: Any,
    places: Any,
    centers: Any,
    classes: Any,
    is_thing: Any,
    numbers: Any,
    votes: Any,
) -> None:
    """Number the thing pixels by nearest center and count their classes, tile by tile."""
    height, width = classes.shape
    aims = np.empty((2, TILE_HEIGHT, TILE_WIDTH), np.float32)
    nothing = np.zeros(max(TILE_HEIGHT, TILE_WIDTH), np.float32)
    nearest = np.empty((TILE_HEIGHT, TILE_WIDTH), np.float32)
    number = np.empty((TILE_HEIGHT, TILE_WIDTH), np.int32)
    inside = np.empty((TILE_HEIGHT, TILE_WIDTH), np.uint8)
    scratch = np.empty((2, TILE_WIDTH), np.float32)
    near = np.empty(len(centers), np.int64)
    for top in range(0, height, TILE_HEIGHT):
        bottom = min(top + TILE_HEIGHT, height)
        for left in range(0, width, TILE_WIDTH):
            right = min(left + TILE_WIDTH, width)
            tile = classes[top:bottom, left:right]
            mask = inside[: bottom - top, : right - left]
            count = 0
            for y in range(bottom - top):
                row, things = tile[y], mask[y]
                for x in range(right - left):
                    things[x] = is_thing[row[x]]
                    count += things[x]
            if count == 0:
                continue
            aim = aims[:, : bottom - top, : right - left]
            for c in range(2):
                _aim(
                    offset[c],
                    scales[c],
                    rows_low[top:bottom],
                    rows_high[top:bottom],
                    rows_weight[top:bottom],
                    columns_low[left:right],
                    columns_high[left:right],
                    columns_weight[left:right],
                    places[top:bottom] if c == 0 else nothing,
                    nothing if c == 0 else places[left:right],
                    aim[c],
                    scratch,
                )
            low_y, high_y = _extent(aim[0], mask, scratch[0, : right - left], scratch[1])
            low_x, high_x = _extent(aim[1], mask, scratch[0, : right - left], scratch[1])
            num_near = _near_centers(centers, low_y, low_x, high_y, high_x, near)
            if num_near > 1:
                _nearest(centers, near[:num_near], aim[0], aim[1], nearest, number)
            else:
                number[:] = near[0] + 1
            for y in range(bottom - top):
                row, things = tile[y], mask[y]
                found, out = number[y], numbers[top + y, left:right]
                for x in range(right - left):
                    out[x] = found[x] if things[x] else np.int32(0)
                _count_runs(found, row, right - left, votes)


def assign(
    offset: NDArray[np.float32],
    scales: NDArray[np.float32],
    rows: Axis,
    columns: Axis,
    centers: NDArray[np.int64],
    classes: NDArray[np.uint8],
    is_thing: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number each thing pixel by the center nearest to where it points, and count the classes.

    Offsets are interpolated in tiles that have things only. Neighboring pixels point to places
    close together, so most centers are out of the question for a whole tile.

    Args:
        offset: (2, h, w), (dy, dx).
        scales: (2,) what one pixel of the offsets' grid spans here, along y and x.
        rows: H pixels of h samples.
        columns: W pixels of w samples.
        centers: (N, 2), (y, x); at least one.
        classes: (H, W).
        is_thing: (256,) by class id.

    Returns:
        (H, W) numbers 1..N, 0 elsewhere; (N + 1, 256) pixels by number and class.
    """
    numbers = np.zeros(classes.shape, np.int32)
    votes = np.zeros((len(centers) + 1, 256), np.int64)
    things = is_thing.astype(np.uint8)
    points = centers.astype(np.float32)
    samples = *indices(rows), *indices(columns)
    places = np.arange(max(classes.shape), dtype=np.float32)
    _assign(offset, scales, *samples, places, points, classes, things, numbers, votes)
    votes[:, ~is_thing] = 0  # pixels of other classes were counted along with their tile
    return numbers, votes


@compiled
def _relabel(numbers: Any, classes: Any, thing_ids: Any, stuff_ids: Any) -> None:
    height, width = numbers.shape
    for y in range(height):
        for x in range(width):
            number = numbers[y, x]
            numbers[y, x] = thing_ids[number] if number > 0 else stuff_ids[classes[y, x]]


def relabel(
    numbers: NDArray[np.int32],
    classes: NDArray[np.uint8],
    thing_ids: NDArray[np.int32],
    stuff_ids: NDArray[np.int32],
) -> None:
    """Replace numbers by segment ids in place: by number where there is one, else by class."""
    _relabel(numbers, classes, thing_ids, stuff_ids)
