"""Text on pictures: names at their segments, captions above, a legend below.

Comes in: pictures (H, W, 3) uint8 RGB and strings. Goes out: pictures. The font is the one that
Pillow brings along, so pictures look the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Color = tuple[int, int, int]

INK = (30, 30, 30)
PAPER = (255, 255, 255)


@dataclass(frozen=True)
class Name:
    """What to write on a segment.

    Attributes:
        text: one line.
        mask: (h, w) bool, the segment on a grid that may be coarser than the picture.
        area_px: the segment's area in picture pixels; a name larger than it is left out.
    """

    text: str
    mask: NDArray[np.bool_]
    area_px: float


@dataclass(frozen=True)
class _Box:
    """A rectangle in picture pixels; right and bottom are outside."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


def write_names(picture: Picture, names: Sequence[Name]) -> Picture:
    """Write each name at the deepest point of its segment, in the order given.

    A name is moved a little where it would leave the picture or cover an earlier one, and left
    out where that does not help or the segment is smaller than its name.

    Args:
        picture: (H, W, 3) uint8.
        names: the important ones first.

    Returns:
        (H, W, 3) uint8, a copy.
    """
    height, width = picture.shape[:2]
    letters = font(float(np.sqrt(height * width)) / 48)  # by eye: 13 px on 640 x 640
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas, "RGBA")
    taken: list[_Box] = []
    for name in names:
        left, top, right, bottom = draw.textbbox((0, 0), name.text, font=letters)
        pad = 0.2 * (bottom - top)
        text_w, text_h = right - left + 2 * pad, bottom - top + 2 * pad
        if name.area_px < text_w * text_h:
            continue
        y, x = _deepest(name.mask)
        y, x = y * height / name.mask.shape[0], x * width / name.mask.shape[1]
        box = _place((y, x), (text_h, text_w), (height, width), taken)
        if box is None:
            continue
        taken.append(box)
        corners = (box.left, box.top, box.right - 1, box.bottom - 1)  # Pillow: inclusive
        draw.rounded_rectangle(corners, radius=1.2 * pad, fill=(0, 0, 0, 145))
        draw.text((box.left + pad - left, box.top + pad - top), name.text, PAPER, letters)
    return np.asarray(canvas, np.uint8)


def with_caption(picture: Picture, text: str, *, size_px: float = 14) -> Picture:
    """Put a strip with one line of text above a picture; long text is cut to its width."""
    letters = font(size_px)
    height = round(1.7 * size_px)
    strip = Image.new("RGB", (picture.shape[1], height), PAPER)
    draw = ImageDraw.Draw(strip)
    while text and draw.textlength(text, letters) > strip.width - 4:
        text = text[:-2].rstrip() + "…" if len(text) > 2 else ""
    draw.text((2, height / 2), text, INK, letters, anchor="lm")
    return np.concatenate([np.asarray(strip, np.uint8), picture])


def legend(entries: Sequence[tuple[str, Color]], width: int, *, size_px: float = 14) -> Picture:
    """Draw patches of colour with their names, in as many lines as the width needs.

    Args:
        entries: (name, colour) in the order to show.
        width: of the result, in pixels.
        size_px: of the letters.

    Returns:
        (h, width, 3) uint8.
    """
    letters = font(size_px)
    line, patch, gap = round(1.7 * size_px), round(size_px), round(0.5 * size_px)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places: list[tuple[int, int]] = []
    x, y = gap, 0
    for name, _ in entries:
        needed = patch + gap + round(measure.textlength(name, letters)) + 2 * gap
        if x > gap and x + needed > width:
            x, y = gap, y + line
        places.append((x, y))
        x += needed
    strip = Image.new("RGB", (width, y + line), PAPER)
    draw = ImageDraw.Draw(strip)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        top = y + (line - patch) // 2
        draw.rectangle((x, top, x + patch, top + patch), fill=color, outline=INK)
        draw.text((x + patch + gap, y + line / 2), name, INK, letters, anchor="lm")
    return np.asarray(strip, np.uint8)


def row(pictures: Sequence[Picture], *, gap_px: int = 6) -> Picture:
    """Put pictures of one height side by side on white."""
    height = pictures[0].shape[0]
    space = np.full((height, gap_px, 3), 255, np.uint8)
    parts: list[Picture] = []
    for picture in pictures:
        parts += [picture, space]
    return np.concatenate(parts[:-1], axis=1)


def column(pictures: Sequence[Picture], *, gap_px: int = 6) -> Picture:
    """Put pictures below each other on white; narrower ones leave white at their right."""
    width = max(p.shape[1] for p in pictures)
    parts: list[Picture] = []
    for picture in pictures:
        short = width - picture.shape[1]
        wide = np.pad(picture, ((0, 0), (0, short), (0, 0)), constant_values=255)
        parts += [wide, np.full((gap_px, width, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1])


def fit_height(picture: Picture, height: int) -> Picture:
    """Resize a picture to a height, keeping its shape."""
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    if picture.shape[:2] == (height, width):
        return picture
    way = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)


def font(size_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's bundled font, never smaller than can be read."""
    return ImageFont.load_default(max(9.0, size_px))


def _deepest(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """(y, x) of the pixel farthest from the segment's border and from the picture's."""
    framed = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(y) - 0.5, float(x) - 0.5  # middle of the pixel, without the frame


def _place(
    point: tuple[float, float],
    text_size: tuple[float, float],
    size: tuple[int, int],
    taken: list[_Box],
) -> _Box | None:
    """A box around the point, inside the picture, that meets no other; or a little aside."""
    (y, x), (text_h, text_w), (height, width) = point, text_size, size
    if text_w > width or text_h > height:
        return None
    for shift in (0.0, -1.1, 1.1):
        left = min(max(x - text_w / 2, 0.0), width - text_w)
        top = min(max(y - text_h / 2 + shift * text_h, 0.0), height - text_h)
        box = _Box(left, top, left + text_w, top + text_h)
        if not any(box.meets(other) for other in taken):
            return box
    return None
