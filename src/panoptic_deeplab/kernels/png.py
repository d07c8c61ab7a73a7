"""Compiled loop that undoes the filters of an RGB PNG and reads its pixels as numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.kernels.base import compiled

SUB, UP, AVERAGE, PAETH = 1, 2, 3, 4
"""Filters of a row (PNG specification, section 9.2)."""


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


@compiled
def _undo(kind: Any, row: Any, above: Any, out: Any) -> bool:
    """Undo the filter of one row, three bytes at once; False: an unknown filter."""
    width = np.uintp(len(out))
    left, corner = np.int32(0), np.int32(0)
    if kind == UP:
        for x in range(width):
            out[x] = _add(_pixel(row, x), above[x])
    elif kind == PAETH:
        for x in range(width):
            left = _add(_pixel(row, x), _paeth(left, above[x], corner))
            corner = above[x]
            out[x] = left
    elif kind == AVERAGE:
        for x in range(width):
            left = _add(_pixel(row, x), _half(left, above[x]))
            out[x] = left
    else:
        for x in range(width):
            left = _add(_pixel(row, x), left) if kind == SUB else _pixel(row, x)
            out[x] = left
    return bool(kind <= PAETH)


@compiled
def _numbers(rows: Any, ids: Any) -> bool:
    """Undo the filters of all rows; False: an unknown one."""
    nothing = np.zeros(ids.shape[1], np.int32)
    for y in range(np.uintp(len(ids))):
        above = ids[y - np.uintp(1)] if y else nothing
        if not _undo(rows[y, 0], rows[y], above, ids[y]):
            return False
    return True


def numbers_of_rows(rows: NDArray[np.uint8], ids: NDArray[np.int32]) -> bool:
    """Read numbers from the inflated rows of an 8-bit RGB PNG.

    Args:
        rows: (H, 1 + 3 W), filter and bytes of each row.
        ids: (H, W), filled with red + 256 green + 65536 blue.

    Returns:
        Whether every row had a known filter.
    """
    return bool(_numbers(rows, ids))
