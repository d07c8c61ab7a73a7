"""Random changes: worked by hand on small grids, and what must hold for any draw."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab.structures import PanopticMap, Sample, Segment, count_ids
from panoptic_deeplab.transforms import (
    Window,
    augment,
    change_colors,
    color_matrix,
    crop_ids,
    crop_image,
    draw_color_matrix,
    draw_scale,
    draw_window,
    recount,
)

NEUTRAL = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "negative": False}


def sample_of(ids: np.ndarray, segments: tuple[Segment, ...] = ()) -> Sample:
    """An image whose red and green channels repeat the ids, so that both can be compared."""
    image = np.stack([ids % 256, ids // 256 % 256, np.zeros_like(ids)], axis=2).astype(np.uint8)
    if not segments:
        segments = tuple(Segment(i, 0, n) for i, n in count_ids(ids).items() if i)
    return Sample(image, PanopticMap(ids, segments), "a")


def ids_in_image(sample: Sample) -> np.ndarray:
    red, green, _ = np.moveaxis(sample.image.astype(np.int32), -1, 0)
    return red + 256 * green


class Fixed:
    """A generator that draws what it is told, in order."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)

    def integers(self, end: int) -> int:
        value = int(self.draws.pop(0))
        assert 0 <= value < end
        return value


def test_count_ids() -> None:
    ids = np.array([[5, 5, 0], [5, 9, 9]], np.int32)
    assert count_ids(ids) == {0: 1, 5: 3, 9: 2}
    assert count_ids(ids[:, ::-1]) == {0: 1, 5: 3, 9: 2}
    assert count_ids(np.zeros((1, 1), np.int32)) == {0: 1}
    assert count_ids(np.zeros((0, 3), np.int32)) == {}


def test_recount_drops_what_vanished_and_keeps_order_and_crowd() -> None:
    ids = np.array([[2, 2, 1]], np.int32)
    listed = (Segment(3, 0, 9), Segment(2, 1, 9, is_crowd=True), Segment(1, 0, 9))
    assert recount(ids, listed).segments == (Segment(2, 1, 2, is_crowd=True), Segment(1, 0, 1))


def test_scales_lie_on_the_grid() -> None:
    generator = np.random.default_rng(0)
    drawn = {round(draw_scale(generator, 0.5, 2.0, 0.1), 6) for _ in range(1000)}
    assert sorted(drawn) == [round(0.5 + 0.1 * i, 6) for i in range(16)]


def test_window_of_a_large_image() -> None:
    # 10 px at scale 2 are 20; a crop of 8 of them are 4 px of the source, starting at 0..6
    assert draw_window(Fixed(5), 10, 8, 2.0) == Window(5, 4, 8, 0)
    with pytest.raises(AssertionError):
        draw_window(Fixed(7), 10, 8, 2.0)


def test_window_of_a_small_image() -> None:
    # 10 px at scale 0.5 are 5; in a crop of 8 they can start at 0..3
    assert draw_window(Fixed(3), 10, 8, 0.5) == Window(0, 10, 5, 3)
    with pytest.raises(AssertionError):
        draw_window(Fixed(4), 10, 8, 0.5)


def test_crop_without_scaling_is_a_slice_with_padding() -> None:
    ids = np.arange(1, 13, dtype=np.int32).reshape(3, 4)
    rows, columns = Window(0, 3, 3, 1), Window(1, 2, 2, 0)
    assert crop_ids(ids, rows, columns, (5, 2)).tolist() == [
        [0, 0], [2, 3], [6, 7], [10, 11], [0, 0],
    ]  # fmt: skip
    image = np.repeat(ids.astype(np.uint8)[..., None], 3, axis=2)
    cropped = crop_image(image, rows, columns, (5, 2), (9, 8, 7))
    assert cropped[0, 0].tolist() == [9, 8, 7]
    assert cropped[1:4, :, 0].tolist() == [[2, 3], [6, 7], [10, 11]]


def test_ids_take_the_pixel_under_their_middle() -> None:
    # 6 px to 4: middles at 0.75, 2.25, 3.75, 5.25; to 12: each twice
    ids = np.arange(1, 7, dtype=np.int32)[None]
    line = Window(0, 1, 1, 0)
    assert crop_ids(ids, line, Window(0, 6, 4, 0), (1, 4)).tolist() == [[1, 3, 4, 6]]
    double = crop_ids(ids, line, Window(0, 6, 12, 0), (1, 12))
    assert double[0].tolist() == np.repeat(np.arange(1, 7), 2).tolist()


def test_large_ids_survive_resizing() -> None:
    ids = np.array([[2**24 - 1, 2**24 - 2], [2**31 - 1, 1]], np.int32)
    window = Window(0, 2, 6, 0)
    resized = crop_ids(ids, window, window, (6, 6))
    assert np.array_equal(resized, np.kron(ids, np.ones((3, 3), np.int32)))


def test_shrinking_averages() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 200
    window = Window(0, 2, 1, 0)
    assert crop_image(image, window, window, (1, 1)).ravel().tolist() == [100, 100, 100]


def test_flip_and_quarter_turns() -> None:
    ids = np.array([[1, 2, 3], [4, 5, 6]], np.int32)

    def seen(size: tuple[int, int], **options: bool) -> set[tuple[int, ...]]:
        found = set()
        for seed in range(80):
            drawn = augment(
                sample_of(ids), np.random.default_rng(seed), crop_size=size,
                min_scale=1.0, max_scale=1.0, **options,
            )  # fmt: skip
            assert np.array_equal(ids_in_image(drawn), drawn.panoptic.segment_map)
            found.add(tuple(drawn.panoptic.segment_map.ravel().tolist()))
        return found

    assert seen((2, 3), flip=False) == {(1, 2, 3, 4, 5, 6)}
    assert seen((2, 3), flip=True) == {(1, 2, 3, 4, 5, 6), (3, 2, 1, 6, 5, 4)}
    square = np.array([[1, 2], [3, 4]], np.int32)
    ids = square
    # the eight symmetries of the square
    assert len(seen((2, 2), flip=True, quarter_turns=True)) == 8


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    scales=st.tuples(st.floats(0.3, 1.0), st.floats(1.0, 3.0)),
    turns=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_any_draw_is_a_consistent_sample(
    size: tuple[int, int],
    crop: tuple[int, int],
    scales: tuple[float, float],
    turns: bool,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 5, size).astype(np.int32)
    drawn = augment(
        sample_of(ids), generator, crop_size=crop, min_scale=scales[0], max_scale=scales[1],
        scale_step=0.05, quarter_turns=turns, brightness=0.2, contrast=0.3, hue=0.1, invert=0.5,
    )  # fmt: skip
    assert drawn.image.shape == (*crop, 3)
    assert drawn.image.flags.c_contiguous
    assert drawn.panoptic.segment_map.flags.c_contiguous
    drawn.panoptic.check()
    assert {s.id for s in drawn.panoptic.segments} <= set(ids.ravel().tolist())


def test_image_and_ids_stay_on_each_other() -> None:
    # Blocks of 8 px: 2 px away from their edges image and ids must agree wherever they land.
    blocks = np.arange(1, 65, dtype=np.int32).reshape(8, 8) * 3
    ids = np.kron(blocks, np.ones((8, 8), np.int32))
    for seed in range(30):
        drawn = augment(
            sample_of(ids), np.random.default_rng(seed), crop_size=(50, 60), quarter_turns=True,
            min_scale=0.9,
        )  # fmt: skip
        from_image, from_map = ids_in_image(drawn), drawn.panoptic.segment_map
        around, ids_8bit = np.ones((5, 5), np.uint8), from_map.astype(np.uint8)
        inside = (cv2.erode(ids_8bit, around) == cv2.dilate(ids_8bit, around)) & (from_map > 0)
        assert inside.sum() > 20
        assert np.array_equal(from_image[inside], from_map[inside])


def test_same_seed_same_draw() -> None:
    sample = sample_of(np.random.default_rng(0).integers(0, 9, (30, 30)).astype(np.int32))
    options = {"crop_size": (20, 20), "brightness": 0.3, "quarter_turns": True}
    one, two = (augment(sample, np.random.default_rng(7), **options) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.panoptic.segment_map, two.panoptic.segment_map)
    assert one.panoptic.segments == two.panoptic.segments


def test_augment_does_not_change_its_input() -> None:
    sample = sample_of(np.random.default_rng(0).integers(0, 9, (30, 30)).astype(np.int32))
    image, ids = sample.image.copy(), sample.panoptic.segment_map.copy()
    for seed in range(5):
        augment(
            sample, np.random.default_rng(seed), crop_size=(30, 30), min_scale=1, max_scale=1,
            invert=1.0, flip=False,
        )  # fmt: skip
    assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.panoptic.segment_map, ids)


def test_padding_keeps_its_color() -> None:
    sample = sample_of(np.ones((4, 4), np.int32))
    drawn = augment(
        sample, np.random.default_rng(0), crop_size=(9, 9), min_scale=1, max_scale=1, invert=1.0,
        pad_color=(1, 2, 3),
    )  # fmt: skip
    outside = drawn.panoptic.segment_map == 0
    assert outside.sum() == 81 - 16
    assert (drawn.image[outside] == [1, 2, 3]).all()
    assert (drawn.image[~outside] == [254, 255, 255]).all()  # the negative of (1, 0, 0)


def test_colors_by_hand() -> None:
    def changed(color: tuple[int, int, int], **changes: float) -> list[int]:
        matrix = color_matrix(**{**NEUTRAL, **changes})
        return change_colors(np.array([[color]], np.uint8), matrix)[0, 0].tolist()

    assert changed((10, 100, 250)) == [10, 100, 250]
    assert changed((10, 100, 250), brightness=0.1) == [36, 126, 255]  # + 25.5, held at 255
    assert changed((10, 100, 250), contrast=0.5) == [69, 114, 189]  # 127.5 + half the distance
    # BT.601: 0.299 * 10 + 0.587 * 100 + 0.114 * 250 = 90.19
    assert changed((10, 100, 250), saturation=0.0) == [90, 90, 90]
    assert changed((10, 100, 250), hue=1 / 3) == [250, 10, 100]
    assert changed((77, 77, 77), hue=0.2, saturation=0.3) == [77, 77, 77]
    assert changed((10, 100, 250), negative=True) == [245, 155, 5]


def test_no_color_change_asked_for_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    assert draw_color_matrix(generator, 0, 0, 0, 0, 0) is None
    assert generator.random() == np.random.default_rng(0).random()


def test_without_truth() -> None:
    blank = Sample(np.zeros((4, 4, 3), np.uint8), None, "dusk_7")
    with pytest.raises(ValueError, match="needs images with labels, image 'dusk_7' has none"):
        augment(blank, np.random.default_rng(0), crop_size=(4, 4))
