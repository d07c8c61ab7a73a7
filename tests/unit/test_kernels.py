"""Compiled loops by themselves; that whole results agree is shown in `property/`."""

import numpy as np
import pytest

from panoptic_deeplab import interpolation, kernels
from panoptic_deeplab.grouping_plain import find_centers
from panoptic_deeplab.kernels.base import compiled


@pytest.mark.parametrize("nms_kernel", [1, 3, 7, 41])
def test_peaks_are_the_centers(nms_kernel: int) -> None:
    heat = np.random.default_rng(0).random((50, 70)).astype(np.float32) ** 8
    heat[3, 3:5] = 2  # a plateau at the border keeps both
    places = kernels.find_peaks(heat, 0.1, nms_kernel)
    centers = find_centers(heat, nms_kernel=nms_kernel, top_k=heat.size)
    assert places is not None
    assert places.tolist() == (centers[:, 0] * 70 + centers[:, 1]).tolist()


def test_wide_plateaus_are_left_to_others() -> None:
    assert kernels.find_peaks(np.ones((200, 200), np.float32), 0.1, 7) is None


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsample_rounds_as_interpolation_does(align_corners: bool) -> None:
    samples = np.random.default_rng(0).normal(0, 1, (21, 33)).astype(np.float32)
    rows = interpolation.make_axis(21, 81, align_corners=align_corners)
    columns = interpolation.make_axis(33, 129, align_corners=align_corners)
    ours = kernels.upsample(samples, rows, columns)
    np.testing.assert_array_equal(ours, interpolation.interpolate(samples, rows, columns))


def test_measured_segments() -> None:
    ids = np.array([[5, 5, 0], [0, 5, 9]], np.int32)
    table = np.array([0, 0, 0, 0, 0, 1, 0, 0, 0, 2], np.int32)
    areas, sums = kernels.measure(ids, table, 3)
    assert areas.tolist() == [2, 3, 1]
    assert sums.tolist() == [[1, 2], [1, 2], [1, 2]]


def test_without_a_folder_for_compiled_code() -> None:
    names: dict = {}
    exec("def double(x):\n    return 2 * x", names)  # numba finds no file to put the code beside
    assert compiled(names["double"])(21) == 42
