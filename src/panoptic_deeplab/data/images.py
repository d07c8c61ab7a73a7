"""Picture files of any kind -> (height, width, 3) uint8 RGB, or a sentence saying what is wrong.

Plain PNGs are decoded by `png.py`. Of all others Pillow decides what a file is and how large it
says it is; OpenCV decodes the plain 8-bit colour JPEG and PNG files, to the same pixels in half the
time. What files can hold and what becomes of
it stands in `docs/datasets.md` under "Images".
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from panoptic_deeplab.data.png import fast_pixels

logger = logging.getLogger(__name__)

_ORIENTATION = 0x0112  # EXIF tag: how the camera was held
_BITS_PER_SAMPLE = 258  # TIFF tag
_ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_PNG_NOTES = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_WHOLE_NUMBERS = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(source: str | Path | bytes, *, name: str = "") -> NDArray[np.uint8]:
    """Read a picture as people see it.

    Rotation noted by the camera is applied. Grey, palette and CMYK become RGB. What is transparent
    is laid over white. More than 8 bits are scaled by `to_eight_bits`. Of several frames the first
    is taken, with a warning.

    Args:
        source: path of a file, or its content.
        name: what messages call it; by default the path.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, is cut short or damaged, is of 32-bit floats, or declares
            more pixels than Pillow's limit (twice `PIL.Image.MAX_IMAGE_PIXELS`: 179 million).
    """
    if isinstance(source, bytes):
        content, name = source, name or "image"
    else:
        content, name = _read_file(Path(source)), name or str(source)
    plain = fast_pixels(content)
    if plain is not None:
        return plain
    with _damage_named(name, content):
        image = Image.open(BytesIO(content))
    if image.mode == "F":
        raise ValueError(
            f"{name}: expected whole numbers of 8 or 16 bits, got 32-bit floats, whose range says "
            "nothing about black and white. Scale it and save it with 8 or 16 bits."
        )
    with _damage_named(name, content):
        _take_first_frame(image, name)
        pixels = _decode_with_opencv(image, content)
        return pixels if pixels is not None else _decode_with_pillow(image)


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a picture as `read_image` gives it, from the head of its file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture.
    """
    content = _read_file(Path(path))
    with _damage_named(str(path), content):
        image = Image.open(BytesIO(content))
        width, height = image.size
        if _is_upright(image, content):
            return height, width
        is_on_its_side = image.getexif().get(_ORIENTATION, 1) >= 5
        return (width, height) if is_on_its_side else (height, width)


def to_eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale whole numbers of any range to 0..255, the same way for images of one camera.

    The range is taken to be the smallest number of bits, 8 to 32, that holds the largest value:
    values up to 255 stay as they are, those of a 12-bit camera are divided by 4095 / 255, those
    that fill 16 bits by 257. So brightness stays comparable between pictures, unlike with a range
    from each picture's own minimum to its own maximum; a picture is at least half as bright as
    its type allows.

    Args:
        values: of any shape; below 0 counts as 0.

    Example:
        >>> to_eight_bits(np.array([0, 2048, 4095], np.uint16)).tolist()
        [0, 128, 255]
    """
    largest = int(values.max(initial=0))
    bits = max(8, largest.bit_length())
    scaled = values.clip(min=0).astype(np.float64) * (255 / (2**bits - 1))
    return np.asarray(np.rint(scaled), np.uint8)


def _read_file(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError(f"{path}: expected a picture, got a folder. Name a file in it.")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: expected a picture, found no such file. Check the path."
        ) from error


def _describe(content: bytes) -> str:
    return f"{len(content)} bytes starting {content[:8]!r}" if content else "an empty file"


@contextmanager
def _damage_named(name: str, content: bytes) -> Iterator[None]:
    """Turn whatever a decoder raises into one sentence with the file's name."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name}: expected a picture of at most {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels, "
            f"its header declares more ({error}). Cut it into tiles, or, if you trust the file, "
            "raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name}: expected a picture (JPEG, PNG, TIFF, WebP, BMP, ...), got "
            f"{_describe(content)}. Check that the file is what its name says, or save it as PNG."
        ) from error
    except Exception as error:  # on damaged files decoders raise nearly anything
        raise ValueError(
            f"{name}: expected a whole picture, got one that is cut short or damaged "
            f"({str(error) or type(error).__name__}). Copy or download the file again."
        ) from error


def _take_first_frame(image: Image.Image, name: str) -> None:
    # Phones hide a depth map or a second exposure behind the picture (MPO); nobody misses that.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        logger.warning("%s has %d frames or pages, the first is read.", name, frames)
        image.seek(0)


def _decode_with_opencv(image: Image.Image, content: bytes) -> NDArray[np.uint8] | None:
    """Decode what OpenCV reads exactly as Pillow would; None if it is not that plain."""
    kind = str(image.format)
    ending = _ENDINGS.get(kind)
    if not _is_upright(image, content):
        return None
    if _has_deep_colors(image, content):
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None or values.dtype != np.uint16 or values.ndim != 3:
            return None
        return _flatten_deep(np.asarray(values, np.uint16))
    if ending is None or image.mode != "RGB" or "transparency" in image.info:
        return None
    if not content.endswith(ending):
        return None  # older OpenCV gives a part of a file that is cut short; Pillow tells
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape[:2] != (image.height, image.width):
        return None
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8)  # in place


def _is_upright(image: Image.Image, content: bytes) -> bool:
    # Pillow decodes a whole PNG to look for the camera's notes, which PNGs rarely have.
    if image.format == "PNG" and not any(place in content for place in _PNG_NOTES):
        return True
    return bool(image.getexif().get(_ORIENTATION, 1) == 1)


def _has_deep_colors(image: Image.Image, content: bytes) -> bool:
    """Whether it has 16 bits per channel and several channels, of which Pillow keeps 8 bits."""
    if image.format == "PNG":
        return content[24] == 16 and content[25] != 0  # bit depth; colour type 0 is grey
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return len(bits) > 1 and set(bits) == {16}
    return False


def _flatten_deep(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W, 3 or 4) uint16 in OpenCV's order to RGB, over white."""
    colors = to_eight_bits(values[..., 2::-1])
    if values.shape[2] == 3:
        return np.ascontiguousarray(colors)
    alpha = values[..., 3:].astype(np.float64) / 65535
    return np.rint(colors * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _decode_with_pillow(image: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _WHOLE_NUMBERS:
        grey = to_eight_bits(np.asarray(upright))
        return np.repeat(grey[..., None], 3, axis=2)
    if upright.has_transparency_data:
        seen = upright.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        upright = Image.alpha_composite(white, seen)
    return np.array(upright.convert("RGB"), dtype=np.uint8)
