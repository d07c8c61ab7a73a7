"""Plain RGB PNGs, read as numbers or as pixels, several times faster than by a picture library.

Reading is nine tenths inflating and undoing filters, so both are done by the fastest means
installed: zlib-ng (else zlib), and one compiled loop that takes the three bytes of a pixel at
once. What is not plain, or is damaged in any way, is left to the careful reader in `images.py`,
whose sentences say what is wrong. Format: PNG specification (ISO/IEC 15948).
"""

import struct
import zlib
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.backends import has_numba

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = b"\x08\x02\x00\x00\x00"  # 8 bits, RGB, deflate, usual filters, not interlaced
_NOT_PLAIN = (b"tRNS", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"acTL")
"""Chunks that may change what the pixels mean, such as a note that the picture is turned."""

MOST_INFLATED = 1040
"""Bytes out of a packed one, at most: deflate reaches 1,032 (zlib's documentation)."""

PIECE = 1 << 17
"""Bytes inflated at once, if the file is small: they fit a core's own cache."""

MAX_PIXELS = 2 * 89_478_485
"""As for every other picture: twice Pillow's limit."""


def fast_ids(content: bytes) -> NDArray[np.int32] | None:
    """Numbers of a plain 8-bit RGB PNG.

    Args:
        content: of the file.

    Returns:
        (H, W) int32, red + 256 green + 65536 blue; None if numba is missing, or if the file is of
        another kind or damaged.
    """
    if not content.startswith(SIGNATURE) or not has_numba():
        return None
    found = _read_chunks(content)
    if found is None:
        return None
    (height, width), packed = found
    if height * (1 + 3 * width) > MOST_INFLATED * len(packed):
        return None
    ids = np.empty((height, width), np.int32)
    return ids if _read_rows(packed, ids) else None


def fast_pixels(content: bytes) -> NDArray[np.uint8] | None:
    """Pixels of a plain 8-bit RGB PNG.

    Args:
        content: of the file.

    Returns:
        (H, W, 3) uint8, RGB; None as from `fast_ids`.
    """
    ids = fast_ids(content)
    if ids is None:
        return None
    rgb0 = ids.astype("<i4", copy=False).view(np.uint8).reshape(*ids.shape, 4)
    return np.asarray(cv2.cvtColor(rgb0, cv2.COLOR_RGBA2RGB), np.uint8)


def _read_chunks(content: bytes) -> tuple[tuple[int, int], bytes] | None:
    """(height, width) and the packed rows; None unless every chunk is whole and plain."""
    if content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", content[16:24])
    if content[24:29] != HEADER or not 0 < width * height <= MAX_PIXELS:
        return None
    parts: list[memoryview] = []
    view, place, checksum = memoryview(content), len(SIGNATURE), _library().crc32
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", view[place : place + 4])
        end = place + 8 + length
        kind = bytes(view[place + 4 : place + 8])
        if end + 4 > len(content):
            return None
        if checksum(view[place + 4 : end]) != struct.unpack(">I", view[end : end + 4])[0]:
            return None
        if kind == b"IEND":
            return (height, width), b"".join(parts)
        if kind == b"IDAT":
            parts.append(view[place + 8 : end])
        elif kind in _NOT_PLAIN:
            return None
        place = end + 4
    return None


def _read_rows(packed: bytes, ids: NDArray[np.int32]) -> bool:
    """Fill (H, W) numbers, some rows at a time; False unless there are exactly so many.

    What is inflated is used before it leaves the processor's cache.
    """
    from panoptic_deeplab.kernels.png import numbers_of_rows

    height, stride = len(ids), 1 + 3 * ids.shape[1]
    # Each piece copies what is left of the packed bytes, so a file that hardly shrank has few.
    step = max(1, max(PIECE, 4 * len(packed)) // stride)
    unpacker = _library().decompressobj()
    try:
        for first in range(0, height, step):
            count = min(step, height - first)
            raw = unpacker.decompress(packed, count * stride)
            packed = unpacker.unconsumed_tail
            if len(raw) != count * stride:
                return False
            rows = np.frombuffer(raw, np.uint8).reshape(count, stride)
            if not numbers_of_rows(rows, ids, first):
                return False
        return not unpacker.decompress(packed, 1) and bool(unpacker.eof)
    except Exception:  # each library has an error of its own; the careful reader says what is wrong
        return False


def _library() -> Any:
    """The faster of the two that is installed; both have the same functions."""
    if find_spec("zlib_ng") is not None:
        from zlib_ng import zlib_ng

        return zlib_ng
    return zlib
