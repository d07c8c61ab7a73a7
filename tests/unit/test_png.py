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


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("width", [15, 16, 17, 64, 75])
def test_blocks_inside_segments(kind: int, width: int) -> None:
    """Flat blocks have short cuts, which must know what is above, to the left and between."""
    rng = np.random.default_rng(width)
    ids = np.zeros((40, width), np.int32)
    for number in rng.integers(1, 2**24, 30):
        y, x = rng.integers(0, 40), rng.integers(0, width)
        ids[y : y + rng.integers(1, 20), x : x + rng.integers(1, 40)] = number
    content = png(filtered(ids, [kind] * 40), ids.shape)
    np.testing.assert_array_equal(fast_ids(content), ids)


@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_pieces_of_any_size(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (50, 2000)).astype(np.int32)
    content = png(filtered(ids, [0, 1, 2, 3, 4] * 10), ids.shape)
    monkeypatch.setattr("panoptic_deeplab.data.png.PIECE", rows_at_once * (1 + 3 * 2000))
    np.testing.assert_array_equal(fast_ids(content), ids)


def test_a_size_that_no_file_of_that_length_can_have() -> None:
    ids = np.zeros((4000, 5000), np.int32)  # 60 MB of zeros in 58 kB: as much as deflate can
    raw = bytes(4000 * (1 + 3 * 5000))
    np.testing.assert_array_equal(fast_ids(png(raw, (4000, 5000))), ids)
    assert fast_ids(png(raw[: 15001 * 10], (4000, 5000))) is None


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
