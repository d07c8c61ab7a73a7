"""Torch's bilinear interpolation, pixel by pixel."""

import numpy as np
import pytest
import torch

from panoptic_deeplab import interpolation
from panoptic_deeplab.layers import resize, resize_offset


def test_fused_multiply_add_rounds_once() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(0, 1, 20_000).astype(np.float32) for _ in range(3))
    # Sums that cancel show every rounding; ties need the sticky last bit.
    c[::2] = -(a * b)[::2]
    c[1::4] *= np.float32(2.0**-20)
    found = interpolation.fused_multiply_add(a, b, c)
    wide = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
    np.testing.assert_array_equal(found, wide.astype(np.float32))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("samples", [(1, 9), (7, 1), (33, 65), (200, 150)])
def test_pixels_equal_torch(align_corners: bool, samples: tuple[int, int]) -> None:
    if not interpolation.sums_like_torch():
        pytest.skip("torch rounds otherwise on this machine; the whole maps are used there")
    size = 129, 151
    maps = torch.randn(1, 1, *samples, generator=torch.Generator().manual_seed(1))
    rows, columns = (
        interpolation.make_axis(n, m, align_corners=align_corners)
        for n, m in zip(samples, size, strict=True)
    )
    array = maps[0, 0].numpy()
    wide = interpolation.mix(array[:, columns.low], array[:, columns.high], columns.weight)
    ours = interpolation.mix(wide[rows.low], wide[rows.high], rows.weight[:, None])
    np.testing.assert_array_equal(ours, resize(maps, size, align_corners=align_corners)[0, 0])


@pytest.mark.parametrize("align_corners", [False, True])
def test_scales_are_those_of_resize_offset(align_corners: bool) -> None:
    samples, size = (9, 17), (33, 65)
    ones = torch.ones(1, 2, *samples)
    scaled = resize_offset(ones, size, align_corners=align_corners)
    found = interpolation.offset_scales(samples, size, align_corners=align_corners)
    assert found.tolist() == scaled[0, :, 0, 0].tolist()


def test_small_results_are_left_to_torch() -> None:
    assert not interpolation.can_start_from_samples((64, 64), (16, 16))
    assert interpolation.can_start_from_samples((16, 16), (16, 16))
