"""Torch's bilinear interpolation, pixel by pixel."""

import numpy as np
import pytest
import torch

from panoptic_deeplab import interpolation, torch_resize
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
def test_pixels_equal_torch_or_are_left_to_it(
    align_corners: bool, samples: tuple[int, int]
) -> None:
    size = 129, 151
    maps = torch.randn(1, 1, *samples, generator=torch.Generator().manual_seed(1))
    rows, columns = (
        interpolation.make_axis(n, m, align_corners=align_corners)
        for n, m in zip(samples, size, strict=True)
    )
    ours = interpolation.interpolate(maps[0, 0].numpy(), rows, columns)
    theirs = resize(maps, size, align_corners=align_corners)[0, 0]
    if torch_resize.can_start_from_samples(size, samples):
        np.testing.assert_array_equal(ours, theirs)
    else:  # only close: places among 200 samples have roundings of 1e-5, times their differences
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_common_processors_need_not_leave_it_to_torch() -> None:
    """Torch's kernels for AVX2 and up fuse multiply and add; those for any processor do not."""
    has_avx = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    assert torch_resize.sums_like_torch() or not has_avx


@pytest.mark.parametrize("align_corners", [False, True])
def test_scales_are_those_of_resize_offset(align_corners: bool) -> None:
    samples, size = (9, 17), (33, 65)
    ones = torch.ones(1, 2, *samples)
    scaled = resize_offset(ones, size, align_corners=align_corners)
    found = torch_resize.offset_scales(samples, size, align_corners=align_corners)
    assert found.tolist() == scaled[0, :, 0, 0].tolist()


def test_small_results_are_left_to_torch() -> None:
    assert not torch_resize.can_start_from_samples((64, 64), (16, 16))
    assert torch_resize.can_start_from_samples((16, 16), (16, 16))
