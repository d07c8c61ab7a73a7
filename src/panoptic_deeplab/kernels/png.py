"""Compiled loop that undoes the filters of an RGB PNG and reads its pixels as numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.kernels.base import compiled, inlined
from panoptic_deeplab.kernels.blocks import (
    BLOCK,
    are_all,
    are_zero_bytes,
    copy_block,
    fill_block,
)

SUB, UP, AVERAGE, PAETH = 1, 2, 3, 4
"""Filters of a row (PNG specification, section 9.2)."""


STEP = np.uintp(BLOCK)

LOW, HIGH = np.int32(0x7F7F7F), np.int32(0x808080)
"""The lower seven bits and the highest bit of three bytes."""


@compiled
def _add(a: Any, b: Any) -> Any:
    """Add three bytes at once, each modulo 256."""
    return ((a & LOW) + (b & LOW)) ^ ((a ^ b) & HIGH)


@compiled
def _pixel(row: Any, x: Any) -> Any:
    """The three filtered bytes of a pixel as one number."""
    i = 3 * x
    return np.int32(row[i + 1]) | np.int32(row[i + 2]) << 8 | np.int32(row[i + 3]) << 16


@compiled
def _paeth_of_byte(left: Any, above: Any, corner: Any) -> Any:
    """The neighbor nearest to left + above - corner; ties in this order."""
    from_left, from_above = abs(above - corner), abs(left - corner)
    from_corner = abs(left + above - 2 * corner)
    if from_left <= from_above and from_left <= from_corner:
        return left
    return above if from_above <= from_corner else corner


@compiled
def _paeth(left: Any, above: Any, corner: Any) -> Any:
    """The same for three bytes."""
    if above == corner:  # inside a segment and along its borders: nothing to compute
        return left
    if left == corner:
        return above
    guess = np.int32(0)
    for shift in (0, 8, 16):
        byte = _paeth_of_byte(left >> shift & 255, above >> shift & 255, corner >> shift & 255)
        guess |= np.int32(byte) << shift
    return guess


@compiled
def _half(left: Any, above: Any) -> Any:
    """The mean of two pixels, byte by byte, rounded down."""
    guess = np.int32(0)
    for shift in (0, 8, 16):
        guess |= np.int32(((left >> shift & 255) + (above >> shift & 255)) >> 1) << shift
    return guess


@inlined
def _undo_block(kind: Any, row: Any, above: Any, out: Any, x: Any, end: Any) -> None:
    """Undo the filter of some pixels of a row, three bytes at once."""
    if kind == UP:
        for i in range(x, end):
            out[i] = _add(_pixel(row, i), above[i])
        return
    left = out[x - np.uintp(1)] if x else np.int32(0)
    if kind == SUB:
        for i in range(x, end):
            left = _add(_pixel(row, i), left)
            out[i] = left
    elif kind == PAETH:
        corner = above[x - np.uintp(1)] if x else np.int32(0)
        for i in range(x, end):
            left = _add(_pixel(row, i), _paeth(left, above[i], corner))
            corner = above[i]
            out[i] = left
    elif kind == AVERAGE:
        for i in range(x, end):
            left = _add(_pixel(row, i), _half(left, above[i]))
            out[i] = left
    else:
        for i in range(x, end):
            out[i] = _pixel(row, i)


@inlined
def _undo(kind: Any, row: Any, above: Any, out: Any) -> bool:
    """Undo the filter of one row; False: an unknown filter.

    Inside segments the filtered bytes are zero: a block of those repeats what is above or to the
    left, which takes a fraction of the time.
    """
    width = np.uintp(len(out))
    x = np.uintp(0)
    repeats = kind == UP or kind == SUB or kind == PAETH
    while repeats and x + STEP <= width:
        end = x + STEP
        if are_zero_bytes(row, np.uintp(3) * x + np.uintp(1)):
            left = out[x - np.uintp(1)] if x else np.int32(0)
            corner = above[x - np.uintp(1)] if x else np.int32(0)
            if kind == UP or (kind == PAETH and left == corner):
                # Of PAETH's neighbors two agree, so the third is taken: above, pixel after pixel.
                copy_block(out, above, x)
                x = end
                continue
            if kind == SUB or are_all(above, x, corner):
                fill_block(out, x, left)
                x = end
                continue
        _undo_block(kind, row, above, out, x, end)
        x = end
    _undo_block(kind, row, above, out, x, width)
    return bool(kind <= PAETH)


@compiled
def _numbers(rows: Any, ids: Any, first: Any) -> bool:
    """Undo the filters of some rows; False: an unknown one."""
    nothing = np.zeros(ids.shape[1], np.int32)
    for i in range(np.uintp(len(rows))):
        y = first + i
        above = ids[y - np.uintp(1)] if y else nothing
        if not _undo(rows[i, 0], rows[i], above, ids[y]):
            return False
    return True


def numbers_of_rows(rows: NDArray[np.uint8], ids: NDArray[np.int32], first: int = 0) -> bool:
    """Read numbers from some inflated rows of an 8-bit RGB PNG.

    Args:
        rows: (n, 1 + 3 W), filter and bytes of each row.
        ids: (H, W), of which rows `first` and following are filled with red + 256 green + 65536
            blue; those before have been.
        first: where the rows belong.

    Returns:
        Whether every row had a known filter.
    """
    return bool(_numbers(rows, ids, np.uintp(first)))
