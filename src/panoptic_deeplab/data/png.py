"""Plain RGB PNGs of numbers -> (H, W) int32, several times faster than a picture library.

Maps of segment ids are nine tenths inflating and undoing filters, so both are done by the fastest
means installed: zlib-ng (else zlib), and one compiled loop that also joins the three bytes. What
is not plain, or is damaged in any way, is left to the careful reader in `images.py`, whose
sentences say what is wrong. Format: PNG specification (ISO/IEC 15948).
"""

import struct
import zlib
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = b"\x08\x02\x00\x00\x00"  # 8 bits, RGB, deflate, usual filters, not interlaced
_NOT_PLAIN = (b"tRNS", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"acTL")
"""Chunks that may change what the pixels mean, such as a note that the picture is turned."""

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
    if find_spec("numba") is None:
        return None
    found = _read_chunks(content)
    if found is None:
        return None
    (height, width), packed = found
    rows = _inflate(packed, height * (1 + 3 * width))
    if rows is None:
        return None
    from panoptic_deeplab.kernels.png import numbers_of_rows

    ids = np.empty((height, width), np.int32)
    return ids if numbers_of_rows(rows.reshape(height, 1 + 3 * width), ids) else None


def _read_chunks(content: bytes) -> tuple[tuple[int, int], bytes] | None:
    """(height, width) and the packed rows; None unless every chunk is whole and plain."""
    if not content.startswith(SIGNATURE) or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", content[16:24])
    if content[24:29] != HEADER or not 0 < width * height <= MAX_PIXELS:
        return None
    parts: list[memoryview] = []
    view, place = memoryview(content), len(SIGNATURE)
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", view[place : place + 4])
        end = place + 8 + length
        kind = bytes(view[place + 4 : place + 8])
        if end + 4 > len(content):
            return None
        if zlib.crc32(view[place + 4 : end]) != struct.unpack(">I", view[end : end + 4])[0]:
            return None
        if kind == b"IEND":
            return (height, width), b"".join(parts)
        if kind == b"IDAT":
            parts.append(view[place + 8 : end])
        elif kind in _NOT_PLAIN:
            return None
        place = end + 4
    return None


def _inflate(packed: bytes, size: int) -> NDArray[np.uint8] | None:
    """Exactly so many bytes, or None; never more memory than what truly comes out."""
    unpacker = _unpacker()
    try:
        raw = unpacker.decompress(packed, size + 1)
    except Exception:  # each library has an error of its own; the careful reader says what is wrong
        return None
    if len(raw) != size or not unpacker.eof:
        return None
    return np.frombuffer(raw, np.uint8)


def _unpacker() -> Any:
    if find_spec("zlib_ng") is not None:
        from zlib_ng import zlib_ng

        return zlib_ng.decompressobj()
    return zlib.decompressobj()
