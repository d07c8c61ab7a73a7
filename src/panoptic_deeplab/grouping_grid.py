"""How maps get from the network's grid to the result's: padded input, crop, output size.

In: sizes, as `group_outputs` takes them. Out: a `Grid`, by which every back end of grouping resizes
whole maps, some classes at a time, or finds the samples around single pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab import torch_resize
from panoptic_deeplab.interpolation import Axis, Size, make_axis
from panoptic_deeplab.layers import resize, resize_offset

CHUNK_VALUES = 1 << 22
"""Logits resized at once (16 MB of float32); measured: larger chunks are no faster."""


@dataclass(frozen=True)
class Grid:
    """How maps get from the network's grid to the result's.

    Attributes:
        size: (H, W) of the network's input, padding included; heads are resized to it.
        crop_size: its top left part without padding.
        output_size: of the result; differs where the image was scaled for the network.
        align_corners: of the first resize, a property of the model. The second one follows the
            scaling of images, which maps pixel edges on pixel edges: never aligned corners.
    """

    size: Size
    crop_size: Size
    output_size: Size
    align_corners: bool

    def bring(self, maps: Tensor) -> Tensor:
        """Resize (C, h, w) to (C, H, W) of the result."""
        height, width = self.crop_size
        full = resize(maps[None], self.size, align_corners=self.align_corners)
        return resize(full[..., :height, :width], self.output_size, align_corners=False)[0]

    def bring_offset(self, offset: Tensor) -> Tensor:
        """Resize (2, h, w); the values become pixels of the result."""
        height, width = self.crop_size
        full = resize_offset(offset[None], self.size, align_corners=self.align_corners)
        return resize_offset(full[..., :height, :width], self.output_size, align_corners=False)[0]

    def class_chunks(self, logits: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Resize some classes at a time; yields the first one's id and their maps (c, H, W)."""
        pixels = max(self.size[0] * self.size[1], self.output_size[0] * self.output_size[1])
        step = max(CHUNK_VALUES // pixels, 1)
        for first in range(0, len(logits), step):
            yield first, self.bring(logits[first : first + step])

    def starts_from_samples(self, samples: Size) -> bool:
        """Whether single pixels can be computed from (h, w) samples with equal results."""
        is_one_resize = self.output_size == self.crop_size
        return is_one_resize and torch_resize.can_start_from_samples(self.size, samples)

    def axes(self, samples: Size | None) -> tuple[Axis, Axis]:
        """Rows and columns of the result between (h, w) samples, or its own pixels if None."""
        if samples is None:
            height, width = self.output_size
            rows = make_axis(height, height, align_corners=False)
            return rows, make_axis(width, width, align_corners=False)
        align = self.align_corners
        rows = make_axis(samples[0], self.size[0], align_corners=align)
        columns = make_axis(samples[1], self.size[1], align_corners=align)
        return rows.first(self.crop_size[0]), columns.first(self.crop_size[1])

    def offset_scales(self, samples: Size) -> NDArray[np.float32]:
        """(2,) what one pixel of (h, w) samples spans after the first resize, along y and x."""
        return torch_resize.offset_scales(samples, self.size, align_corners=self.align_corners)


def make_grid(
    size: Size, crop_size: Size | None, output_size: Size | None, align_corners: bool
) -> Grid:
    """Fill in what was left out.

    Raises:
        ValueError: if the crop is larger than what it is cut from, or a side is not positive.
    """
    crop_size = crop_size or size
    grid = Grid(size, crop_size, output_size or crop_size, align_corners)
    if min(*grid.size, *grid.crop_size, *grid.output_size) < 1:
        raise ValueError(f"Sizes must be at least 1 pixel high and wide, got {grid}.")
    if crop_size[0] > size[0] or crop_size[1] > size[1]:
        raise ValueError(
            f"crop_size must lie inside size {size}, got {crop_size}. "
            "Both are (height, width); size is the network's input with its padding."
        )
    return grid
