"""Images as users hand them over -> pixels: paths, arrays, Pillow images; whole or in windows."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panoptic_deeplab.data.images import read_image, to_eight_bits
from panoptic_deeplab.data.windows import ArrayWindows, Windows, open_windows

ImageLike = str | Path | NDArray[np.generic] | Image.Image


def to_rgb(image: ImageLike) -> NDArray[np.uint8]:
    """Bring an image of any kind to (H, W, 3) uint8 RGB; see `Predictor.predict`."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return read_image(_as_file(image), name="image")
    if isinstance(image, np.ndarray):
        return _array_to_rgb(image)
    raise TypeError(
        f"An image must be a path, a NumPy array or a Pillow image, got {type(image).__name__}. "
        "Of a tensor (3, H, W) pass tensor.permute(1, 2, 0).numpy()."
    )


def to_windows(image: ImageLike) -> Windows:
    """Open an image of any kind to be read in parts; see `Predictor.predict`."""
    if isinstance(image, str | Path):
        return open_windows(image)
    return ArrayWindows(image if isinstance(image, np.ndarray) else to_rgb(image))


def _as_file(image: Image.Image) -> bytes:
    """Make a file of it, so that rotation, palettes and so on are treated in one place."""
    buffer = BytesIO()
    if image.mode in ("F", "I", "CMYK"):
        image.save(buffer, "TIFF", exif=image.getexif())
    else:
        plain = image.mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
        shown = image if plain else image.convert("RGB")
        shown.save(buffer, "PNG", exif=image.getexif(), compress_level=0)
    return buffer.getvalue()


def _array_to_rgb(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype not in (np.uint8, np.uint16):
        hint = "a float image of 0..1 becomes (255 * image).round().astype(np.uint8)"
        raise ValueError(
            f"An image array must be uint8 (0..255) or uint16, got {array.dtype}. Convert it, "
            f"for instance {hint}."
        )
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(
            f"An image array must be (H, W, 3) RGB or (H, W) grey and not empty, got "
            f"{array.shape}. Drop an alpha channel with image[..., :3]; bring channels to the "
            "end with image.transpose(1, 2, 0)."
        )
    eight = array if array.dtype == np.uint8 else to_eight_bits(array)
    return np.ascontiguousarray(eight, np.uint8)
