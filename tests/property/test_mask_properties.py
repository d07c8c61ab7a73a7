"""RLE and polygons: equal to pycocotools to the pixel, and masks survive the way there and back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as official

from panoptic_deeplab.data.polygons import fill_polygons, join_rings, outline
from panoptic_deeplab.data.rle import decode_rle, encode_rle

masks = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda s: arrays(bool, s))
places = st.one_of(
    st.integers(-8, 40).map(float),
    st.integers(-16, 80).map(lambda n: n / 2),
    st.floats(-8, 40, allow_nan=False),
)
polygons = st.lists(st.tuples(places, places), min_size=3, max_size=8)


def filled(shapes: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    left, part = fill_polygons(shapes, size)
    whole = np.zeros(size, bool)
    whole[:, left : left + part.shape[1]] = part
    return whole


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(polygons, min_size=1, max_size=3), st.integers(1, 32), st.integers(1, 32))
def test_filling_equals_pycocotools(shapes: list, height: int, width: int) -> None:
    flat = [np.array(s).reshape(-1).tolist() for s in shapes]
    expected = official.decode(official.merge(official.frPyObjects(flat, height, width)))
    found = filled([np.array(s) for s in shapes], (height, width))
    assert np.array_equal(found, expected.astype(bool))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(masks)
def test_run_lengths_equal_pycocotools(mask: np.ndarray) -> None:
    expected = official.encode(np.asfortranarray(mask.astype(np.uint8)))
    found = encode_rle(mask)
    assert found["counts"].encode() == expected["counts"]
    assert found["size"] == expected["size"]
    assert np.array_equal(decode_rle(found), mask)
    plain = {"size": list(mask.shape), "counts": runs(mask)}
    assert np.array_equal(decode_rle(plain), mask)


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed, counted one by one."""
    counts, value = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(masks)
def test_outlines_give_the_mask_back(mask: np.ndarray) -> None:
    found = outline(mask)
    if not mask.any():
        assert found == []
        return
    size = mask.shape
    assert np.array_equal(filled(found, size), mask)
    one = join_rings(found)
    assert np.array_equal(filled([one], size), mask)
    flat = [one.reshape(-1).tolist()]
    assert np.array_equal(official.decode(official.frPyObjects(flat, *size))[..., 0] > 0, mask)
