"""Who gets a pixel that several claim, worked out on one row of pixels."""

import numpy as np
import pytest

from panoptic_deeplab.data.format import Overlap
from panoptic_deeplab.data.overlaps import Region, flatten
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import Segment

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("ground", 1, False, (1, 1, 1)),
        ClassInfo("car", 2, True, (2, 2, 2)),
        ClassInfo("person", 3, True, (3, 3, 3)),
    ),
)
GROUND, CAR, PERSON = range(3)


def bar(class_id: int, start: int, stop: int, **more: bool | int) -> Region:
    return Region(class_id, 0, start, np.ones((1, stop - start), bool), **more)


def row(regions: list[Region], overlap: Overlap | None = None, **more: int) -> list[int]:
    panoptic, _ = flatten(regions, (1, 8), LABELS, overlap or Overlap(), **more)
    panoptic.check()
    return panoptic.segment_map[0].tolist()


SMALL_FIRST = [bar(PERSON, 2, 4), bar(CAR, 0, 6)]


def test_smaller_over_larger() -> None:
    assert row(SMALL_FIRST) == [2, 2, 1, 1, 2, 2, 0, 0]
    assert row(SMALL_FIRST[::-1]) == [1, 1, 2, 2, 1, 1, 0, 0]


def test_later_over_earlier() -> None:
    assert row(SMALL_FIRST, Overlap("file")) == [2, 2, 2, 2, 2, 2, 0, 0]
    assert row(SMALL_FIRST[::-1], Overlap("file")) == [1, 1, 2, 2, 1, 1, 0, 0]


def test_priority_goes_before_size() -> None:
    assert row(SMALL_FIRST, Overlap(priority=("car", "person"))) == [2, 2, 2, 2, 2, 2, 0, 0]
    assert row(SMALL_FIRST, Overlap(priority=("person",))) == [2, 2, 1, 1, 2, 2, 0, 0]


def test_equal_areas_the_later_wins() -> None:
    assert row([bar(CAR, 0, 2), bar(CAR, 1, 3)]) == [1, 2, 2, 0, 0, 0, 0, 0]


def test_layers_go_before_everything() -> None:
    over = [bar(PERSON, 2, 4), bar(CAR, 0, 6, layer=1)]
    assert row(over, Overlap(priority=("person",))) == [2, 2, 2, 2, 2, 2, 0, 0]


def test_crowd_below_stuff_below_things() -> None:
    regions = [bar(PERSON, 0, 8, is_crowd=True), bar(GROUND, 0, 4), bar(CAR, 2, 6)]
    assert row(regions) == [4, 4, 3, 3, 3, 3, 1, 1]


def test_background_is_the_rest() -> None:
    panoptic, _ = flatten([bar(CAR, 0, 2)], (1, 8), LABELS, Overlap(), background=GROUND)
    assert panoptic.segments == (Segment(1, CAR, 2), Segment(2, GROUND, 6))


def test_conflicts_are_counted() -> None:
    # Pixels 2 and 3 are claimed twice, 3 three times; the first car keeps nothing.
    regions = [bar(CAR, 3, 4), bar(CAR, 2, 4), bar(PERSON, 0, 6), bar(GROUND, 0, 8)]
    panoptic, found = flatten(regions, (1, 8), LABELS, Overlap("file"))
    assert panoptic.segment_map[0].tolist() == [3, 3, 3, 3, 3, 3, 5, 5]
    assert (found.pixels, found.things, found.hidden) == (2, 3, 2)
    assert (found.annotated_pixels, found.num_things) == (6, 3)
    assert found.claims[0].tolist() == [1, 1, 2, 3, 1, 1, 0, 0]


def test_unknown_class_in_the_order() -> None:
    with pytest.raises(ValueError, match="Did you mean 'person'"):
        row(SMALL_FIRST, Overlap(priority=("persons",)))
