"""Torch's bilinear interpolation, spelled out sample by sample.

The fast ways of grouping interpolate single pixels where the plain way resizes whole maps. Both
must agree to the last bit, or a pixel between two classes could go either way. So samples, weights
and sums here are torch's own, in its float32 arithmetic with fused multiply-adds; that it holds on
the machine at hand is tried out by `torch_resize`. No torch here: the compiled loops do without.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""(height, width) in pixels."""

Floats = NDArray[np.float32]

MARGIN = 4e-6
"""Relative lead at all four corners above which a value is larger everywhere between them: 32
roundings of float32, where interpolating two values takes less than 12."""


class Axis(NamedTuple):
    """Where the pixels of one axis of the result come from.

    Attributes:
        low: (n,) int64, the sample before each pixel; never falls.
        high: (n,) int64, the next one, or the same at the end.
        weight: (n,) float32, of `high`; that of `low` is 1 - weight.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: Floats

    def first(self, count: int) -> "Axis":
        """The axis of the first pixels alone."""
        return Axis(self.low[:count], self.high[:count], self.weight[:count])

    def cells(self, num_samples: int) -> NDArray[np.int64]:
        """(num_samples + 1,) the first pixel at or behind each sample, and the end.

        A cell is the pixels between two samples; it may be empty.
        """
        return np.searchsorted(self.low, np.arange(num_samples + 1))


def make_axis(num_in: int, num_out: int, *, align_corners: bool) -> Axis:
    """Find the samples and weights along one axis.

    Args:
        num_in: samples.
        num_out: pixels.
        align_corners: as in `torch.nn.functional.interpolate`.

    Example:
        >>> make_axis(2, 4, align_corners=False).weight.tolist()
        [0.0, 0.25, 0.75, 0.25]
    """
    place = np.arange(num_out, dtype=np.float32)
    if align_corners:
        scale = np.float32((num_in - 1) / (num_out - 1)) if num_out > 1 else np.float32(0)
        source = scale * place
    else:
        scale = np.float32(num_in) / np.float32(num_out)
        # A fused multiply-add in torch: exact in float64, then rounded once.
        source = (np.float64(scale) * (place + 0.5) - 0.5).astype(np.float32)
        source = np.maximum(source, np.float32(0))
    low = np.minimum(source.astype(np.int64), num_in - 1)
    weight = np.clip(source - low.astype(np.float32), np.float32(0), np.float32(1))
    return Axis(low, np.minimum(low + 1, num_in - 1), weight)


def mix(low: Floats, high: Floats, weight: Floats) -> Floats:
    """Interpolate between two samples, rounded as torch's kernel rounds."""
    return fused_multiply_add(np.float32(1) - weight, low, weight * high)


def interpolate(samples: Floats, rows: Axis, columns: Axis) -> Floats:
    """Resize a whole map by `mix`: (h, w) samples to (H, W) pixels."""
    wide = mix(samples[:, columns.low], samples[:, columns.high], columns.weight)
    return mix(wide[rows.low], wide[rows.high], rows.weight[:, None])


def fused_multiply_add(a: Floats, b: Floats, c: Floats) -> Floats:
    """Multiply a and b and add c with a single rounding to float32."""
    product = a.astype(np.float64) * b.astype(np.float64)  # exact: 24 + 24 bits
    total = product + c
    # What the addition lost (Knuth's two-sum). Where it lost anything, an even last bit is made
    # odd in the direction of the loss: rounding twice then equals rounding once.
    back = total - product
    lost = (product - (total - back)) + (c - back)
    is_even = (total.view(np.int64) & 1) == 0
    aside = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where((lost != 0) & is_even, aside, total).astype(np.float32)
