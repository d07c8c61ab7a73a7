"""Pictures of every kind a folder may hold, and what is wrong with the others."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab.data.base import read_image
from panoptic_deeplab.data.images import to_eight_bits

COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A valid PNG start that declares a size, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_plain_color_is_exact_from_path_and_bytes(tmp_path: Path) -> None:
    content = encode(Image.fromarray(COLORS))
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "a.png"), COLORS)
    assert np.array_equal(read_image(str(tmp_path / "a.png")), COLORS)
    assert np.array_equal(read_image(content), COLORS)


def test_jpeg_is_what_pillow_reads() -> None:
    smooth = cv2.resize(COLORS[:4, :5], (301, 203), interpolation=cv2.INTER_CUBIC)
    content = encode(Image.fromarray(smooth), "JPEG", quality=85)
    assert np.array_equal(read_image(content), np.asarray(Image.open(io.BytesIO(content))))


MODES = {
    "PNG": ["1", "L", "P", "LA", "I;16", "RGBA"],
    "TIFF": ["1", "L", "P", "LA", "PA", "CMYK", "YCbCr", "LAB", "I", "I;16", "RGBA"],
    "JPEG": ["L", "CMYK", "YCbCr"],
}


@pytest.mark.parametrize(("kind", "mode"), [(k, m) for k, modes in MODES.items() for m in modes])
def test_every_mode_becomes_rgb(kind: str, mode: str) -> None:
    image = Image.fromarray(COLORS)
    image = image if mode in ("CMYK", "YCbCr", "LAB") else image.convert("L")
    read = read_image(encode(image.convert(mode), kind))
    assert read.shape == (20, 30, 3)
    assert read.dtype == np.uint8


def test_grey_is_repeated() -> None:
    grey = COLORS[..., 0]
    assert np.array_equal(read_image(encode(Image.fromarray(grey))), np.stack([grey] * 3, axis=2))


def test_transparency_lies_over_white() -> None:
    # black, opaque to transparent: 255 * (1 - alpha)
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = [255, 51, 0]
    assert read_image(encode(Image.fromarray(pixels)))[0, :, 0].tolist() == [0, 204, 255]


def test_opaque_alpha_changes_nothing() -> None:
    opaque = np.dstack([COLORS, np.full((20, 30), 255, np.uint8)])
    assert np.array_equal(read_image(encode(Image.fromarray(opaque))), COLORS)


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert read_image(encode(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    transparent = encode(image, transparency=1)
    assert read_image(transparent).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_sixteen_bits_of_grey_by_the_bits_in_use() -> None:
    full = np.array([[0, 257, 65535]], np.uint16)
    assert read_image(encode(Image.fromarray(full)))[0, :, 1].tolist() == [0, 1, 255]
    # a camera of 12 bits in a file of 16: 2048 / 4095 * 255 = 127.53
    twelve = np.array([[0, 2048, 4095]], np.uint16)
    assert read_image(encode(Image.fromarray(twelve)))[0, :, 1].tolist() == [0, 128, 255]
    # values that fit into 8 bits stay
    eight = np.array([[0, 7, 255]], np.uint16)
    assert read_image(encode(Image.fromarray(eight)))[0, :, 1].tolist() == [0, 7, 255]


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bits_of_color(ending: str) -> None:
    deep = COLORS.astype(np.uint16) * 257
    deep[0, 0] = 65535
    ok, content = cv2.imencode(ending, deep[..., ::-1])
    assert ok
    expected = COLORS.copy()
    expected[0, 0] = 255
    assert np.array_equal(read_image(content.tobytes()), expected)


def test_sixteen_bits_with_alpha() -> None:
    deep = np.zeros((1, 2, 4), np.uint16)
    deep[0, 0] = 65535  # white, opaque
    _, content = cv2.imencode(".png", deep)  # and black, transparent
    assert (read_image(content.tobytes()) == 255).all()


def test_eight_bits_keeps_negative_values_at_zero() -> None:
    assert to_eight_bits(np.array([-5, 0, 300], np.int32)).tolist() == [0, 0, 150]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_camera_rotation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the picture's top is to the right: turn it clockwise
    content = encode(Image.fromarray(COLORS), kind, exif=exif)
    read = read_image(content)
    assert read.shape == (30, 20, 3)
    if kind == "PNG":
        assert np.array_equal(read, np.rot90(COLORS, -1))


def test_large_photo() -> None:
    _, content = cv2.imencode(".jpg", np.zeros((6000, 8000, 3), np.uint8))
    assert read_image(content.tobytes()).shape == (6000, 8000, 3)


def test_declared_size_is_limited() -> None:
    with pytest.raises(ValueError, match=r"bomb\.png: expected .* at most 178956970 pixels"):
        read_image(png_header(60_000, 60_000), name="bomb.png")


def test_size_in_header_without_pixels() -> None:
    with pytest.raises(ValueError, match=r"liar\.png: expected a whole picture, .*cut short"):
        read_image(png_header(5000, 5000), name="liar.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
def test_cut_short_at_any_place(kind: str) -> None:
    content = encode(Image.fromarray(COLORS), kind)
    for end in range(1, len(content) - 60, 37):
        with pytest.raises(ValueError, match=r"x\.bin: expected a"):
            read_image(content[:end], name="x.bin")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_bytes_never_raise_anything_else() -> None:
    generator = np.random.default_rng(1)
    messages = []
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "WEBP"):
        whole = np.frombuffer(encode(Image.fromarray(COLORS), kind), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            places = generator.integers(0, len(whole), 8)
            damaged[places] = generator.integers(0, 256, 8)
            try:
                assert read_image(damaged.tobytes(), name="x").dtype == np.uint8
            except ValueError as error:
                messages.append(str(error))
    assert messages
    assert all(message.startswith("x: expected") for message in messages)


def test_not_a_picture() -> None:
    with pytest.raises(ValueError, match=r"notes\.txt: expected a picture .* 5 bytes starting"):
        read_image(b"hello", name="notes.txt")
    with pytest.raises(ValueError, match=r"image: expected a picture .* an empty file"):
        read_image(b"")


def test_floats_are_refused() -> None:
    content = encode(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF")
    with pytest.raises(ValueError, match=r"got 32-bit floats.*Scale it"):
        read_image(content, name="f.tiff")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png: expected a picture, found no such"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="got a folder"):
        read_image(tmp_path)


def test_several_frames_give_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    content = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert read_image(content, name="stack.tif")[0, 0].tolist() == [255, 0, 0]
    assert "stack.tif has 2 frames" in caplog.text
