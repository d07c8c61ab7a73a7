"""Street scenes drawn on the fly, with truth exact to the pixel: tests, demo, first training.

In: a size, a seed and an index, which together decide everything. Out: a `Sample` with 6 stuff and
5 thing classes. Each scene is seen along or across a street, at one of five times of day; three
to nine things stand, overlap and are cut by the picture's edge.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.canvas import Camera, Canvas
from panoptic_deeplab.data.scenery import draw_light, paint_hills, paint_sky
from panoptic_deeplab.data.streets import Thing, paint_figures, street_across, street_along
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment, count_ids

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
_VISIBLE_SHARE = 60 / (192 * 384)  # of the picture: the smallest thing that is labelled ...
_VISIBLE_PX = 20  # ... but never below this


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
    things, plants = (street_along if along else street_across)(canvas, generator, _NUMBERS)
    ids_of_things = [_FIRST_THING + i for i in range(len(things))]
    ids_of_plants = [_NUMBERS["vegetation"]] * len(plants)
    paint_figures(canvas, generator, [*things, *plants], ids_of_things + ids_of_plants)
    image, ids = canvas.finish()
    return _as_photographed(image, generator), _list_segments(ids, things)


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
    # The sum of two even draws is close enough to a bell, and three times faster to draw.
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
            class_id = LABELS.names.index(things[number - _FIRST_THING].kind.class_name)
            segments.append(Segment(number, class_id, area))
        else:
            ids[ids == number] = VOID
    return PanopticMap(ids, tuple(segments))
