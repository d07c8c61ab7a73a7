"""Where things stand in drawn street scenes, and the painting of all that stands.

Two views: along the street, which runs away from the camera, and across it. Things are placed so
that each can be seen: most of it inside the picture, and not mostly behind another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.canvas import Brush, Camera, Canvas
from panoptic_deeplab.data.figures import (
    bus_end,
    bus_side,
    bush,
    car_end,
    car_side,
    conifer,
    cyclist_end,
    cyclist_side,
    leafy_tree,
    person,
    sign,
)
from panoptic_deeplab.data.scenery import (
    Ground,
    paint_ground_across,
    paint_ground_along,
    paint_houses_across,
    paint_houses_along,
)
from panoptic_deeplab.structures import VOID

_TRIES = 40
_MOST_HIDDEN = 0.45  # share of a thing's box that a nearer box may cover


@dataclass(frozen=True)
class Kind:
    """A kind of thing to be placed.

    Attributes:
        class_name: in the label space.
        size: (width, height) in metres.
        paint: with a brush at its place.
        growth: how much larger than in life it is drawn, so that a small picture shows it.
    """

    class_name: str
    size: tuple[float, float]
    paint: Callable[[Brush, np.random.Generator], None]
    growth: float = 1.0


@dataclass(frozen=True)
class Thing:
    """A thing at its place.

    Attributes:
        kind: what it is.
        x: of its foot in metres.
        z: distance in metres.
        mirrored: looks left.
        size: factor.
    """

    kind: Kind
    x: float
    z: float
    mirrored: bool
    size: float

    def box(self, camera: Camera) -> NDArray[np.float64]:
        """Left, top, right, bottom in picture pixels."""
        width, height = (s * self.size / 2 for s in self.kind.size)
        corners = camera.project(
            [(self.x - width, 2 * height, self.z), (self.x + width, 0, self.z)]
        )
        return corners.ravel()


def street_along(
    canvas: Canvas, generator: np.random.Generator, numbers: dict[str, int]
) -> tuple[list[Thing], list[Thing]]:
    """Paint ground and houses of a street that runs away from the camera.

    Args:
        canvas: with the sky on it.
        generator: source of chance.
        numbers: segment ids by the stuff's class name.

    Returns:
        Things and plants to stand in it.
    """
    road = (3.6, 5.0)[int(generator.integers(2))]
    walk = road + generator.uniform(2.2, 3.2)
    green = walk + (generator.uniform(1.5, 3.0) if generator.random() < 0.5 else 0.0)
    paint_ground_along(canvas, generator, Ground(road, walk, green), numbers)
    for side in (-1, 1):
        if generator.random() < 0.85:
            paint_houses_along(canvas, generator, numbers["building"], green + 0.2, side)
    lane = 1.8 if road < 4 else 2.6

    def place(kinds: dict[str, Kind]) -> tuple[Kind, float, float]:
        name = _draw_name(generator, _ALONG)
        side = _draw_side(generator)
        end = "front" if side < 0 else "back"  # traffic keeps to the right
        if name in ("car", "bus"):
            far = generator.uniform(5.5, 15) if name == "car" else generator.uniform(9, 18)
            return kinds[f"{name} {end}"], side * lane + generator.normal() * 0.2, far
        if name == "cyclist":
            return kinds[f"cyclist {end}"], side * (road - 0.7), generator.uniform(5.5, 11)
        if name == "sign":
            return kinds["sign"], side * (road + 0.5), generator.uniform(6, 12)
        return kinds["person"], side * generator.uniform(road + 0.6, walk), generator.uniform(5, 12)

    things = _place_things(canvas, generator, place)
    plants = []
    for _ in range(int(generator.integers(2, 8))):
        x = _draw_side(generator) * (walk + generator.uniform(-0.3, green - walk + 0.3))
        plants.append(_plant(generator, x, generator.uniform(9, 45)))
    return things, plants


def street_across(
    canvas: Canvas, generator: np.random.Generator, numbers: dict[str, int]
) -> tuple[list[Thing], list[Thing]]:
    """The same for a street that runs from left to right."""
    near_walk = generator.uniform(4.4, 5.0) if generator.random() < 0.5 else 0.0
    road = generator.uniform(8.6, 9.6)
    walk = road + generator.uniform(1.6, 2.4)
    green = walk + (generator.uniform(1.0, 2.5) if generator.random() < 0.5 else 0.0)
    paint_ground_across(canvas, generator, (road, walk, green), numbers, near_walk)
    paint_houses_across(canvas, generator, numbers["building"], green)
    lanes = (max(near_walk, 4.6) + 1.3, road - 1.2)

    def place(kinds: dict[str, Kind]) -> tuple[Kind, float, float]:
        name = _draw_name(generator, _ACROSS)
        if name == "person":
            front = near_walk and generator.random() < 0.35
            z = near_walk - 0.3 if front else generator.uniform(road + 0.3, walk - 0.2)
        elif name == "sign":
            z = road + 0.2
        else:
            z = lanes[int(name == "bus" or generator.random() < 0.5)] + generator.normal() * 0.15
        reach = 0.5 * canvas.size[1] / canvas.camera.focal * z
        kind = kinds[name if name in ("person", "sign") else f"{name} side"]
        return kind, generator.uniform(-reach, reach), z

    things = _place_things(canvas, generator, place)
    plants = []
    for _ in range(int(generator.integers(1, 6))):
        z = generator.uniform(walk - 0.2, green)
        reach = 0.5 * canvas.size[1] / canvas.camera.focal * z
        plants.append(_plant(generator, generator.uniform(-reach, reach), z))
    return things, plants


def _place_things(
    canvas: Canvas,
    generator: np.random.Generator,
    place: Callable[[dict[str, Kind]], tuple[Kind, float, float]],
) -> list[Thing]:
    """Three to nine things, none mostly hidden by another or by the picture's edge."""
    wanted = int(generator.integers(3, 10))
    things: list[Thing] = []
    boxes: list[NDArray[np.float64]] = []
    for _ in range(_TRIES):
        kind, x, z = place(_KINDS)
        mirrored = bool(generator.integers(2))
        thing = Thing(kind, x, z, mirrored, kind.growth * float(generator.uniform(0.92, 1.1)))
        box = thing.box(canvas.camera)
        if _can_be_seen(box, z, boxes, [t.z for t in things], canvas.size):
            things.append(thing)
            boxes.append(box)
        if len(things) == wanted:
            break
    return things


def _can_be_seen(
    box: NDArray[np.float64],
    z: float,
    boxes: list[NDArray[np.float64]],
    depths: list[float],
    size: tuple[int, int],
) -> bool:
    """Whether half of a box lies in the picture, and it and the others leave each other in view."""
    if _overlap(box, np.array([0.0, 0.0, size[1], size[0]])) < 0.5 * _area(box):
        return False
    for other, depth in zip(boxes, depths, strict=True):
        shared = _overlap(box, other)
        if shared > _MOST_HIDDEN * _area(box if z > depth else other):
            return False
        if shared and abs(z - depth) < 0.2:
            return False  # they would stand in each other
    return True


def _draw_side(generator: np.random.Generator) -> int:
    return 2 * int(generator.integers(2)) - 1


def _draw_name(generator: np.random.Generator, percent: dict[str, int]) -> str:
    draw = int(generator.integers(sum(percent.values())))
    for name, share in percent.items():
        draw -= share
        if draw < 0:
            return name
    raise AssertionError("the shares cover every draw")


def _area(box: NDArray[np.float64]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(max(width, 0.0) * max(height, 0.0))


def _plant(generator: np.random.Generator, x: float, z: float) -> Thing:
    kind = _PLANTS[int(generator.integers(len(_PLANTS)))]
    return Thing(kind, x, z, False, float(generator.uniform(0.8, 1.15)))


def paint_figures(
    canvas: Canvas,
    generator: np.random.Generator,
    figures: list[Thing],
    numbers: list[int],
) -> None:
    """Paint things and plants: their shadows first, then all from far to near.

    Args:
        canvas: with the street on it.
        generator: source of chance.
        figures: what stands in it.
        numbers: segment id of each.
    """
    spots = []
    for thing in figures:
        left, _, right, bottom = thing.box(canvas.camera)
        half = (right - left) / 2
        deep = min(half, canvas.camera.focal / thing.z)  # at most 1 m to each side
        flat = deep * canvas.camera.height / thing.z + 1  # as seen at this distance
        spots.append((left + half - 0.3 * canvas.light.sun * half, bottom, 1.15 * half, flat))
    canvas.darken(spots)
    for thing, number in sorted(zip(figures, numbers, strict=True), key=lambda t: -t[0].z):
        place = (thing.x, thing.z)
        brush = Brush(canvas, place, number, mirrored=thing.mirrored, size=thing.size)
        thing.kind.paint(brush, generator)


def _paint_sign(plate: Brush, generator: np.random.Generator) -> None:
    sign(plate.with_number(VOID), plate, generator)


_KINDS = {
    "car side": Kind("car", (4.2, 1.5), car_side),
    "car front": Kind("car", (1.85, 1.5), partial(car_end, is_front=True)),
    "car back": Kind("car", (1.85, 1.5), partial(car_end, is_front=False)),
    "bus side": Kind("bus", (8.0, 3.0), bus_side),
    "bus front": Kind("bus", (2.5, 3.0), partial(bus_end, is_front=True)),
    "bus back": Kind("bus", (2.5, 3.0), partial(bus_end, is_front=False)),
    "person": Kind("person", (0.7, 1.8), person, 1.2),
    "cyclist side": Kind("cyclist", (1.9, 1.85), cyclist_side, 1.2),
    "cyclist front": Kind("cyclist", (0.75, 1.85), partial(cyclist_end, is_front=True), 1.2),
    "cyclist back": Kind("cyclist", (0.75, 1.85), partial(cyclist_end, is_front=False), 1.2),
    "sign": Kind("traffic sign", (1.0, 3.0), _paint_sign, 1.1),
}
_TREE = Kind("vegetation", (2.8, 5.0), leafy_tree)
_CONIFER = Kind("vegetation", (2.6, 6.0), conifer)
_BUSH = Kind("vegetation", (2.4, 1.2), bush)
_PLANTS = (_TREE, _TREE, _CONIFER, _BUSH)

# How often things are tried, in percent, when looking along and across the street.
_ALONG = {"car": 38, "person": 30, "cyclist": 12, "sign": 13, "bus": 7}
_ACROSS = {"car": 32, "person": 36, "cyclist": 13, "sign": 12, "bus": 7}
