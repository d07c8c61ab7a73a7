"""Where the tiles of a large image lie, and how much each counts where they overlap.

In: the length of an axis. Out: spans that cover it, and weights at any places along it that sum to
one. A tile counts fully inside, less and less towards its edges, and not at all in a margin, where
the network saw too little of what is around; at the image's own border it counts fully.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.25
"""Share of the overlap, at each edge of a tile, in which it does not count. Our choice: in the
middle half of what two tiles share, one gives way to the other."""


class Span(NamedTuple):
    """Pixels start..stop - 1 of an axis."""

    start: int
    stop: int


class Part(NamedTuple):
    """How much a tile counts along an axis.

    Attributes:
        first: the first place at which it counts.
        weight: (n,) float32, from there on.
    """

    first: int
    weight: NDArray[np.float32]


def tile_spans(
    length: int, tile: int, overlap: int, stride: int, *, align_corners: bool
) -> tuple[Span, ...]:
    """Cover an axis with tiles of equal length whose samples lie on one grid.

    Args:
        length: of the padded axis in pixels, n * stride, or one more with aligned corners.
        tile: of a tile; made a multiple of the stride, or one more.
        overlap: of neighbours, at least about.
        stride: the network's largest.
        align_corners: of the network.

    Raises:
        ValueError: if tiles of this length cannot overlap so much.

    Example:
        >>> tile_spans(2049, 1024, 256, 32, align_corners=True)
        (Span(start=0, stop=1025), Span(start=512, stop=1537), Span(start=1024, stop=2049))
    """
    extra = 1 if align_corners else 0
    side = max(tile // stride, 1) * stride
    if not 0 < 2 * overlap <= side or overlap < 2 * stride:
        raise ValueError(
            f"Tiles of {tile} pixels must overlap by {2 * stride} pixels or more and by half of "
            f"their side or less, got {overlap}. A quarter of the tile's side is a good start."
        )
    if length <= side + extra:
        return (Span(0, length),)
    last = length - side - extra
    steps = -(-last // (side - overlap))
    starts = [round(i * last / steps / stride) * stride for i in range(steps + 1)]
    return tuple(Span(start, start + side + extra) for start in starts)


def tile_parts(
    spans: Sequence[Span], places: NDArray[np.floating], overlap: int
) -> tuple[Part, ...]:
    """How much each tile counts at places along the axis; at each place they sum to one.

    Args:
        spans: of `tile_spans`.
        places: (n,) in pixels, ascending, the middle of the first pixel being 0.
        overlap: as given to `tile_spans`.
    """
    margin = MARGIN * overlap
    ramp = overlap - 2 * margin
    raw = np.ones((len(spans), len(places)))
    for row, span in zip(raw, spans, strict=True):
        if span.start > spans[0].start:
            np.minimum(row, (places - span.start - margin) / ramp, out=row)
        if span.stop < spans[-1].stop:
            np.minimum(row, (span.stop - 1 - places - margin) / ramp, out=row)
    raw = np.clip(raw, 0, 1)
    raw /= raw.sum(0)
    parts = []
    for row in raw:
        used = np.flatnonzero(row)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, -1)
        parts.append(Part(first, row[first : last + 1].astype(np.float32)))
    return tuple(parts)
