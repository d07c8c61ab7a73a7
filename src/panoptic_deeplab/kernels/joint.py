"""Compiled loop that counts how many pixels every pair of segments shares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.kernels.base import compiled
from panoptic_deeplab.kernels.blocks import BLOCK, are_all, count_leading

FIRST_SLOTS = 1 << 12
"""Slots of the table at the start; it doubles before it is half full."""

EMPTY, NEGATIVE = np.int64(-1), np.int64(-2)
"""Keys of a free slot, and of the first one where an id was negative."""


@compiled
def _slot(keys: Any, key: Any) -> Any:
    """Where a key stands in the table, or the empty slot where it belongs."""
    mask = np.uint64(len(keys) - 1)
    # Multiplying by an odd constant near 2**64 / golden ratio spreads near keys far apart.
    place = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & mask
    while keys[place] != EMPTY and keys[place] != key:
        place = (place + np.uint64(1)) & mask
    return place


@compiled
def _grown(keys: Any, counts: Any) -> Any:
    """The same table with twice the slots."""
    new_keys = np.full(2 * len(keys), EMPTY, np.int64)
    new_counts = np.zeros(2 * len(keys), np.int64)
    for n in range(len(keys)):
        if keys[n] != EMPTY:
            place = _slot(new_keys, keys[n])
            new_keys[place], new_counts[place] = keys[n], counts[n]
    return new_keys, new_counts


@compiled
def _fill(first: Any, second: Any, begin: Any, keys: Any, counts: Any, used: Any) -> Any:
    """Count from a place on until the table is half full; the new place and the slots used.

    A loop that exchanged the table for a larger one would count its references at each turn.
    """
    one, step, size = np.uintp(1), np.uintp(BLOCK), np.uintp(len(first))
    while begin < size and 2 * used < len(keys):
        a, b = first[begin], second[begin]
        end = begin + one
        # The length of this step is known before the block is, so the next block is read meanwhile.
        while end + step <= size and are_all(first, end, a) and are_all(second, end, b):
            end += step
        if end + step <= size:
            end += count_leading(first, second, end, a, b)
        else:
            while end < size and first[end] == a and second[end] == b:
                end += one
        key = np.int64(a) << 32 | np.int64(b)
        if a < 0 or b < 0:
            keys[0] = NEGATIVE
            return size, used
        place = _slot(keys, key)
        if keys[place] == EMPTY:
            keys[place] = key
            used += 1
        counts[place] += np.int64(end - begin)
        begin = end
    return begin, used


@compiled
def _count(first: Any, second: Any) -> Any:
    """Table of keys and counts; a negative id ends it with the key `NEGATIVE`."""
    keys = np.full(FIRST_SLOTS, EMPTY, np.int64)
    counts = np.zeros(FIRST_SLOTS, np.int64)
    begin, used = _fill(first, second, np.uintp(0), keys, counts, 0)
    while begin < np.uintp(len(first)):
        keys, counts = _grown(keys, counts)
        begin, used = _fill(first, second, begin, keys, counts, used)
    return keys, counts


def count_pairs(
    first: NDArray[np.int32], second: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Count the pixels of every pair of ids that meet.

    Args:
        first: (N,) ids.
        second: (N,) ids.

    Returns:
        Pairs as first << 32 | second, ascending, and their pixels; None if an id is negative.
    """
    keys, counts = _count(first, second)
    if keys[0] == NEGATIVE:
        return None
    found = np.flatnonzero(keys != EMPTY)
    found = found[np.argsort(keys[found])]
    return keys[found], counts[found]
