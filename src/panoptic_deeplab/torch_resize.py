"""What the fast ways of grouping must know of torch's resize, found out by asking it.

Where torch does not round as `interpolation` does, nobody starts from the network's grid.
"""

from functools import lru_cache

import numpy as np
import torch

from panoptic_deeplab.interpolation import Floats, Size, interpolate, make_axis
from panoptic_deeplab.layers import resize, resize_offset

SMALL_SIDES = 128
"""Up to this height + width of the result torch takes another kernel, whose sums differ in the
last bit (torch/aten UpSampleKernel.cpp)."""


def can_start_from_samples(size: Size, samples: Size) -> bool:
    """Whether single pixels of `interpolation` equal those of `layers.resize` to the last bit.

    Args:
        size: (H, W) after the resize.
        samples: (h, w) before it.
    """
    return size == samples or (sum(size) > SMALL_SIDES and sums_like_torch())


@lru_cache(maxsize=1)
def sums_like_torch() -> bool:
    """Try out whether torch rounds on this machine as `mix` does."""
    samples = torch.randn(1, 1, 37, 41, generator=torch.Generator().manual_seed(0))
    array = samples[0, 0].numpy()
    for align_corners in (False, True):
        size = 150, 173
        rows = make_axis(array.shape[0], size[0], align_corners=align_corners)
        columns = make_axis(array.shape[1], size[1], align_corners=align_corners)
        theirs = resize(samples, size, align_corners=align_corners)[0, 0].numpy()
        if not np.array_equal(interpolate(array, rows, columns), theirs):
            return False
    return True


def offset_scales(samples: Size, size: Size, *, align_corners: bool) -> Floats:
    """(2,) what one pixel of the samples' grid spans after a resize, along y and x.

    Read off `resize_offset`, which alone knows the rule: a column and a row of ones.
    """
    column = torch.ones(1, 2, samples[0], 1)
    row = torch.ones(1, 2, 1, samples[1])
    column = resize_offset(column, (size[0], 1), align_corners=align_corners)
    row = resize_offset(row, (1, size[1]), align_corners=align_corners)
    return np.array([column[0, 0, 0, 0], row[0, 1, 0, 0]], np.float32)
