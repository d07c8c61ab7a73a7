"""Pictures whose pixels are numbers, not colours: class ids, instance ids.

8, 16 and 32 bits, PNG or TIFF; a palette only colours them for viewers. Comes in: a file. Goes out:
(H, W) int32, or one sentence that says what the file is instead.
"""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_NUMBERS = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I;16N", "I")


def read_numbers(path: str | Path, *, with_rgb: bool = False) -> NDArray[np.int32]:
    """Read the numbers of a PNG or TIFF.

    Args:
        path: of the file.
        with_rgb: 8-bit RGB is allowed too, as red + 256 green + 65536 blue.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is no such picture, or damaged.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: expected a picture of labels, found no such file. Restore it."
        ) from error
    kinds = "one number per pixel (grey or palette, 8 to 32 bits" + (
        ", or RGB)" if with_rgb else ")"
    )
    try:
        with Image.open(BytesIO(content)) as image:
            mode = image.mode
            if mode == "RGB" and with_rgb:
                rgb = np.asarray(image).astype(np.int32)
                return np.asarray(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], np.int32)
            if mode in _NUMBERS:
                return np.asarray(np.asarray(image), np.int32)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path}: expected a PNG or TIFF with {kinds}, got {len(content)} bytes starting "
            f"{content[:8]!r}. Restore the file."
        ) from error
    except Exception as error:  # on damaged files decoders raise nearly anything
        raise ValueError(
            f"{path}: expected a whole picture of labels, got one that is cut short or damaged "
            f"({str(error) or type(error).__name__}). Copy or download the file again."
        ) from error
    raise ValueError(
        f"{path}: expected {kinds}, got mode {mode}. Colours of a drawing are no labels; save the "
        "numbers themselves."
    )


def encode_numbers(
    values: NDArray[np.int32],
    *,
    bits: int = 8,
    palette: dict[int, tuple[int, int, int]] | None = None,
    name: str = "",
) -> bytes:
    """Write numbers as a grey PNG, or as one with a palette.

    Args:
        values: (H, W), 0 or more.
        bits: 8 or 16.
        palette: number -> RGB, for viewers; 8 bits only.
        name: of the image, for messages.

    Raises:
        ValueError: if a number does not fit into the bits.
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high >= 2**bits:
        raise ValueError(
            f"{name}: expected numbers from 0 to {2**bits - 1}, which {bits} bits hold, got "
            f"{low if low < 0 else high}. Use a format with more room."
        )
    if palette is not None:
        image = Image.fromarray(values.astype(np.uint8))
        colors = [channel for i in range(256) for channel in palette.get(i, (0, 0, 0))]
        image.putpalette(colors)
        buffer = BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    array = np.asarray(values, np.uint8) if bits == 8 else np.asarray(values, np.uint16)
    ok, content = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    assert ok, "OpenCV writes any grey array of 8 or 16 bits"
    return content.tobytes()
