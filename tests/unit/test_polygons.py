"""Shapes small enough to follow by hand."""

import numpy as np
import pytest

from panoptic_deeplab.data.overlaps import Region, region_of
from panoptic_deeplab.data.polygons import fill_polygons, outline
from panoptic_deeplab.data.rle import decode_rle, encode_rle
from panoptic_deeplab.data.shapes import box, ellipse, join_regions, points


def test_a_box_along_pixel_edges_covers_what_is_inside() -> None:
    left, mask = fill_polygons([box(1, 0, 3, 2)], (3, 4))
    assert left == 1
    assert mask.astype(int).tolist() == [[1, 1], [1, 1], [0, 0]]


def test_nothing_inside_the_picture() -> None:
    left, mask = fill_polygons([box(-9, 0, -5, 2)], (3, 4))
    assert mask.shape == (3, 0)
    assert left == 0


def test_outline_of_a_hole_has_a_seam() -> None:
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    (found,) = outline(mask)
    assert len(found) == 4 + 4 + 2  # outside, hole, and the seam's two ends once more
    _, filled = fill_polygons([found], (3, 3))
    assert np.array_equal(filled, mask)


def test_parts_that_touch_at_a_corner_are_apart() -> None:
    found = outline(np.eye(2, dtype=bool))
    assert [p.tolist() for p in found] == [
        [[0, 0], [1, 0], [1, 1], [0, 1]],
        [[1, 1], [2, 1], [2, 2], [1, 2]],
    ]


def test_a_circle_has_its_area() -> None:
    _, mask = fill_polygons([ellipse(50, 50, 30, 30)], (100, 100))
    assert mask.sum() == pytest.approx(np.pi * 30**2, rel=0.01)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ([(0, 0), (1, 1)], "at least three corners"),
        ([(0, 0), (1, np.nan), (2, 2)], "corners in or near the picture of 4x4"),
        ([(0, 0), (1e9, 0), (2, 2)], "corners in or near the picture of 4x4"),
    ],
)
def test_faulty_polygons_are_refused(corners: list, message: str) -> None:
    with pytest.raises(ValueError, match=f"shape 7: expected {message}"):
        fill_polygons([np.array(corners)], (4, 4), name="shape 7")


def test_points_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="expected points as pairs x, y"):
        points([[1, 2], [3]], "here")


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "runs of 4 pixels in all"),
        ({"size": [2, 2], "counts": [-1, 5]}, "runs of 4 pixels in all"),
        ({"size": [2], "counts": [4]}, "expected 'size'"),
        ({"counts": [4]}, "expected 'size'"),
        ({"size": [2, 2]}, "expected 'size'"),
        ({"size": [2, 2], "counts": "\x07"}, "as COCO packs them"),
        ({"size": [2, 2], "counts": "P"}, "cut short"),
        ({"size": [10**6, 10**6], "counts": "4"}, "runs of 1000000000000 pixels"),
    ],
)
def test_faulty_run_lengths_are_refused(rle: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_rle(rle)


def test_run_lengths_go_down_the_columns() -> None:
    mask = np.array([[0, 1], [1, 1]], bool)
    assert encode_rle(mask) == {"size": [2, 2], "counts": "13"}
    assert np.array_equal(decode_rle({"size": [2, 2], "counts": [1, 3]}), mask)


def test_joined_parts() -> None:
    one = region_of(0, np.array([[1, 0, 0]], bool))
    other = region_of(0, np.array([[0, 0, 1]], bool))
    both = join_regions([one, other, Region(0, 0, 0, np.zeros((0, 0), bool))])
    assert (both.top, both.left, both.mask.tolist()) == (0, 0, [[True, False, True]])
