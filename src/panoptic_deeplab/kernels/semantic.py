"""Compiled loops that resize a map, and that find each pixel's class without resizing logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab import interpolation
from panoptic_deeplab.interpolation import Axis
from panoptic_deeplab.kernels.base import compiled, indices, inlined, mix

MARGIN = np.float32(interpolation.MARGIN)


@compiled
def _upsample(
    samples: Any,
    rows_low: Any,
    rows_high: Any,
    rows_weight: Any,
    columns_low: Any,
    columns_high: Any,
    columns_weight: Any,
    result: Any,
) -> None:
    height, width = result.shape
    first, second = np.empty(width, np.float32), np.empty(width, np.float32)
    held = np.int64(-1)
    for y in range(height):
        above, below = samples[rows_low[y]], samples[rows_high[y]]
        if held != np.int64(rows_low[y]):
            for x in range(width):
                low, high, weight = columns_low[x], columns_high[x], columns_weight[x]
                first[x] = mix(above[low], above[high], weight)
                second[x] = mix(below[low], below[high], weight)
            held = np.int64(rows_low[y])
        row, weight = result[y], rows_weight[y]
        for x in range(width):
            row[x] = mix(first[x], second[x], weight)


def upsample(samples: NDArray[np.float32], rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """Resize bilinearly, bit for bit as torch does on a processor with fused multiply-add.

    Args:
        samples: (h, w).
        rows: H pixels of h samples.
        columns: W pixels of w samples.

    Returns:
        (H, W).
    """
    result = np.empty((len(rows.low), len(columns.low)), np.float32)
    _upsample(samples, *indices(rows), *indices(columns), result)
    return result


@compiled
def _lead(logits: Any, best: Any, sure: Any) -> None:
    """Best class of each sample, and whether its lead over the next exceeds rounding."""
    num_classes, height, width = logits.shape
    first = np.empty(width, np.float32)
    second = np.empty(width, np.float32)
    which = np.empty(width, np.int32)
    for y in range(height):
        first[:] = -np.inf
        second[:] = -np.inf
        which[:] = 0
        for k in range(num_classes):
            row = logits[k, y]
            for x in range(width):
                value = row[x]
                second[x] = max(second[x], min(first[x], value))
                which[x] = k if value > first[x] else which[x]
                first[x] = max(first[x], value)
        for x in range(width):
            best[y, x] = which[x]
            sure[y, x] = first[x] - second[x] > MARGIN * abs(first[x])


@compiled
def _bounds(logits: Any, low: int, high: int, highest: Any, bars: Any) -> None:
    """Of each cell between two rows: every class's highest corner, and the best lowest one."""
    num_classes, _, width = logits.shape
    bars[:] = -np.inf
    for k in range(num_classes):
        above, below, high_k = logits[k, low], logits[k, high], highest[k]
        for j in range(width - 1):
            a, b, c, d = above[j], above[j + 1], below[j], below[j + 1]
            high_k[j] = max(max(a, b), max(c, d))
            bars[j] = max(bars[j], min(min(a, b), min(c, d)))
        a, c = above[width - 1], below[width - 1]
        high_k[width - 1] = max(a, c)
        bars[width - 1] = max(bars[width - 1], min(a, c))


@inlined
def _corner_bar(logits: Any, best: Any, low: int, high: int, j: int, right: int) -> Any:
    """A value that the best class of some corner exceeds at every point of a cell.

    It is the lowest corner of the mean of those classes: one of them is at least the mean.
    Lowered by more than rounding can take away.
    """
    bar, scale = np.float32(np.inf), np.float32(0)
    winners = (best[low, j], best[low, right], best[high, j], best[high, right])
    for row in (low, high):
        for column in (j, right):
            total = np.float32(0)
            for class_id in winners:
                total += logits[class_id, row, column]
                scale = max(scale, abs(logits[class_id, row, column]))
            bar = min(bar, total * np.float32(0.25))
    return bar - MARGIN * scale


@inlined
def _settle(
    logits: Any,
    low: int,
    high: int,
    rows_weight: Any,
    left: int,
    columns_weight: Any,
    bar: Any,
    highest: Any,
    values: Any,
    classes: Any,
) -> None:
    """Interpolate the classes of one cell that can reach the bar, and keep the best per pixel."""
    num_rows, num_columns = classes.shape
    values[:num_rows, :num_columns] = -np.inf
    right = min(left + 1, logits.shape[2] - 1)
    for k in range(logits.shape[0]):
        if highest[k, left] < bar:
            continue
        a, b = logits[k, low, left], logits[k, low, right]
        c, d = logits[k, high, left], logits[k, high, right]
        for x in range(num_columns):
            above, below = mix(a, b, columns_weight[x]), mix(c, d, columns_weight[x])
            for y in range(num_rows):
                value = mix(above, below, rows_weight[y])
                if value > values[y, x]:
                    values[y, x] = value
                    classes[y, x] = k


@compiled
def _fill_row(best: Any, sure: Any, low: int, high: int, lefts: Any, out: Any, settled: Any) -> int:
    """Give the pixels of each cell between two rows the class of its first corner.

    Marks the cells as settled where the class leads at all four corners; returns how many remain.
    """
    last, num_open = len(settled) - 1, 0
    for j in range(last + 1):
        right = min(j + 1, last)
        class_id = best[low, j]
        same = (class_id == best[low, right]) & (class_id == best[high, j])
        same &= class_id == best[high, right]
        same &= sure[low, j] & sure[low, right] & sure[high, j] & sure[high, right]
        settled[j] = same
        num_open += not same
        for x in range(lefts[j], lefts[j + 1]):
            out[x] = class_id
    return num_open


@compiled
def _count_cells(classes: Any, lefts: Any, settled: Any, counts: Any) -> None:
    """Count the classes of all pixels between two rows."""
    height = len(classes)
    for j in range(len(settled)):
        begin, end = lefts[j], lefts[j + 1]
        if settled[j]:
            if begin < end:
                counts[classes[0, begin]] += height * (end - begin)
            continue
        for y in range(height):
            for x in range(begin, end):
                counts[classes[y, x]] += 1


@compiled
def _classify(
    logits: Any,
    best: Any,
    sure: Any,
    tops: Any,
    lefts: Any,
    rows_high: Any,
    rows_weight: Any,
    columns_weight: Any,
    values: Any,
    classes: Any,
    counts: Any,
) -> None:
    """Fill (H, W) class ids and count them; a cell is the pixels between the same four samples.

    Args:
        logits: (K, h, w).
        best: (h, w) best class of each sample.
        sure: (h, w) whether it leads clearly.
        tops: (h + 1,) first row of each cell, and the end.
        lefts: (w + 1,) first column of each cell, and the end.
        rows_high: as in `Axis`, like the following two.
        rows_weight: as there.
        columns_weight: as there.
        values: scratch of the size of the largest cell.
        classes: (H, W), filled.
        counts: (256,), added to.
    """
    num_classes, height_in, width_in = logits.shape
    settled = np.empty(width_in, np.bool_)
    highest = np.empty((num_classes, width_in), np.float32)
    bars = np.empty(width_in, np.float32)
    for low in range(height_in):
        top, bottom = tops[low], tops[low + 1]
        if top == bottom:
            continue
        high = rows_high[top]
        num_open = _fill_row(best, sure, low, high, lefts, classes[top], settled)
        for y in range(top + 1, bottom):
            for x in range(lefts[width_in]):  # assigning whole rows would take seconds to compile
                classes[y, x] = classes[top, x]
        if num_open:
            _bounds(logits, low, high, highest, bars)
        for j in range(width_in):
            begin, end = lefts[j], lefts[j + 1]
            if settled[j] or begin == end:
                continue
            bar = bars[j] - MARGIN * abs(bars[j])
            bar = max(bar, _corner_bar(logits, best, low, high, j, min(j + 1, width_in - 1)))
            _settle(
                logits,
                low,
                high,
                rows_weight[top:bottom],
                j,
                columns_weight[begin:end],
                bar,
                highest,
                values,
                classes[top:bottom, begin:end],
            )
        _count_cells(classes[top:bottom], lefts, settled, counts)


def classify(
    logits: NDArray[np.float32], rows: Axis, columns: Axis
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Resize logits and take each pixel's best class, mostly without resizing.

    Interpolation never turns an order round: a class that leads clearly at all four samples
    around a cell leads within it. Only the other cells are interpolated, and in them only the
    classes whose highest sample reaches another's lowest.

    Args:
        logits: (K, h, w).
        rows: H pixels of h samples.
        columns: W pixels of w samples.

    Returns:
        (H, W) class ids, the lower among equals; (256,) number of pixels of each.
    """
    best = np.empty(logits.shape[1:], np.uint8)
    sure = np.empty(logits.shape[1:], np.bool_)
    classes = np.empty((len(rows.low), len(columns.low)), np.uint8)
    counts = np.zeros(256, np.int64)
    tops, lefts = rows.cells(logits.shape[1]), columns.cells(logits.shape[2])
    values = np.empty((np.diff(tops).max(), np.diff(lefts).max()), np.float32)
    _lead(logits, best, sure)
    _classify(
        logits,
        best,
        sure,
        tops,
        lefts,
        rows.high,
        rows.weight,
        columns.weight,
        values,
        classes,
        counts,
    )
    return classes, counts
