"""What drawn street scenes take place in: sky, ground, rows of houses.

Two views share it. Along the street (`along`), the houses stand left and right and the road runs
to the vanishing point; across it, they stand in a row behind the road. A row of houses is laid out
in its own metres (along, up, inward) and turned into the scene by a function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from panoptic_deeplab.data.canvas import Canvas, Color, Light, Points, rectangles
from panoptic_deeplab.data.figures import pick, tone

WALLS: tuple[Color, ...] = (
    (222, 192, 150), (206, 144, 112), (176, 92, 76), (232, 222, 202), (160, 172, 176),
    (186, 170, 196), (150, 178, 158), (236, 206, 122), (142, 118, 104), (198, 206, 214),
)  # fmt: skip
ROOFS: tuple[Color, ...] = ((156, 78, 62), (120, 62, 54), (92, 92, 102), (138, 104, 84))
DOORS: tuple[Color, ...] = ((92, 60, 46), (52, 84, 74), (46, 60, 92), (128, 48, 48))
AWNINGS: tuple[Color, ...] = ((190, 58, 58), (52, 116, 96), (56, 92, 156), (226, 162, 62))
LAMPLIGHT: Color = (255, 214, 128)
STOREY_M = 2.7

_SKIES: tuple[tuple[str, Color, Color, tuple[float, float, float], float, float], ...] = (
    # name, top, horizon, tint, strength of shadows, share of lit windows
    ("clear", (96, 158, 224), (206, 226, 240), (1.0, 1.0, 0.98), 0.45, 0.0),
    ("morning", (132, 178, 222), (244, 226, 204), (1.0, 0.96, 0.9), 0.4, 0.06),
    ("overcast", (168, 180, 192), (212, 216, 218), (0.88, 0.9, 0.92), 0.2, 0.12),
    ("golden", (110, 134, 186), (250, 204, 146), (1.0, 0.87, 0.72), 0.45, 0.25),
    ("dusk", (58, 66, 118), (222, 142, 132), (0.66, 0.6, 0.72), 0.25, 0.5),
)


@dataclass(frozen=True)
class Ground:
    """How wide the street is, in metres from its middle.

    Attributes:
        road: half the road.
        walk: outer edge of the sidewalk.
        green: outer edge of a strip of grass; `walk` if there is none.
    """

    road: float
    walk: float
    green: float


def draw_light(generator: np.random.Generator) -> Light:
    """Pick a time of day."""
    _, top, low, tint, shadow, lit = _SKIES[int(generator.integers(len(_SKIES)))]
    level = generator.uniform(0.88, 1.06)
    red, green, blue = (t * level for t in tint)
    sun = float(generator.uniform(-1.0, 1.0))
    return Light(top, low, (red, green, blue), shadow, sun, lit)


def paint_sky(canvas: Canvas, generator: np.random.Generator, number: int) -> None:
    """Fill the picture with sky: a gradient, a few clouds."""
    height, width = canvas.ids.shape
    share = np.linspace(0, 1.3, height)[:, None].clip(0, 1)
    top, low = np.array(canvas.light.sky_top), np.array(canvas.light.sky_low)
    column = ((1 - share) * top + share * low)[:, None].astype(np.uint8)  # (2H, 1, 3)
    cv2.resize(column, (width, height), canvas.image, interpolation=cv2.INTER_NEAREST)
    canvas.ids[:] = number
    for _ in range(int(generator.integers(0, 4))):
        x, y = generator.uniform(0, width), generator.uniform(0, 0.4 * height)
        color = tone(canvas.light.sky_low, generator.uniform(1.0, 1.1))
        size = height * generator.uniform(0.03, 0.07)
        for _ in range(4):
            center = (round(x + generator.normal() * 2 * size), round(y))
            axes = (round(size * generator.uniform(1.2, 2.4)), round(size * 0.45))
            cv2.ellipse(canvas.image, center, axes, 0, 0, 360, color, -1)


def paint_hills(canvas: Canvas, generator: np.random.Generator, number: int) -> None:
    """Trees at the horizon, so that the sky ends somewhere."""
    camera, width = canvas.camera, canvas.ids.shape[1] / 2
    height = canvas.ids.shape[0] / 2
    x = np.linspace(0, width, 24)
    waves = generator.uniform(0, 2 * np.pi, 2)
    rise = (
        0.04 + 0.015 * np.sin(x / height * 5 + waves[0]) + 0.01 * np.sin(x / height * 17 + waves[1])
    )
    y = camera.horizon - height * rise
    low = camera.horizon + 0.1 * height  # the ground covers what is too much
    ends = [(width, low), (0, low)]
    shape = np.concatenate([np.stack([x, y], axis=1), ends])
    canvas.polygons(shape, (96, 128, 92), number, depth=60.0)


def paint_ground_along(
    canvas: Canvas, generator: np.random.Generator, ground: Ground, numbers: dict[str, int]
) -> None:
    """Road to the vanishing point, sidewalks, grass."""
    near, far = 1.0, 120.0

    def strip(left: float, right: float, color: Color, number: int | None) -> None:
        corners = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
        depth = 12.0  # one color for the whole strip
        canvas.polygons(canvas.camera.project(corners), color, number, depth=depth)

    asphalt = tone((112, 112, 118), generator.uniform(0.8, 1.15))
    pavement = tone((190, 180, 168), generator.uniform(0.88, 1.08))
    strip(-80, 80, (132, 152, 84), numbers["terrain"])
    strip(-ground.walk, ground.walk, pavement, numbers["sidewalk"])
    for x in np.linspace(ground.road + 0.6, ground.walk - 0.2, 3):
        for side in (-1, 1):
            strip(side * x - 0.03, side * x + 0.03, tone(pavement, 0.9), None)
    strip(-ground.road - 0.22, ground.road + 0.22, tone(pavement, 1.14), None)
    strip(-ground.road, ground.road, asphalt, numbers["road"])
    _mark_along(canvas, generator, ground)


def _mark_along(canvas: Canvas, generator: np.random.Generator, ground: Ground) -> None:
    white = (226, 224, 214)
    z = np.arange(1 + generator.uniform(0, 4), 60, 4)
    canvas.polygons(_tiles(canvas, -0.07, 0.07, z, z + 2), white, depth=8.0)
    edge = ground.road - 0.3
    sides = np.array([-edge, edge])
    canvas.polygons(_tiles(canvas, sides - 0.05, sides + 0.05, 1.0, 90.0), white, depth=8.0)
    if generator.random() < 0.4:  # a crossing
        near = generator.uniform(6, 14)
        x = np.arange(-ground.road + 0.3, ground.road - 0.4, 0.95)
        canvas.polygons(_tiles(canvas, x, x + 0.45, near, near + 2.6), white, depth=near)


def _tiles(
    canvas: Canvas, left: ArrayLike, right: ArrayLike, near: ArrayLike, far: ArrayLike
) -> Points:
    """Rectangles on the ground, metres to picture pixels; each edge a number or one per tile."""
    return canvas.camera.project(rectangles((0, 2), (left, near), (right, far)))


def paint_ground_across(
    canvas: Canvas,
    generator: np.random.Generator,
    edges: tuple[float, float, float],
    numbers: dict[str, int],
    near_walk: float,
) -> None:
    """Bands from left to right.

    Args:
        canvas: to paint on.
        generator: for tones and markings.
        edges: distance of the road's far edge, of the far sidewalk's, of the grass'.
        numbers: segment ids by class name.
        near_walk: distance of the edge of a sidewalk in front; 0: none.
    """
    road, walk, green = edges

    def band(near: float, far: float, color: Color, number: int | None) -> None:
        corners = [(-90, 0, near), (90, 0, near), (90, 0, far), (-90, 0, far)]
        canvas.surface(corners, color, number)

    asphalt = tone((112, 112, 118), generator.uniform(0.8, 1.15))
    pavement = tone((190, 180, 168), generator.uniform(0.88, 1.08))
    band(walk, 60, (132, 152, 84), numbers["terrain"])
    if green <= walk:
        band(walk, 60, pavement, numbers["sidewalk"])
    band(road, walk, pavement, numbers["sidewalk"])
    band(1.0, road, asphalt, numbers["road"])
    band(road - 0.1, road + 0.2, tone(pavement, 1.14), None)
    middle, white = (near_walk + road) / 2, (226, 224, 214)
    x = np.arange(-24 + generator.uniform(0, 3), 24, 3.2)
    canvas.polygons(_tiles(canvas, x, x + 1.6, middle, middle + 0.2), white, depth=8.0)
    if near_walk:
        band(1.0, near_walk, tone(pavement, 0.96), numbers["sidewalk"])
        band(near_walk - 0.25, near_walk, tone(pavement, 1.1), None)
        x = np.arange(-12, 12, 1.5)
        joints = _tiles(canvas, x, x + 0.05, 1.0, near_walk - 0.3)
        canvas.polygons(joints, tone(pavement, 0.86), depth=5.0)


def house_height(storeys: int) -> float:
    """Up to the eaves, in metres."""
    return STOREY_M * storeys + 0.5


class Facade:
    """The street front of one house.

    Args:
        canvas: to paint on.
        number: segment id.
        turn: from (along, up, inward) metres to (x, y, z) metres.
        length: along the street, metres.
        storeys: with the ground floor.
    """

    def __init__(
        self,
        canvas: Canvas,
        number: int,
        turn: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        length: float,
        storeys: int,
    ) -> None:
        self.canvas, self.number, self.turn = canvas, number, turn
        self.length, self.storeys, self.height = length, storeys, house_height(storeys)
        middle = turn(np.array([[length / 2, 0.0, 0.0]]))
        self.depth = float(middle[0, 2])

    def flat(self, corners: ArrayLike) -> Points:
        """Corners (..., 3) as (along, up, inward) to picture pixels."""
        return self.canvas.camera.project(self.turn(np.asarray(corners, np.float64)))

    def boxes(self, left: ArrayLike, low: ArrayLike, right: ArrayLike, high: ArrayLike) -> Points:
        """Rectangles of the front in picture pixels; each edge a number or one per rectangle."""
        return self.flat(rectangles((0, 1), (left, low), (right, high)))

    def fill(self, corners: Points, color: Color, *, glows: bool = False) -> None:
        """Fill shapes in picture pixels, (N, 2) or (M, N, 2)."""
        if len(corners):
            self.canvas.polygons(corners, color, self.number, depth=self.depth, glows=glows)


def paint_house(facade: Facade, generator: np.random.Generator) -> None:
    """Wall, roof, windows, door or shop of one house."""
    wall, length, height = pick(generator, WALLS), facade.length, facade.height
    facade.fill(facade.boxes(0, 0, length, height), wall)
    if generator.random() < 0.6:
        roof = pick(generator, ROOFS)
        rise = generator.uniform(1.2, 2.4)
        inset = generator.uniform(0.0, 0.9)
        edge = [(-0.2, height, 0), (length + 0.2, height, 0)]
        ridge = [(length - inset, height + rise, 2.5), (inset, height + rise, 2.5)]
        facade.fill(facade.flat(edge + ridge), roof)
        facade.fill(facade.boxes(-0.2, height - 0.12, length + 0.2, height + 0.1), tone(roof, 0.7))
    else:
        facade.fill(facade.boxes(0, height - 0.35, length, height), tone(wall, 0.78))
    if facade.depth < 35:  # further away windows are specks of a few pixels
        _paint_windows(facade, generator, wall)
        _paint_ground_floor(facade, generator)


def _paint_windows(facade: Facade, generator: np.random.Generator, wall: Color) -> None:
    bays = max(1, round(facade.length / generator.uniform(1.7, 2.4)))
    storeys = facade.storeys
    pitch = facade.length / bays
    wide, tall = pitch * generator.uniform(0.42, 0.58), generator.uniform(1.2, 1.7)
    low = np.repeat(np.arange(1, storeys) * STOREY_M + 0.75, bays)
    left = np.tile((np.arange(bays) + 0.5) * pitch - wide / 2, storeys - 1)
    right, high = left + wide, low + tall
    lit = generator.random(len(left)) < facade.canvas.light.lit
    frame = (240, 238, 232) if generator.random() < 0.6 else tone(wall, 0.72)
    facade.fill(facade.boxes(left - 0.12, low - 0.12, right + 0.12, high + 0.12), frame)
    panes = facade.boxes(left, low, right, high)
    facade.fill(panes[~lit], tone((84, 104, 124), generator.uniform(0.8, 1.15)))
    facade.fill(panes[lit], LAMPLIGHT, glows=True)
    facade.fill(facade.boxes(left - 0.2, low - 0.24, right + 0.2, low - 0.1), tone(wall, 0.62))


def _paint_ground_floor(facade: Facade, generator: np.random.Generator) -> None:
    length = facade.length
    door = generator.uniform(0.3, max(0.31, length - 1.6))
    glows = facade.canvas.light.lit > 0.2 and generator.random() < 0.7
    if generator.random() < 0.5:  # a shop: window from end to end under a striped awning
        color = pick(generator, AWNINGS)
        glass = LAMPLIGHT if glows else (104, 124, 138)
        facade.fill(facade.boxes(0.3, 0.5, length - 0.3, 2.2), glass, glows=glows)
        edges = np.linspace(0.1, length - 0.1, max(4, 2 * round(length / 1.1)) + 1)
        stripes = facade.boxes(edges[:-1], 2.05, edges[1:], 2.75)
        facade.fill(stripes[::2], color)
        facade.fill(stripes[1::2], (240, 236, 226))
    else:
        x = np.arange(0.5, length - 1.2, 1.9)
        x = x[(x < door - 1.1) | (x > door + 1.2)]
        pane = LAMPLIGHT if glows else (84, 104, 124)
        facade.fill(facade.boxes(x, 1.0, x + 0.9, 2.2), pane, glows=glows)
    facade.fill(facade.boxes(door, 0, door + 1.1, 2.25), pick(generator, DOORS))


def paint_houses_along(
    canvas: Canvas, generator: np.random.Generator, number: int, edge: float, side: int
) -> None:
    """A row on one side of the street, far ones first.

    Args:
        canvas: to paint on.
        generator: for heights and looks.
        number: segment id.
        edge: distance of the fronts from the middle of the street, in metres.
        side: -1 left, 1 right.
    """
    ends = [1.5]
    while ends[-1] < 75:
        ends.append(ends[-1] + generator.uniform(6, 13))
    for start, end in reversed(list(pairwise(ends))):
        if generator.random() < 0.12 and start > 12:
            continue  # a gap
        storeys = int(generator.integers(2, 5))
        height = house_height(storeys)

        def turn(local: NDArray[np.float64], start: float = start) -> NDArray[np.float64]:
            placed = local[..., [2, 1, 0]] * (side, 1, 1)
            return np.asarray(placed + np.array([side * edge, 0, start]))

        facade = Facade(canvas, number, turn, end - start - 0.1, storeys)
        gable = [(side * edge, 0, start), (side * (edge + 9), 0, start),
                 (side * (edge + 9), height, start), (side * edge, height, start)]  # fmt: skip
        canvas.surface(gable, tone((176, 160, 146), generator.uniform(0.6, 0.85)), number)
        paint_house(facade, generator)


def paint_houses_across(
    canvas: Canvas, generator: np.random.Generator, number: int, distance: float
) -> None:
    """A row behind the street, seen from the front."""
    reach = canvas.ids.shape[1] / 4 / canvas.camera.focal * distance + 2
    x = -reach - generator.uniform(0, 6)
    while x < reach:
        length = generator.uniform(5, 10)
        if generator.random() < 0.1:
            x += generator.uniform(2, 5)  # a gap
        storeys = (1, 2, 2, 3)[int(generator.integers(4))]

        def turn(local: NDArray[np.float64], x: float = x) -> NDArray[np.float64]:
            return np.asarray(local + np.array([x, 0, distance]))

        paint_house(Facade(canvas, number, turn, length, storeys), generator)
        x += length
