"""Random changes to a training image and its truth together: scale, crop, turn, flip, colour.

In: a `Sample` of any size and a NumPy generator, the only source of chance. Out: a `Sample` of
exactly the size asked for, its segments counted anew, those that vanished dropped. The window is
cut out before it is resized, so the work depends on the crop, not on the image. Where the window
lies may be left to chance alone, or to a chosen segment (`data/focus.py`).

Paper: arXiv:1911.10194, section 4.1 (random scale, crop and flip).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment, count_ids

Image = NDArray[np.uint8]
SegmentMap = NDArray[np.int32]

GREY = (127, 127, 127)
"""What lies outside the image: the middle of the range, about 0 after normalising."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights OpenCV and Pillow use for grey


@dataclass(frozen=True)
class Window:
    """Along one axis: which pixels of the source become which pixels of the crop.

    Attributes:
        start: first source pixel.
        length: source pixels taken, 1 or more.
        scaled: pixels of the crop they are resized to.
        before: pixels of padding in front of them.
    """

    start: int
    length: int
    scaled: int
    before: int


def augment(
    sample: Sample,
    generator: np.random.Generator,
    *,
    crop_size: tuple[int, int],
    min_scale: float = 0.5,
    max_scale: float = 2.0,
    scale_step: float = 0.1,
    flip: bool = True,
    quarter_turns: bool = False,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    invert: float = 0.0,
    pad_color: tuple[int, int, int] = GREY,
    long_side: int = 0,
    focus: Callable[[PanopticMap, np.random.Generator], int | None] | None = None,
) -> Sample:
    """Draw one random version of a sample.

    Args:
        sample: with truth, (H, W).
        generator: all chance comes from here.
        crop_size: (height, width) of the result.
        min_scale: smallest magnification; paper: 0.5.
        max_scale: largest magnification; paper: 2.0.
        scale_step: between the magnifications drawn from; paper's code base: 0.1.
        flip: mirror left to right with probability 0.5; paper.
        quarter_turns: turn by a random multiple of 90 degrees and mirror top to bottom with
            probability 0.5.
        brightness: see `color_matrix`, as are contrast, saturation and hue.
        contrast: largest change of the factor around 1.
        saturation: largest change of the factor around 1.
        hue: largest turn of the colour circle, as a share of it.
        invert: probability of the negative.
        pad_color: RGB 0-255 outside the image; there the truth is void.
        long_side: magnifications are relative to the image with a longer side of so many pixels;
            0: to the image as it is.
        focus: chooses the id of a segment of which the crop shall hold a pixel, or None to leave
            the place to chance.

    Returns:
        (crop height, crop width), same `image_id`.

    Raises:
        ValueError: if the sample has no truth.
    """
    if sample.panoptic is None:
        raise ValueError(
            f"Training needs images with labels, image {sample.image_id!r} has none. "
            "Leave it out of the training split or label it."
        )
    image, ids = sample.image, sample.panoptic.segment_map
    if quarter_turns:
        turns, mirror = int(generator.integers(4)), bool(generator.integers(2))
        image, ids = np.rot90(image, turns), np.rot90(ids, turns)
        image, ids = (image[::-1], ids[::-1]) if mirror else (image, ids)
    if flip and generator.integers(2):
        image, ids = image[:, ::-1], ids[:, ::-1]
    scale = draw_scale(generator, min_scale, max_scale, scale_step)
    if long_side:
        scale *= long_side / max(image.shape[:2])
    y, x = draw_pixel(ids, focus(sample.panoptic, generator), generator) if focus else (None, None)
    rows = draw_window(generator, image.shape[0], crop_size[0], scale, y)
    columns = draw_window(generator, image.shape[1], crop_size[1], scale, x)
    matrix = draw_color_matrix(generator, brightness, contrast, saturation, hue, invert)
    image = crop_image(image, rows, columns, crop_size, pad_color, matrix)
    ids = crop_ids(ids, rows, columns, crop_size)
    return Sample(image, recount(ids, sample.panoptic.segments), sample.image_id)


def draw_scale(generator: np.random.Generator, low: float, high: float, step: float) -> float:
    """Pick one of low, low + step, ... up to high, each as likely.

    Example:
        >>> draw_scale(np.random.default_rng(0), 1.0, 1.0, 0.1)
        1.0
    """
    count = int((high - low) / step + 1e-6) + 1  # 1e-6: (2.0 - 0.5) / 0.1 is 14.999...
    return low + step * int(generator.integers(count))


def draw_pixel(
    ids: SegmentMap, segment_id: int | None, generator: np.random.Generator
) -> tuple[int, int] | tuple[None, None]:
    """Any pixel of a segment as (y, x), each as likely; (None, None) if there is no segment."""
    if segment_id is None:
        return None, None
    rows, columns = np.nonzero(ids == segment_id)
    if not rows.size:
        return None, None
    place = int(generator.integers(rows.size))
    return int(rows[place]), int(columns[place])


def draw_window(
    generator: np.random.Generator,
    length: int,
    crop: int,
    scale: float,
    inside: int | None = None,
) -> Window:
    """Place the crop along one axis, or the image in the crop if it is smaller.

    Args:
        generator: decides the place.
        length: of the source in pixels.
        crop: wanted length in pixels.
        scale: magnification; met to within half a pixel of the source.
        inside: pixel of the source that the crop must hold; None: none. All places that hold it
            are as likely, but for those that would reach over the image's edge.

    Example:
        >>> draw_window(np.random.default_rng(0), length=10, crop=20, scale=2.0)
        Window(start=0, length=10, scaled=20, before=0)
    """
    scaled = max(1, round(length * scale))
    if scaled <= crop:
        return Window(0, length, scaled, int(generator.integers(crop - scaled + 1)))
    taken = min(length, max(1, round(crop * length / scaled)))
    low, high = 0, length - taken
    if inside is not None:
        low, high = max(low, inside - taken + 1), min(high, inside)
    return Window(low + int(generator.integers(high - low + 1)), taken, crop, 0)


def crop_image(
    image: Image,
    rows: Window,
    columns: Window,
    crop_size: tuple[int, int],
    pad_color: Sequence[int] = GREY,
    matrix: NDArray[np.float32] | None = None,
) -> Image:
    """Cut the window out, resize it, change its colours, pad it.

    Shrinking averages the pixels it joins (OpenCV's area rule), enlarging is bilinear.

    Args:
        image: (H, W, 3) RGB.
        rows: window along the height.
        columns: window along the width.
        crop_size: (height, width) of the result.
        pad_color: RGB of the padding.
        matrix: (3, 4), see `color_matrix`; None: colours stay.
    """
    part = np.ascontiguousarray(_cut(image, rows, columns))
    size = (columns.scaled, rows.scaled)  # OpenCV: width first
    if part.shape[1::-1] != size:
        shrinks = rows.scaled < rows.length or columns.scaled < columns.length
        rule = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(part, size, interpolation=rule), np.uint8)
    if matrix is not None:
        part = change_colors(part, matrix)
    if part.shape[:2] == crop_size:
        return part
    padded = np.empty((*crop_size, 3), np.uint8)
    padded[:] = np.asarray(pad_color, np.uint8)
    _cut(padded, _inside(rows), _inside(columns))[:] = part
    return padded


def crop_ids(
    ids: SegmentMap, rows: Window, columns: Window, crop_size: tuple[int, int]
) -> SegmentMap:
    """Do to segment ids what `crop_image` does to pixels: nearest id, padding void.

    A pixel takes the id found at its middle, so ids stay under the pixels of the image.
    """
    part = _cut(ids, rows, columns)
    part = part.take(_nearest(rows), axis=0).take(_nearest(columns), axis=1)
    if part.shape == crop_size:
        return part
    padded = np.full(crop_size, VOID, np.int32)
    _cut(padded, _inside(rows), _inside(columns))[:] = part
    return padded


def recount(segment_map: SegmentMap, segments: Sequence[Segment]) -> PanopticMap:
    """List the segments that a changed map still has, with their new areas.

    Args:
        segment_map: (H, W) int32.
        segments: what was listed before; the order stays.
    """
    areas = count_ids(segment_map)
    left = (replace(s, area_px=areas[s.id]) for s in segments if s.id in areas)
    return PanopticMap(segment_map, tuple(left))


def color_matrix(
    *, brightness: float, contrast: float, saturation: float, hue: float, negative: bool
) -> NDArray[np.float32]:
    """One affine map of RGB for all changes of colour, in this order.

    Args:
        brightness: added, as a share of 255.
        contrast: factor around the middle, 127.5; 1 changes nothing.
        saturation: factor of the distance to grey; 1 changes nothing, 0 gives grey.
        hue: turn around the grey axis, as a share of a full turn; 1/3 makes red green.
        negative: black becomes white.

    Returns:
        (3, 4) float32: new RGB = first three columns times RGB plus the last.

    Example:
        >>> matrix = color_matrix(brightness=0.2, contrast=1, saturation=1, hue=0, negative=False)
        >>> matrix.tolist()
        [[1.0, 0.0, 0.0, 51.0], [0.0, 1.0, 0.0, 51.0], [0.0, 0.0, 1.0, 51.0]]
    """
    grey = np.tile(np.asarray(_LUMA), (3, 1))
    linear = _turn_around_grey(hue) @ (saturation * np.eye(3) + (1 - saturation) * grey)
    linear = contrast * linear
    shift = 255 * brightness * contrast + 127.5 * (1 - contrast)
    if negative:
        linear, shift = -linear, 255 - shift
    return np.column_stack([linear, np.full(3, shift)]).astype(np.float32)


def draw_color_matrix(
    generator: np.random.Generator,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    invert: float,
) -> NDArray[np.float32] | None:
    """Draw each change evenly from its range; None if there is nothing to change.

    Args:
        generator: source of chance.
        brightness: drawn from -brightness to +brightness; as a share of 255.
        contrast: factor drawn from 1 - contrast to 1 + contrast.
        saturation: the same.
        hue: turn drawn from -hue to +hue, as a share of a full turn.
        invert: probability of the negative.
    """
    if not any((brightness, contrast, saturation, hue, invert)):
        return None
    return color_matrix(
        brightness=generator.uniform(-brightness, brightness),
        contrast=generator.uniform(1 - contrast, 1 + contrast),
        saturation=generator.uniform(1 - saturation, 1 + saturation),
        hue=generator.uniform(-hue, hue),
        negative=bool(generator.random() < invert),
    )


def change_colors(image: Image, matrix: NDArray[np.float32]) -> Image:
    """Apply a (3, 4) matrix to each pixel of an (H, W, 3) image, rounded and held to 0..255."""
    return np.asarray(cv2.transform(image, matrix), np.uint8)


def _cut(array: NDArray[Any], rows: Window, columns: Window) -> NDArray[Any]:
    return array[
        rows.start : rows.start + rows.length, columns.start : columns.start + columns.length
    ]


def _inside(window: Window) -> Window:
    """Where the resized part lies in the crop."""
    return Window(window.before, window.scaled, window.scaled, 0)


def _nearest(window: Window) -> NDArray[np.intp]:
    """Source pixel under the middle of each of the crop's pixels, in whole numbers, so exact."""
    return (2 * np.arange(window.scaled) + 1) * window.length // (2 * window.scaled)


def _turn_around_grey(share: float) -> NDArray[np.float64]:
    """Rotation of RGB space around (1, 1, 1); grey stays, red goes to green at a third."""
    angle = 2 * np.pi * share
    a = (1 + 2 * np.cos(angle)) / 3
    b = (1 - np.cos(angle)) / 3 + np.sin(angle) / np.sqrt(3)
    c = (1 - np.cos(angle)) / 3 - np.sin(angle) / np.sqrt(3)
    return np.array([[a, c, b], [b, a, c], [c, b, a]])
