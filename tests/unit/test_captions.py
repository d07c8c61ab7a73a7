"""Text on pictures."""

import numpy as np
import pytest

from panoptic_deeplab.captions import (
    Name,
    column,
    fit_height,
    legend,
    row,
    with_caption,
    write_names,
)

GREY = np.full((200, 400, 3), 90, np.uint8)


def changed(picture: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what differs from `GREY`."""
    ys, xs = np.nonzero((picture != GREY).any(-1))
    return ys.min(), ys.max(), xs.min(), xs.max()


def test_name_stands_at_the_deepest_point() -> None:
    mask = np.zeros((200, 400), bool)
    mask[100:180, 50:350] = True
    top, bottom, left, right = changed(write_names(GREY, [Name("car 90%", mask, 24000)]))
    assert 100 <= top < 140 < bottom < 180
    assert 50 < left < right < 350


@pytest.mark.parametrize("corner", [(0, 0), (0, 399), (199, 0), (199, 399)])
def test_name_at_the_border_stays_inside(corner: tuple[int, int]) -> None:
    mask = np.zeros((200, 400), bool)
    mask[corner] = True
    written = write_names(GREY, [Name("person 77%", mask, 5000)])
    middle = write_names(GREY, [Name("person 77%", np.ones((200, 400), bool), 5000)])
    assert (written != GREY).sum() == pytest.approx((middle != GREY).sum(), rel=0.1)


def test_names_do_not_cover_each_other() -> None:
    mask = np.ones((200, 400), bool)
    one = write_names(GREY, [Name("tree", mask, 80000)])
    two = write_names(GREY, [Name("tree", mask, 80000), Name("tree", mask, 80000)])
    many = write_names(GREY, [Name("tree", mask, 80000)] * 9)
    area = (one != GREY).any(-1).sum()
    assert (two != GREY).any(-1).sum() == pytest.approx(2 * area, rel=0.1)
    # Middle, above, below; the other six are left out.
    assert (many != GREY).any(-1).sum() == pytest.approx(3 * area, rel=0.1)


def test_names_larger_than_segment_or_picture_are_left_out() -> None:
    mask = np.ones((200, 400), bool)
    assert (write_names(GREY, [Name("car", mask, 100)]) == GREY).all()
    assert (write_names(GREY, [Name("car" * 99, mask, 1e9)]) == GREY).all()


def test_caption_is_cut_to_the_width() -> None:
    for width in (1, 5, 30, 400):
        picture = np.zeros((20, width, 3), np.uint8)
        captioned = with_caption(picture, "a caption much longer than thirty pixels")
        assert captioned.shape[1] == width
        assert captioned.shape[0] > 20
        assert (captioned[-20:] == 0).all()


def test_legend_breaks_lines() -> None:
    entries = [(f"class {i}", (i, 0, 0)) for i in range(20)]
    wide, narrow = legend(entries, 4000), legend(entries, 200)
    assert narrow.shape[1] == 200
    assert narrow.shape[0] > 5 * wide.shape[0]


def test_row_and_column_keep_their_parts() -> None:
    a, b = np.zeros((10, 20, 3), np.uint8), np.ones((10, 5, 3), np.uint8)
    beside = row([a, b], gap_px=3)
    assert beside.shape == (10, 28, 3)
    assert (beside[:, 20:23] == 255).all()
    below = column([a, b], gap_px=3)
    assert below.shape == (23, 20, 3)
    assert (below[13:, 5:] == 255).all()


def test_fit_height_keeps_the_shape() -> None:
    assert fit_height(GREY, 50).shape == (50, 100, 3)
    assert fit_height(GREY, 400).shape == (400, 800, 3)
    assert fit_height(GREY, 200) is GREY
