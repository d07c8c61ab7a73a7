"""Where drawn scenes are painted: pixels and segment ids with the same strokes.

Everything is painted at twice the size, far things first. In the end the picture is averaged
down, which smooths its edges, and of the ids one of each four pixels is taken. Lengths in the
scene are metres: x right, y up, z away from the camera, the ground at y = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Color = tuple[int, int, int]
Points = NDArray[np.float64]

FINER = 2
"""Canvas pixels per picture pixel, along each axis."""

_SHIFT = 4  # OpenCV takes points in 1/16 pixels
_HAZE_M = 90.0  # distance after which 63 % of a color is haze; chosen by eye


@dataclass(frozen=True)
class Camera:
    """Looks along z, level.

    Attributes:
        focal: in picture pixels.
        middle: x of the picture's middle, in picture pixels.
        horizon: y of the horizon, in picture pixels.
        height: above the ground, in metres.
    """

    focal: float
    middle: float
    horizon: float
    height: float

    def project(self, points: ArrayLike) -> Points:
        """(..., 3) metres as (x, y, z) to (..., 2) picture pixels as (x, y), OpenCV's order."""
        points = np.asarray(points, np.float64)
        scale = self.focal / np.maximum(points[..., 2], 0.1)  # nothing lies behind the camera
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.middle + scale * points[..., 0]
        pixels[..., 1] = self.horizon + scale * (self.height - points[..., 1])
        return pixels


@dataclass(frozen=True)
class Light:
    """Time of day.

    Attributes:
        sky_top: color overhead.
        sky_low: color at the horizon, also of haze.
        tint: factor of each color channel.
        shadow: share of light that shadows take away.
        sun: -1 from the left to 1 from the right.
        lit: share of windows with a lamp behind them, 0..1.
    """

    sky_top: Color
    sky_low: Color
    tint: tuple[float, float, float]
    shadow: float
    sun: float
    lit: float


class Canvas:
    """Pixels and ids of a scene being painted.

    Args:
        size: (height, width) of the picture.
        camera: for everything placed in metres.
        light: applied to every color but glowing ones.
    """

    def __init__(self, size: tuple[int, int], camera: Camera, light: Light) -> None:
        height, width = size[0] * FINER, size[1] * FINER
        self.size = size
        self.camera = camera
        self.light = light
        self.image = np.zeros((height, width, 3), np.uint8)
        self.ids = np.zeros((height, width), np.int32)

    def polygons(
        self,
        corners: Points,
        color: Color,
        number: int | None = None,
        *,
        depth: float = 0.0,
        glows: bool = False,
    ) -> None:
        """Fill one shape, or several that do not overlap.

        Args:
            corners: (N, 2) or (M, N, 2) picture pixels, (x, y).
            color: RGB in daylight.
            number: segment id; None leaves the ids as they are, for details of what is there.
            depth: metres from the camera, for the haze.
            glows: light and haze do not change it.
        """
        fixed = np.rint((corners * FINER - 0.5) * 2**_SHIFT).astype(np.int32, order="C")
        shapes = [fixed] if fixed.ndim == 2 else list(fixed)
        seen = color if glows else self.shade(color, depth)
        cv2.fillPoly(self.image, shapes, seen, shift=_SHIFT)
        if number is not None:
            cv2.fillPoly(self.ids, shapes, number, shift=_SHIFT)

    def disc(
        self,
        center: tuple[float, float],
        radius: float,
        color: Color,
        number: int | None = None,
        *,
        depth: float = 0.0,
        glows: bool = False,
    ) -> None:
        """Fill a circle; center (x, y) and radius in picture pixels, the rest as `polygons`."""
        x, y = (round((c * FINER - 0.5) * 2**_SHIFT) for c in center)
        r = round(radius * FINER * 2**_SHIFT)
        seen = color if glows else self.shade(color, depth)
        cv2.circle(self.image, (x, y), r, seen, -1, cv2.LINE_8, _SHIFT)
        if number is not None:
            cv2.circle(self.ids, (x, y), r, number, -1, cv2.LINE_8, _SHIFT)

    def surface(
        self, corners: ArrayLike, color: Color, number: int | None = None, *, glows: bool = False
    ) -> None:
        """Fill a polygon given by its corners (N, 3) in metres, before the camera."""
        corners = np.asarray(corners, np.float64)
        depth = float(corners[:, 2].mean())
        self.polygons(self.camera.project(corners), color, number, depth=depth, glows=glows)

    def shade(self, color: Color, depth: float) -> Color:
        """The color as light and haze show it."""
        clear = exp(-depth / _HAZE_M)
        tint, haze = self.light.tint, self.light.sky_low
        red = int(color[0] * tint[0] * clear + haze[0] * (1 - clear))
        green = int(color[1] * tint[1] * clear + haze[1] * (1 - clear))
        blue = int(color[2] * tint[2] * clear + haze[2] * (1 - clear))
        return min(255, red), min(255, green), min(255, blue)

    def darken(self, spots: Sequence[tuple[float, float, float, float]]) -> None:
        """Lay soft shadows over everything painted so far.

        Args:
            spots: ellipses: center x, y and half axes x, y in picture pixels.
        """
        if not spots:
            return
        scale = FINER * 2**_SHIFT
        mask = np.zeros(self.ids.shape, np.uint8)
        strength = round(255 * self.light.shadow)
        for x, y, half_x, half_y in spots:
            center = (round(x * scale), round(y * scale))
            axes = (max(1, round(half_x * scale)), max(1, round(half_y * scale)))
            cv2.ellipse(mask, center, axes, 0, 0, 360, strength, -1, cv2.LINE_8, _SHIFT)
        top = int(max(0, min((y - half_y) * FINER for _, y, _, half_y in spots) - 4 * FINER))
        soft = cv2.boxFilter(mask[top:], -1, (2 * FINER + 1, 2 * FINER + 1))
        light = cv2.merge([255 - np.asarray(soft)] * 3)
        self.image[top:] = cv2.multiply(self.image[top:], light, scale=1 / 255)

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """The picture (H, W, 3) and its ids (H, W)."""
        height, width = self.ids.shape
        size = (width // FINER, height // FINER)
        image = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        ids = np.ascontiguousarray(self.ids[FINER // 2 :: FINER, FINER // 2 :: FINER])
        return np.asarray(image, np.uint8), ids


class Brush:
    """Paints one flat figure that stands on the ground, in its own metres.

    Args:
        canvas: to paint on.
        place: (x, z) of its foot in metres.
        number: segment id.
        mirrored: looks left instead of right.
        size: factor of all lengths.
    """

    def __init__(
        self,
        canvas: Canvas,
        place: tuple[float, float],
        number: int | None,
        *,
        mirrored: bool = False,
        size: float = 1.0,
    ) -> None:
        x, self.depth = place
        self._place, self._mirrored, self._size = place, mirrored, size
        foot = canvas.camera.project([x, 0.0, self.depth])
        self.canvas = canvas
        self.number = number
        self.scale = size * canvas.camera.focal / self.depth  # picture pixels per metre
        self._foot = foot
        self._unit = np.array([-self.scale if mirrored else self.scale, -self.scale])

    def with_number(self, number: int) -> "Brush":
        """The same brush for another segment."""
        return Brush(self.canvas, self._place, number, mirrored=self._mirrored, size=self._size)

    def points(self, local: ArrayLike) -> Points:
        """(N, 2) metres right and up from the foot to (N, 2) picture pixels."""
        return np.asarray(self._foot + np.asarray(local, np.float64) * self._unit, np.float64)

    def polygon(self, local: ArrayLike, color: Color, *, glows: bool = False) -> None:
        """Fill a polygon."""
        corners = self.points(local)
        self.canvas.polygons(corners, color, self.number, depth=self.depth, glows=glows)

    def box(
        self, left: float, bottom: float, right: float, top: float, color: Color, **glows: bool
    ) -> None:
        """Fill a rectangle."""
        corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
        self.polygon(corners, color, **glows)

    def disc(
        self, right: float, up: float, radius: float, color: Color, *, glows: bool = False
    ) -> None:
        """Fill a circle."""
        x, y = self.points([(right, up)])[0]
        center, r = (float(x), float(y)), radius * self.scale
        self.canvas.disc(center, r, color, self.number, depth=self.depth, glows=glows)

    def limb(
        self, start: tuple[float, float], end: tuple[float, float], width: float, color: Color
    ) -> None:
        """Fill a bar from start to end."""
        (x0, y0), (x1, y1) = start, end
        length = max(1e-6, float(np.hypot(x1 - x0, y1 - y0)))
        dx, dy = (y1 - y0) / length * width / 2, (x0 - x1) / length * width / 2
        corners = [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)]
        self.polygon(corners, color)

    def extrude(self, local: ArrayLike, length: float, color: Color) -> None:
        """Fill the hull of a polygon and of the same polygon `length` metres further away."""
        near = self.points(local)
        camera = self.canvas.camera
        vanishing = np.array([camera.middle, camera.horizon])
        far = vanishing + (near - vanishing) * self.depth / (self.depth + length)
        hull = cv2.convexHull(np.concatenate([near, far]).astype(np.float32))[:, 0]
        self.canvas.polygons(hull.astype(np.float64), color, self.number, depth=self.depth)


def rectangles(
    axes: tuple[int, int], low: tuple[ArrayLike, ArrayLike], high: tuple[ArrayLike, ArrayLike]
) -> Points:
    """Corners of M rectangles that lie in two of three axes; the third is 0.

    Args:
        axes: the two axes.
        low: lower ends along them, each a number or (M,).
        high: upper ends along them.

    Returns:
        (M, 4, 3).
    """
    (count,) = np.broadcast_shapes((1,), *(np.shape(end) for end in (*low, *high)))
    corners = np.zeros((count, 4, 3))
    first, second = axes
    corners[:, 0, first] = corners[:, 3, first] = low[0]
    corners[:, 1, first] = corners[:, 2, first] = high[0]
    corners[:, 0, second] = corners[:, 1, second] = low[1]
    corners[:, 2, second] = corners[:, 3, second] = high[1]
    return corners
