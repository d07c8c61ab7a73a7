"""Fast reading of id PNGs: every filter by hand, every fault left to the careful reader."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from panoptic_deeplab.data.coco import decode_ids
from panoptic_deeplab.data.coco_writer import encode_ids
from panoptic_deeplab.data.png import fast_ids, fast_pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(raw: bytes, size: tuple[int, int], *, kind: bytes = b"\x08\x02\x00\x00\x00") -> bytes:
    height, width = size
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">II", width, height) + kind)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def filtered(ids: np.ndarray, kinds: list[int]) -> bytes:
    """Rows filtered as the PNG specification says, byte by byte."""
    height, width = ids.shape
    rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).reshape(height, 3 * width)
    rgb = rgb.astype(np.int64)
    raw = bytearray()
    for y, kind in enumerate(kinds):
        raw.append(kind)
        for i in range(3 * width):
            a = rgb[y, i - 3] if i >= 3 else 0
            b = rgb[y - 1, i] if y else 0
            c = rgb[y - 1, i - 3] if y and i >= 3 else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            guess = (0, a, b, (a + b) // 2, nearest)[kind]
            raw.append((int(rgb[y, i]) - int(guess)) % 256)
    return bytes(raw)


@pytest.mark.parametrize("first", range(5))
def test_every_filter_below_every_other(first: int) -> None:
    rng = np.random.default_rng(first)
    ids = rng.integers(0, 2**24, (26, 7)).astype(np.int32)
    ids[10:20, 2:5] = 70_000  # flat parts, which have a short cut
    kinds = [first, *(kind for a in range(5) for kind in (a,) * 5)]
    content = png(filtered(ids, kinds), ids.shape)
    read = fast_ids(content)
    assert np.array_equal(read, ids)
    pixels = fast_pixels(content)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1))
    assert np.array_equal(pixels, cv2.imdecode(np.frombuffer(content, np.uint8), 1)[..., ::-1])


def test_what_is_written_is_read() -> None:
    ids = np.arange(60, dtype=np.int32).reshape(6, 10) * 279_000
    assert np.array_equal(fast_ids(encode_ids(ids, name="x")), ids)
    assert np.array_equal(decode_ids(encode_ids(ids, name="x"), name="x"), ids)


def test_anything_else_is_left_to_the_careful_reader() -> None:
    ids = np.ones((4, 5), np.int32)
    good = png(filtered(ids, [0] * 4), (4, 5))
    assert fast_ids(good) is not None
    raw = filtered(ids, [0] * 4)
    faults = {
        "not a PNG": b"GIF89a" + good,
        "cut short": good[:50],
        "grey": png(raw, (4, 5), kind=b"\x08\x00\x00\x00\x00"),
        "interlaced": png(raw, (4, 5), kind=b"\x08\x02\x00\x00\x01"),
        "too few rows": png(raw[:-1], (4, 5)),
        "too many": png(raw + b"\x00", (4, 5)),
        "an absurd size": png(raw, (2**31 - 1, 2**31 - 1)),
        "no pixels": png(b"", (0, 5)),
        "an unknown filter": png(b"\x07" + raw[1:], (4, 5)),
        "a note": good.replace(chunk(b"IEND", b""), chunk(b"eXIf", b"II") + chunk(b"IEND", b"")),
        "a wrong checksum": good.replace(b"IDAT", b"IDAU"),
    }
    for name, content in faults.items():
        assert fast_ids(content) is None, name
        assert fast_pixels(content) is None, name
    for name in ("cut short", "an absurd size"):
        with pytest.raises(ValueError, match=r"^f\.png: expected"):
            decode_ids(faults[name], name="f.png")
