"""Compiled loops that rate instances by the probability of their class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.interpolation import Axis
from panoptic_deeplab.kernels.base import compiled, float_of_bits, indices, inlined, mix

LONGEST_RUN = 128
"""Pixels whose logits are interpolated at once; 128 x 19 of them fit in a core's first cache."""


@compiled
def _exp(x: Any) -> Any:
    """exp(x) for x <= 0 in float32, to about 1e-7; written so that it runs in vector registers."""
    x = max(x, np.float32(-87))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    # ln 2 in two parts, the first with few bits, so that n times it is exact.
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    p = np.float32(1.3888889e-3)
    p = p * r + np.float32(8.3333333e-3)
    p = p * r + np.float32(4.1666667e-2)
    p = p * r + np.float32(1.6666667e-1)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1)
    p = p * r + np.float32(1)
    return p * float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


@inlined
def _probability_of_run(
    logits: Any,
    low: Any,
    high: Any,
    weight: Any,
    columns_low: Any,
    columns_high: Any,
    columns_weight: Any,
    class_id: int,
    values: Any,
    highest: Any,
    total: Any,
) -> float:
    """Add up one class's soft-maxed probability over neighboring pixels of one row.

    Args:
        logits: (K, h, w).
        low: sample row above.
        high: sample row below.
        weight: of the row below.
        columns_low: of the run's pixels, as in `Axis`, like the following two.
        columns_high: as there.
        columns_weight: as there.
        class_id: of the class.
        values: (K, n), scratch.
        highest: (n,), scratch.
        total: (n,), scratch.
    """
    num_classes, length = len(logits), len(columns_low)
    highest[:length] = -np.inf
    total[:length] = 0
    for k in range(num_classes):
        above, below, row = logits[k, low], logits[k, high], values[k]
        for n in range(length):
            i, j, w = columns_low[n], columns_high[n], columns_weight[n]
            row[n] = mix(mix(above[i], above[j], w), mix(below[i], below[j], w), weight)
            highest[n] = max(highest[n], row[n])
    for k in range(num_classes):
        row = values[k]
        for n in range(length):
            total[n] += _exp(row[n] - highest[n])
    added = 0.0
    for n in range(length):
        added += np.float64(_exp(values[class_id, n] - highest[n]) / total[n])
    return added


@compiled
def _probabilities(
    logits: Any,
    rows_low: Any,
    rows_high: Any,
    rows_weight: Any,
    columns_low: Any,
    columns_high: Any,
    columns_weight: Any,
    numbers: Any,
    class_ids: Any,
    sums: Any,
) -> None:
    """Add up each thing's probability of its class over its pixels, run by run."""
    height, width = numbers.shape
    values = np.empty((len(logits), LONGEST_RUN), np.float32)
    highest, total = np.empty(LONGEST_RUN, np.float32), np.empty(LONGEST_RUN, np.float32)
    for y in range(height):
        row = numbers[y]
        begin = 0
        while begin < width:
            number = row[begin]
            end = begin + 1
            while end < width and row[end] == number and end - begin < LONGEST_RUN:
                end += 1
            if number > 0:
                sums[number] += _probability_of_run(
                    logits,
                    rows_low[y],
                    rows_high[y],
                    rows_weight[y],
                    columns_low[begin:end],
                    columns_high[begin:end],
                    columns_weight[begin:end],
                    class_ids[number],
                    values,
                    highest,
                    total,
                )
            begin = end


def sum_probabilities(
    logits: NDArray[np.float32],
    rows: Axis,
    columns: Axis,
    numbers: NDArray[np.int32],
    class_ids: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Sum up the soft-maxed probability of each thing's class over its pixels.

    Args:
        logits: (K, h, w).
        rows: H pixels of h samples.
        columns: W pixels of w samples.
        numbers: (H, W), 0 for pixels of no thing.
        class_ids: (N + 1,) by number.

    Returns:
        (N + 1,).
    """
    sums = np.zeros(len(class_ids), np.float64)
    _probabilities(logits, *indices(rows), *indices(columns), numbers, class_ids, sums)
    return sums
