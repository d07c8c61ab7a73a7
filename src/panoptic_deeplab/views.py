"""Several looks at one image, of other sizes, mirrored, by other networks, become one set of heads.

In: the heads of each look, one at a time, each on a grid of its own. Out: heads on one of these
grids: the mean of the classes' probabilities, of the heat maps and of the offsets (paper, section
4: multi-scale inference and left-right flips). Only the running sums are kept, so that memory does
not grow with the number of looks.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab.structures import Outputs
from panoptic_deeplab.tiles import Part

Size = tuple[int, int]
"""(height, width)."""

_LEAST = 1e-12  # of a mean probability, so that its logarithm is finite


class View(NamedTuple):
    """How one look at an image lies on it.

    Attributes:
        size: (H, W) of the scaled image in pixels, without padding.
        network: (H, W) of the network's input: with padding, at the bottom and the right.
        samples: (h, w) of the heads.
        align_corners: whether samples lie on the corners of the input, or in the middle of the
            pixels that they stand for.
        mirrored: whether left and right of the image were exchanged before padding.
        origin: (y, x) of the network's first pixel in the scaled image, where it saw a part of it.
    """

    size: Size
    network: Size
    samples: Size
    align_corners: bool
    mirrored: bool = False
    origin: Size = (0, 0)

    def span(self, axis: int) -> float:
        """What lies between two samples along an axis, as a share of the image's side."""
        pixels, samples = self.network[axis], self.samples[axis]
        if self.align_corners:
            return (pixels - 1) / max(samples - 1, 1) / self.size[axis]
        return pixels / samples / self.size[axis]

    def first(self, axis: int) -> float:
        """Where the first sample lies along an axis, as a share of the image's side."""
        start = self.origin[axis] / self.size[axis]
        middle = 0.5 / self.size[axis]  # of the first pixel
        return start + (middle if self.align_corners else self.span(axis) / 2)


class MeanOutputs:
    """Running means of heads.

    Args:
        target: the look on whose grid the mean is taken; not a mirrored one.

    Example:
        >>> look = View((33, 33), (33, 33), (9, 9), align_corners=True)
        >>> mean, heads = MeanOutputs(look), Outputs(*(torch.ones(1, n, 9, 9) for n in (3, 1, 2)))
        >>> mean.add(heads, look), mean.add(heads, look._replace(mirrored=True))
        (None, None)
        >>> [float(head[0, -1, 0, 0]) for head in mean.result()]
        [-1.0986123085021973, 1.0, 0.0]
    """

    def __init__(self, target: View) -> None:
        self._target = target
        self._sums: list[Tensor] = []
        self._total = 0.0

    def add(
        self,
        outputs: Outputs,
        view: View,
        share: float = 1.0,
        *,
        parts: tuple[Part, Part] | None = None,
    ) -> None:
        """Add one look.

        Args:
            outputs: (B, K, h, w) and so on, on its own grid, as the network gives them.
            view: where that grid lies.
            share: how much it counts.
            parts: where on the grid it counts, and how much, along y and x; None: everywhere.
        """
        sign = -1 if view.mirrored else 1
        scale = [view.span(axis) / self._target.span(axis) for axis in (0, 1)]
        first, weights = [0, 0], None
        rows, columns = (_axis(view, self._target, axis) for axis in (0, 1))
        if parts is not None:
            rows, columns = (_cut(a, part) for a, part in zip((rows, columns), parts, strict=True))
            first = [part.first for part in parts]
            weights = torch.from_numpy(np.outer(*(part.weight for part in parts)))
        heads = (outputs.semantic.float().softmax(1), outputs.center.float())
        offset = outputs.offset.float()
        factors = torch.tensor([scale[0], sign * scale[1]], device=offset.device)
        added = [_resample(head, rows, columns) for head in heads]
        added.append(_resample(offset, rows, columns) * factors[:, None, None])
        if not self._sums:
            height, width = self._target.samples
            self._sums = [new.new_zeros((*new.shape[:2], height, width)) for new in added]
        for total, new in zip(self._sums, added, strict=True):
            height, width = new.shape[2:]
            place = total[..., first[0] : first[0] + height, first[1] : first[1] + width]
            if weights is not None:
                new.mul_(weights.to(new.device))
            place.add_(new, alpha=share)
        self._total += share

    def result(self, total: float | None = None) -> Outputs:
        """The means, made in the place of the sums; no look can be added afterwards.

        Args:
            total: what the shares at each place sum to; None: those of all looks.

        Returns:
            Heads; the classes' as logarithms of probabilities, whose softmax they are.
        """
        semantic, center, offset = (s.div_(total or self._total) for s in self._sums)
        return Outputs(semantic.clamp_min_(_LEAST).log_(), center, offset)


class _Axis(NamedTuple):
    """Samples before and behind each place, and the weight of the latter."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float32]


def _axis(view: View, target: View, axis: int) -> _Axis:
    """Where the target's samples lie among those of a look."""
    place = target.first(axis) + target.span(axis) * np.arange(target.samples[axis])
    if view.mirrored and axis == 1:
        place = 1 - place
    last = view.samples[axis] - 1
    # Rounded, so that grids which coincide are copied without a trace of a neighbour.
    found = np.clip(np.round((place - view.first(axis)) / view.span(axis), 9), 0, last)
    low = np.floor(found).astype(np.int64)
    return _Axis(low, np.minimum(low + 1, last), (found - low).astype(np.float32))


def _cut(axis: _Axis, part: Part) -> _Axis:
    """The places at which a part counts."""
    stop = part.first + len(part.weight)
    used = slice(part.first, stop)
    return _Axis(axis.low[used], axis.high[used], axis.weight[used])


def _resample(head: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """(B, C, h, w) at other places, linearly between samples."""
    return _along(_along(head, rows, 2), columns, 3)


def _along(head: Tensor, axis: _Axis, dim: int) -> Tensor:
    low, high, weight = (torch.from_numpy(part).to(head.device) for part in axis)
    shape = (-1, 1) if dim == 2 else (-1,)
    return torch.lerp(head.index_select(dim, low), head.index_select(dim, high), weight.view(shape))
