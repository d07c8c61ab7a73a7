"""Pictures: colours, overlays, views of the heads."""

import numpy as np
import pytest

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.render import (
    MOST_NAMES,
    center_view,
    color_map,
    legend,
    offset_view,
    outlines,
    overlay,
    readable_scale,
    segment_colors,
    thing_mask,
    training_picture,
)
from panoptic_deeplab.structures import PanopticMap, Segment

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("road", 7, False, (128, 64, 128)),
        ClassInfo("car", 26, True, (0, 0, 142)),
        ClassInfo("person", 24, True, (220, 20, 60)),
    ),
)


def two_cars(height: int = 60, width: int = 120) -> PanopticMap:
    """Road below, two touching cars in the middle, void above."""
    segment_map = np.zeros((height, width), np.int32)
    segment_map[height // 3 :] = 1
    segment_map[height // 3 : 2 * height // 3, width // 4 : width // 2] = 5
    segment_map[height // 3 : 2 * height // 3, width // 2 : 3 * width // 4] = 9
    areas = {i: int((segment_map == i).sum()) for i in (1, 5, 9)}
    return PanopticMap(
        segment_map,
        (
            Segment(5, 1, areas[5], score=0.9),
            Segment(9, 1, areas[9], score=0.6),
            Segment(1, 0, areas[1]),
        ),
    )


def grey(panoptic: PanopticMap, value: int = 90) -> np.ndarray:
    return np.full((*panoptic.size, 3), value, np.uint8)


def test_touching_instances_differ_and_stuff_has_its_class_color() -> None:
    panoptic = two_cars()
    colors = segment_colors(panoptic, LABELS)
    assert colors[1] == (128, 64, 128)
    assert colors[5] == (0, 0, 142)
    assert colors[9] != colors[5]
    painted = color_map(panoptic, LABELS)
    assert tuple(painted[0, 0]) == (0, 0, 0)
    assert tuple(painted[-1, 0]) == (128, 64, 128)


def test_every_pair_of_neighbours_in_a_crowd_differs() -> None:
    # A chess board of 36 instances of one class: each has up to 8 neighbours, there are 8 shades,
    # and the order of the list must not make touching ones alike.
    cells = np.arange(1, 37, dtype=np.int32).reshape(6, 6)
    segment_map = cells.repeat(10, 0).repeat(10, 1)
    panoptic = PanopticMap(segment_map, tuple(Segment(i, 1, 100) for i in range(1, 37)))
    painted = color_map(panoptic, LABELS)[5::10, 5::10].astype(int)
    assert (np.abs(painted[:, 1:] - painted[:, :-1]).sum(-1) > 0).all()
    assert (np.abs(painted[1:] - painted[:-1]).sum(-1) > 0).all()


def test_unlisted_ids_of_the_map_are_black() -> None:
    panoptic = PanopticMap(np.array([[1, 7]], np.int32), (Segment(1, 0, 1),))
    assert color_map(panoptic, LABELS)[0].tolist() == [[128, 64, 128], [0, 0, 0]]


def test_empty_list_is_all_black() -> None:
    panoptic = PanopticMap(np.zeros((3, 4), np.int32), ())
    assert not color_map(panoptic, LABELS).any()
    assert (overlay(grey(panoptic), panoptic, LABELS) == 90).all()


def test_class_outside_the_label_space_is_refused() -> None:
    panoptic = PanopticMap(np.ones((4, 4), np.int32), (Segment(1, 3, 16),))
    with pytest.raises(ValueError, match=r"class_id 3, but label space 'toy' ends at 2"):
        color_map(panoptic, LABELS)


def test_overlay_keeps_void_and_mixes_the_rest() -> None:
    panoptic = two_cars()
    picture = overlay(grey(panoptic), panoptic, LABELS, names=False)
    assert picture.shape == (60, 120, 3)
    assert (picture[:15] == 90).all()
    assert tuple(picture[-1, 0]) == tuple(np.rint((90 + np.array((128, 64, 128))) / 2).astype(int))


def test_overlay_enlarges() -> None:
    panoptic = two_cars()
    assert overlay(grey(panoptic), panoptic, LABELS, scale=3).shape == (180, 360, 3)


def test_overlay_refuses_another_size() -> None:
    panoptic = two_cars()
    with pytest.raises(ValueError, match=r"an image of \(60, 119\) and a map of \(60, 120\)"):
        overlay(grey(panoptic)[:, 1:], panoptic, LABELS)


def test_names_are_written_on_large_segments_only() -> None:
    large, small = two_cars(300, 600), two_cars(12, 24)
    for panoptic, expected in ((large, True), (small, False)):
        image = grey(panoptic)
        with_names = overlay(image, panoptic, LABELS)
        without = overlay(image, panoptic, LABELS, names=False)
        assert (with_names != without).any() == expected


def test_names_of_crowds_are_left_out() -> None:
    count = MOST_NAMES + 1
    segment_map = np.arange(1, count + 1, dtype=np.int32).repeat(200)[None].repeat(200, 0)
    panoptic = PanopticMap(segment_map, tuple(Segment(i + 1, 1, 200 * 200) for i in range(count)))
    image = grey(panoptic)
    assert (overlay(image, panoptic, LABELS) == overlay(image, panoptic, LABELS, names=False)).all()


def test_outlines_are_on_both_sides_or_one() -> None:
    segment_map = np.array([[1, 1, 2, 2]] * 4, np.int32)
    assert outlines(segment_map)[0].tolist() == [False, False, True, False]
    assert outlines(segment_map, 3)[0].tolist() == [False, True, True, True]


def test_readable_scale() -> None:
    assert readable_scale((256, 256)) == 3
    assert readable_scale((3000, 4000)) == 1
    assert readable_scale((33, 33)) > 10


def test_center_view_is_brightest_at_the_peak_and_takes_bad_values() -> None:
    center = np.zeros((1, 20, 20), np.float32)
    center[0, 5, 6], center[0, 0, 0], center[0, 0, 1] = 1.0, np.nan, -3.0
    for image in (None, np.full((40, 40, 3), 30, np.uint8)):
        view = center_view(center, image)
        assert view.shape == (20, 20, 3)
        assert np.unravel_index(view.sum(-1, dtype=int).argmax(), (20, 20)) == (5, 6)


def test_offset_view_tells_directions_apart() -> None:
    offset = np.zeros((2, 4, 4), np.float32)
    offset[1, 0], offset[1, 1], offset[0, 2] = 10, -10, 10
    view = offset_view(offset)
    right, left, down, nowhere = view[0, 0], view[1, 0], view[2, 0], view[3, 0]
    assert len({tuple(c) for c in (right, left, down, nowhere)}) == 4
    assert tuple(nowhere) == (255, 255, 255)
    masked = offset_view(offset, np.zeros((4, 4), bool))
    assert (masked == 225).all()


def test_thing_mask() -> None:
    panoptic = two_cars()
    assert (thing_mask(panoptic, LABELS) == np.isin(panoptic.segment_map, (5, 9))).all()


def test_legend_has_the_colors_asked_for() -> None:
    strip = legend([2, 0], LABELS, 300)
    found = {tuple(c) for c in strip.reshape(-1, 3).tolist()}
    assert {(128, 64, 128), (220, 20, 60)} <= found
    assert (0, 0, 142) not in found
    assert strip.shape[1] == 300


@pytest.mark.parametrize("size", [(60, 120), (33, 33), (301, 120)])
def test_training_picture_takes_heads_on_any_grid(size: tuple[int, int]) -> None:
    panoptic = two_cars(*size)
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    picture = training_picture(
        grey(panoptic),
        panoptic,
        panoptic,
        np.zeros((1, h, w), np.float32),
        np.zeros((2, h, w), np.float32),
        LABELS,
        height=96,
    )
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 96
    assert picture.shape[1] > 5 * round(96 * size[1] / size[0])
