"""Crops placed on segments of rare classes or on small things."""

from collections import Counter

import numpy as np
import pytest

from panoptic_deeplab.data.focus import Focus
from panoptic_deeplab.structures import PanopticMap, Sample, Segment
from panoptic_deeplab.transforms import augment, draw_window

THINGS = np.array([False, True, True])


def scene() -> PanopticMap:
    ids = np.ones((60, 90), np.int32)
    ids[2:22, 2:22] = 2  # a large car
    ids[40:44, 70:74] = 3  # a small one
    ids[50:55, 5:10] = 4  # a person
    segments = (Segment(1, 0, 4959), Segment(2, 1, 400), Segment(3, 1, 16), Segment(4, 2, 25))
    return PanopticMap(ids, segments)


def drawn(focus: Focus, count: int = 4000) -> Counter[int | None]:
    generator = np.random.default_rng(0)
    return Counter(focus(scene(), generator) for _ in range(count))


def test_rare_classes_are_drawn_by_their_weights_and_segments_alike() -> None:
    found = drawn(Focus(0.5, "rare_classes", np.array([1.0, 2.0, 1.0]), THINGS))
    assert found[None] == pytest.approx(2000, rel=0.1)
    assert found[2] + found[3] == pytest.approx(1000, rel=0.15)
    assert found[2] == pytest.approx(found[3], rel=0.2)
    assert found[1] == pytest.approx(500, rel=0.2)


def test_small_things_are_drawn_by_their_smallness() -> None:
    found = drawn(Focus(1.0, "small_things", np.ones(3), THINGS))
    assert set(found) == {2, 3, 4}
    assert found[3] / found[2] == pytest.approx(400 / 16, rel=0.4)


def test_crowds_and_classes_without_weight_are_never_chosen() -> None:
    crowd = PanopticMap(np.ones((4, 4), np.int32), (Segment(1, 1, 16, None, True),))
    for rule in ("rare_classes", "small_things"):
        assert Focus(1.0, rule, np.ones(3), THINGS)(crowd, np.random.default_rng(0)) is None
    nothing = Focus(1.0, "rare_classes", np.zeros(3), THINGS)
    assert nothing(scene(), np.random.default_rng(0)) is None


def test_the_crop_holds_a_pixel_of_the_chosen_segment() -> None:
    sample = Sample(np.zeros((60, 90, 3), np.uint8), scene())
    for seed in range(60):
        generator = np.random.default_rng(seed)
        crop = augment(
            sample, generator, crop_size=(16, 16), quarter_turns=True, focus=lambda p, g: 3
        )
        assert crop.panoptic is not None
        assert 3 in {s.id for s in crop.panoptic.segments}, seed


def test_windows_stay_inside_and_hold_the_pixel() -> None:
    for inside in (0, 5, 49, 99):
        starts = set()
        for seed in range(50):
            window = draw_window(np.random.default_rng(seed), 100, 20, 1.0, inside)
            assert 0 <= window.start <= inside < window.start + window.length <= 100
            starts.add(window.start)
        assert len(starts) > 1 or inside in (0, 99)


def test_long_side_is_what_magnifications_are_relative_to() -> None:
    sample = Sample(np.zeros((60, 90, 3), np.uint8), scene())
    crop = augment(
        sample,
        np.random.default_rng(0),
        crop_size=(120, 180),
        min_scale=1.0,
        max_scale=1.0,
        flip=False,
        long_side=180,
    )
    assert crop.panoptic is not None
    assert np.array_equal(crop.panoptic.segment_map, scene().segment_map.repeat(2, 0).repeat(2, 1))
