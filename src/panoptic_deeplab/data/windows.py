"""Large images read in windows: arrays, memory maps, TIFF pyramids, as a last resort any picture.

In: a path or an array. Out: an object with a size that reads any part of itself as RGB, also
resized, without holding more than that part.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.images import read_image

Size = tuple[int, int]
"""(height, width)."""

_STRIP = 1024  # rows looked at together where a whole image must be gone through


class Windows(Protocol):
    """An image that is read in parts.

    Attributes:
        size: (H, W).
    """

    size: Size

    def read(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
        """(bottom - top, right - left, 3) uint8, RGB."""

    def reduced(self, step: int) -> NDArray[np.uint8]:
        """Each step-th pixel along both axes, to look at."""


class ArrayWindows:
    """Windows of an array, which may be a memory map or a store of chunks.

    Args:
        array: (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16; alpha is left out, 16 bits are
            scaled by the number of bits that hold the largest value, as in files.
        name: for messages.

    Raises:
        ValueError: if it is of another shape or type.
    """

    def __init__(self, array: Any, name: str = "image") -> None:
        shape, kind = tuple(array.shape), np.dtype(array.dtype)
        colors = shape[2] if len(shape) == 3 else 1
        if kind not in (np.uint8, np.uint16) or len(shape) not in (2, 3) or colors not in (1, 3, 4):
            raise ValueError(
                f"{name}: expected (height, width) grey or (height, width, 3) RGB of uint8 or "
                f"uint16, got {shape} of {kind}. Save it as one of these."
            )
        if 0 in shape:
            raise ValueError(f"{name}: expected pixels, got none ({shape}).")
        self.size: Size = (shape[0], shape[1])
        self._array, self._name = array, name
        self._whole = self._largest() if kind == np.uint16 else 255

    def read(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
        """(bottom - top, right - left, 3) uint8, RGB."""
        return self._as_rgb(self._part((slice(top, bottom), slice(left, right))))

    def reduced(self, step: int) -> NDArray[np.uint8]:
        """Each step-th pixel along both axes, to look at."""
        rows = range(0, self.size[0], step)
        strips = [self._part((slice(y, y + 1),))[:, ::step] for y in rows]
        return self._as_rgb(np.concatenate(strips))

    def _as_rgb(self, part: NDArray[Any]) -> NDArray[np.uint8]:
        if part.dtype == np.uint16:
            part = np.rint(part * np.float32(255 / self._whole)).astype(np.uint8)
        if part.ndim == 2:
            part = part[..., None]
        if part.shape[2] == 1:
            return np.repeat(part, 3, axis=2)
        return np.ascontiguousarray(part[..., :3])

    def _part(self, place: tuple[slice, ...]) -> NDArray[Any]:
        try:
            return np.asarray(self._array[place])
        except Exception as error:  # stores decode here, and fail in any way
            raise ValueError(
                f"{self._name}: expected a whole image, reading a part failed "
                f"({type(error).__name__}: {error}). Copy or download the file again."
            ) from error

    def _largest(self) -> int:
        """The largest value of as many bits as the brightest pixel needs, 8 at least."""
        rows = range(0, self.size[0], _STRIP)
        brightest = max(int(self._part((slice(y, y + _STRIP),)).max()) for y in rows)
        return int(2 ** max(8, brightest.bit_length()) - 1)


class ScaledWindows:
    """Windows of an image as it is after resizing: by areas where it shrinks, else linearly.

    Args:
        source: the image.
        size: (H, W) after resizing.
    """

    def __init__(self, source: Windows, size: Size) -> None:
        self.size = size
        self._source = source

    def read(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
        """(bottom - top, right - left, 3) uint8, RGB."""
        if self.size == self._source.size:
            return self._source.read(top, left, bottom, right)
        first_row, rows = _taps(self._source.size[0], self.size[0], top, bottom)
        first_column, columns = _taps(self._source.size[1], self.size[1], left, right)
        window = self._source.read(
            first_row,
            first_column,
            first_row + rows.shape[1],
            first_column + columns.shape[1],
        ).astype(np.float32)
        tall = np.tensordot(rows, window, axes=(1, 0))  # (h, W', 3)
        wide = np.tensordot(columns, tall, axes=(1, 1))  # (w, h, 3)
        return np.rint(wide.transpose(1, 0, 2)).clip(0, 255).astype(np.uint8)


def open_windows(path: str | Path) -> Windows:
    """Open an image without reading more of it than is asked for, where its format allows that.

    Arrays of NumPy (.npy) are mapped into memory, TIFF files read tile by tile (with the extra
    `microscopy`); everything else is decoded as a whole.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, or damaged.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected an array, found no such file.")
        try:
            return ArrayWindows(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: expected an array of pixels; {error}") from error
    if path.suffix.lower() in (".tif", ".tiff") and path.is_file():
        opened = _open_tiff(path)
        if opened is not None:
            return opened
    return ArrayWindows(read_image(path), str(path))


def _open_tiff(path: Path) -> Windows | None:
    """The first level of a TIFF's first series; None without the packages for it."""
    try:
        import tifffile  # type: ignore[import-not-found]
        import zarr  # type: ignore[import-not-found]
    except ImportError:
        return None
    try:
        store = tifffile.imread(path, aszarr=True, level=0)
        array = zarr.open(store, mode="r")
    except Exception as error:  # a damaged file can end in anything
        raise ValueError(f"{path}: expected a TIFF, reading it failed: {error}.") from error
    return ArrayWindows(array, str(path))


def _taps(num_in: int, num_out: int, first: int, last: int) -> tuple[int, NDArray[np.float32]]:
    """Which samples of an axis pixels first..last - 1 of the resized one are made of.

    Returns:
        The first sample, and (pixels, samples) weights from there on.
    """
    ratio = num_in / num_out
    index = np.arange(first, last)
    if ratio <= 1:  # between the two nearest samples
        place = np.clip((index + 0.5) * ratio - 0.5, 0, num_in - 1)
        low = np.floor(place).astype(np.int64)
        starts, stops = low, np.minimum(low + 2, num_in)
    else:  # all that a pixel covers
        starts = np.floor(index * ratio).astype(np.int64)
        stops = np.minimum(np.ceil((index + 1) * ratio - 1e-9).astype(np.int64), num_in)
    begin, end = int(starts[0]), int(stops[-1])
    samples = np.arange(begin, end)
    if ratio <= 1:
        weights = np.maximum(0, 1 - np.abs(place[:, None] - samples))
    else:
        below = np.maximum(index[:, None] * ratio, samples)
        above = np.minimum((index[:, None] + 1) * ratio, samples + 1)
        weights = np.maximum(0, above - below) / ratio
    return begin, (weights / weights.sum(1, keepdims=True)).astype(np.float32)
