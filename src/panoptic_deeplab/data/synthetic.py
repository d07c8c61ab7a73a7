"""Street scenes drawn on the fly, with truth exact to the pixel: tests, demo, first training.

In: a size, a seed and an index, which together decide everything. Out: a `Sample` with 6 stuff and
5 thing classes. Each scene is seen along or across a street, at one of five times of day; three
to nine things stand, overlap and are cut by the picture's edge. About 5 ms each at 192 x 384.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data import figures
from panoptic_deeplab.data.canvas import Brush, Camera, Canvas
from panoptic_deeplab.data.coco_writer import write_dataset
from panoptic_deeplab.data.scenery import (
    Ground,
    draw_light,
    paint_ground_across,
    paint_ground_along,
    paint_hills,
    paint_houses_across,
    paint_houses_along,
    paint_sky,
)
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment
from panoptic_deeplab.transforms import count_ids

LABELS = LabelSpace(
    "synthetic streets",
    (
        ClassInfo("sky", 1, False, (120, 172, 224)),
        ClassInfo("building", 2, False, (168, 132, 110)),
        ClassInfo("road", 3, False, (120, 92, 136)),
        ClassInfo("sidewalk", 4, False, (228, 140, 196)),
        ClassInfo("terrain", 5, False, (172, 206, 118)),
        ClassInfo("vegetation", 6, False, (76, 136, 62)),
        ClassInfo("car", 7, True, (40, 76, 190)),
        ClassInfo("bus", 8, True, (24, 150, 160)),
        ClassInfo("person", 9, True, (220, 40, 70)),
        ClassInfo("cyclist", 10, True, (236, 128, 30)),
        ClassInfo("traffic sign", 11, True, (236, 212, 40)),
    ),
)

MIN_SIZE = 64
"""Below this, things are a few pixels and the scene says nothing."""

_NUMBERS = {c.name: c.dataset_id for c in LABELS.classes if not c.is_thing}
_FIRST_THING = 100  # ids of things; those of stuff are their class's dataset_id
_TRIES = 40
_MOST_HIDDEN = 0.45  # share of a thing's box that nearer boxes may cover
_VISIBLE_SHARE = 60 / (192 * 384)  # of the picture: the smallest thing that is labelled ...
_VISIBLE_PX = 20  # ... but never below this


@dataclass(frozen=True)
class Kind:
    """A kind of thing to be placed.

    Attributes:
        class_id: of the label space.
        size: (width, height) in metres.
        paint: with a brush at its place.
        growth: how much larger than in life it is drawn, so that a small picture shows it.
    """

    class_id: int
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


class SyntheticStreets:
    """Drawn street scenes; every scene is a pure function of seed and index.

    Args:
        size: (height, width) of each picture, at least `MIN_SIZE` each.
        count: number of scenes.
        seed: scenes of different seeds differ.

    Raises:
        ValueError: if the size is too small or the count below 1.

    Example:
        >>> sample = SyntheticStreets((96, 160), count=4, seed=0)[3]
        >>> sample.image.shape, sample.image_id
        ((96, 160, 3), '000003')
    """

    def __init__(self, size: tuple[int, int] = (192, 384), count: int = 100, seed: int = 0) -> None:
        if min(size) < MIN_SIZE or count < 1:
            raise ValueError(
                f"Drawn scenes need a size of at least {MIN_SIZE}x{MIN_SIZE} and a count of at "
                f"least 1, got size {size[0]}x{size[1]} and count {count}. Choose larger ones."
            )
        self._size, self._count, self._seed = size, count, seed

    @property
    def labels(self) -> LabelSpace:
        """Eleven classes."""
        return LABELS

    def __len__(self) -> int:
        """Number of scenes."""
        return self._count

    def image_id(self, index: int, /) -> str:
        """Its number, six digits."""
        return f"{range(self._count)[index]:06d}"

    def __getitem__(self, index: int, /) -> Sample:
        """Draw one scene."""
        number = range(self._count)[index]  # IndexError past the end, as in a list
        image, panoptic = draw_scene(np.random.default_rng((self._seed, number)), self._size)
        return Sample(image, panoptic, self.image_id(index))


def write_example(root: str | Path) -> None:
    """Write four small scenes to disk as COCO panoptic, splits "train" and "val"."""
    for seed, split in enumerate(("train", "val")):
        write_dataset(SyntheticStreets((96, 192), count=2, seed=seed), root, split)


def draw_scene(
    generator: np.random.Generator, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], PanopticMap]:
    """Draw one scene of (height, width) and its truth.

    Things of which less than `_VISIBLE_SHARE` of the picture can be seen become void, like the
    poles of signs, which belong to no class.
    """
    along = generator.random() < 0.5
    horizon = generator.uniform(0.4, 0.48) if along else generator.uniform(0.46, 0.54)
    height = generator.uniform(1.8, 2.2) if along else generator.uniform(2.2, 2.7)
    # 1.05 picture heights: a view of about 51 degrees from top to bottom, as a wide camera's.
    camera = Camera(1.05 * size[0], size[1] / 2, horizon * size[0], height)
    canvas = Canvas(size, camera, draw_light(generator))
    paint_sky(canvas, generator, _NUMBERS["sky"])
    paint_hills(canvas, generator, _NUMBERS["vegetation"])
    things, plants = (_street_along if along else _street_across)(canvas, generator, size)
    _paint_figures(canvas, generator, things, plants)
    image, ids = canvas.finish()
    return _as_photographed(image, generator), _list_segments(ids, things)


def _street_along(
    canvas: Canvas, generator: np.random.Generator, size: tuple[int, int]
) -> tuple[list[Thing], list[Thing]]:
    """Paint the street's ground and houses; give its things and plants."""
    road = (3.6, 5.0)[int(generator.integers(2))]
    walk = road + generator.uniform(2.2, 3.2)
    green = walk + (generator.uniform(1.5, 3.0) if generator.random() < 0.5 else 0.0)
    paint_ground_along(canvas, generator, Ground(road, walk, green), _NUMBERS)
    for side in (-1, 1):
        if generator.random() < 0.85:
            paint_houses_along(canvas, generator, _NUMBERS["building"], green + 0.2, side)
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

    things = _place_things(canvas.camera, generator, size, place)
    plants = []
    for _ in range(int(generator.integers(2, 8))):
        x = _draw_side(generator) * (walk + generator.uniform(-0.3, green - walk + 0.3))
        plants.append(_plant(generator, x, generator.uniform(9, 45)))
    return things, plants


def _street_across(
    canvas: Canvas, generator: np.random.Generator, size: tuple[int, int]
) -> tuple[list[Thing], list[Thing]]:
    """The same for a street that runs from left to right."""
    near_walk = generator.uniform(4.4, 5.0) if generator.random() < 0.5 else 0.0
    road = generator.uniform(8.6, 9.6)
    walk = road + generator.uniform(1.6, 2.4)
    green = walk + (generator.uniform(1.0, 2.5) if generator.random() < 0.5 else 0.0)
    paint_ground_across(canvas, generator, (road, walk, green), _NUMBERS, near_walk)
    paint_houses_across(canvas, generator, _NUMBERS["building"], green)
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
        reach = 0.5 * size[1] / canvas.camera.focal * z
        kind = kinds[name if name in ("person", "sign") else f"{name} side"]
        return kind, generator.uniform(-reach, reach), z

    things = _place_things(canvas.camera, generator, size, place)
    plants = []
    for _ in range(int(generator.integers(1, 6))):
        z = generator.uniform(walk - 0.2, green)
        reach = 0.5 * size[1] / canvas.camera.focal * z
        plants.append(_plant(generator, generator.uniform(-reach, reach), z))
    return things, plants


def _place_things(
    camera: Camera,
    generator: np.random.Generator,
    size: tuple[int, int],
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
        box = thing.box(camera)
        if _can_be_seen(box, z, boxes, [t.z for t in things], size):
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


def _paint_figures(
    canvas: Canvas, generator: np.random.Generator, things: list[Thing], plants: list[Thing]
) -> None:
    """Shadows first, then far to near."""
    numbers = {id(thing): _FIRST_THING + i for i, thing in enumerate(things)}
    spots = []
    for thing in (*things, *plants):
        left, _, right, bottom = thing.box(canvas.camera)
        half = (right - left) / 2
        deep = min(half, canvas.camera.focal / thing.z)  # at most 1 m to each side
        flat = deep * canvas.camera.height / thing.z + 1  # as seen at this distance
        spots.append((left + half - 0.3 * canvas.light.sun * half, bottom, 1.15 * half, flat))
    canvas.darken(spots)
    for thing in sorted((*things, *plants), key=lambda t: -t.z):
        number = numbers.get(id(thing), _NUMBERS["vegetation"])
        place = (thing.x, thing.z)
        brush = Brush(canvas, place, number, mirrored=thing.mirrored, size=thing.size)
        thing.kind.paint(brush, generator)


def _paint_sign(plate: Brush, generator: np.random.Generator) -> None:
    figures.sign(plate.with_number(VOID), plate, generator)


def _as_photographed(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light, blur and noise of a camera."""
    height, width = image.shape[:2]
    slope = generator.uniform(-0.1, 0.1, 2).astype(np.float32)
    spots = generator.normal(1, 0.02, (max(2, height // 16), max(2, width // 16)))
    light = cv2.resize(spots.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    light += slope[0] * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light += slope[1] * np.linspace(-1, 1, width, dtype=np.float32)
    sigma = generator.uniform(0.0, 0.7)
    if sigma > 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    # The sum of two even draws is close enough to a bell, and five times faster to draw.
    draws = generator.integers(-128, 128, (2, height, width), np.int8)
    noise = np.add(*draws, dtype=np.float32)
    noise *= np.float32(generator.uniform(1.0, 4.5) / 104.5)  # 104.5: standard deviation of the sum
    seen = cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_32F)
    return np.asarray(cv2.add(seen, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)


def _list_segments(ids: NDArray[np.int32], things: list[Thing]) -> PanopticMap:
    smallest = max(_VISIBLE_PX, _VISIBLE_SHARE * ids.size)
    areas = count_ids(ids)
    areas.pop(VOID, None)
    segments = []
    for number, area in areas.items():
        if number < _FIRST_THING:
            segments.append(Segment(number, LABELS.class_id(number), area))
        elif area >= smallest:
            class_id = things[number - _FIRST_THING].kind.class_id
            segments.append(Segment(number, class_id, area))
        else:
            ids[ids == number] = VOID
    return PanopticMap(ids, tuple(segments))


_CAR, _BUS, _PERSON, _CYCLIST, _SIGN = LABELS.thing_ids
_VEGETATION = LABELS.class_id(_NUMBERS["vegetation"])

_KINDS = {
    "car side": Kind(_CAR, (4.2, 1.5), figures.car_side),
    "car front": Kind(_CAR, (1.85, 1.5), partial(figures.car_end, is_front=True)),
    "car back": Kind(_CAR, (1.85, 1.5), partial(figures.car_end, is_front=False)),
    "bus side": Kind(_BUS, (8.0, 3.0), figures.bus_side),
    "bus front": Kind(_BUS, (2.5, 3.0), partial(figures.bus_end, is_front=True)),
    "bus back": Kind(_BUS, (2.5, 3.0), partial(figures.bus_end, is_front=False)),
    "person": Kind(_PERSON, (0.7, 1.8), figures.person, 1.2),
    "cyclist side": Kind(_CYCLIST, (1.9, 1.85), figures.cyclist_side, 1.2),
    "cyclist front": Kind(_CYCLIST, (0.75, 1.85), partial(figures.cyclist_end, is_front=True), 1.2),
    "cyclist back": Kind(_CYCLIST, (0.75, 1.85), partial(figures.cyclist_end, is_front=False), 1.2),
    "sign": Kind(_SIGN, (1.0, 3.0), _paint_sign, 1.1),
}
_TREE = Kind(_VEGETATION, (2.8, 5.0), figures.leafy_tree)
_CONIFER = Kind(_VEGETATION, (2.6, 6.0), figures.conifer)
_BUSH = Kind(_VEGETATION, (2.4, 1.2), figures.bush)
_PLANTS = (_TREE, _TREE, _CONIFER, _BUSH)

# How often things are tried, in percent, when looking along and across the street.
_ALONG = {"car": 38, "person": 30, "cyclist": 12, "sign": 13, "bus": 7}
_ACROSS = {"car": 32, "person": 36, "cyclist": 13, "sign": 12, "bus": 7}
