"""The heads of an image that is too large for one look: tile by tile, blended on one grid.

In: networks and an image that is read in windows. Out: heads as if of one look, for grouping as a
whole, so that no instance is cut. Memory is that of one tile and of the blended heads.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from panoptic_deeplab.config import InferenceConfig
from panoptic_deeplab.data.windows import ScaledWindows, Windows
from panoptic_deeplab.looks import Member, look, pad_to, padded_size, scaled_size
from panoptic_deeplab.structures import Outputs
from panoptic_deeplab.tiles import Part, Span, tile_parts, tile_spans
from panoptic_deeplab.views import MeanOutputs, View

_STRIDE = 4  # of the heads


def tiled_heads(
    members: Sequence[Member], inference: InferenceConfig, image: Windows
) -> tuple[Outputs, View, int]:
    """Look at an image in tiles, at each scale and mirrored if asked for.

    Args:
        members: the networks; the first one's scale decides the grid.
        inference: scales, flips, `tile` and `tile_overlap` in pixels of the scaled image.
        image: read in windows.

    Returns:
        The blended heads, where their grid lies, and how many tiles the largest look has.

    Raises:
        ValueError: if tile and overlap do not go together.
    """
    factors = sorted(inference.scales, reverse=True)
    target = _target(members[0], image.size, factors[0])
    mean = MeanOutputs(target)
    number = 0
    for member, factor in product(members, factors):
        size = scaled_size(image.size, member.factor(image.size) * factor)
        scaled = ScaledWindows(image, size)
        tiles = list(_tiles(member, size, target, inference))
        number = max(number, len(tiles))
        for spans, parts in tiles:
            pixels = _read(scaled, spans)
            for mirrored in (False, True)[: 1 + inference.flip]:
                outputs = _look(member, pixels, mirrored=mirrored)
                samples = outputs.semantic.shape[2:]
                view = View(
                    size,
                    (pixels.shape[0], pixels.shape[1]),
                    (samples[0], samples[1]),
                    member.model.align_corners,
                    origin=(spans[0].start, spans[1].start),
                )
                mean.add(outputs, view, member.share, parts=parts)
    total = sum(member.share for member in members) * len(factors) * (1 + inference.flip)
    return mean.result(total), target, number


def needs_tiles(members: Sequence[Member], inference: InferenceConfig, size: Sequence[int]) -> bool:
    """Whether an image of (H, W) is larger than one tile at any scale."""
    if not inference.tile:
        return False
    largest = max(member.factor(size) for member in members) * max(inference.scales)
    return max(size) * largest > inference.tile


def check_tiles(members: Sequence[Member], inference: InferenceConfig) -> None:
    """Refuse a tile that is too small, before any image is opened.

    Raises:
        ValueError: as `tile_spans`.
    """
    for member in members if inference.tile else ():
        tile_spans(
            inference.tile,
            inference.tile,
            inference.tile_overlap,
            member.stride,
            align_corners=member.model.align_corners,
        )


def _target(member: Member, size: tuple[int, int], factor: float) -> View:
    """The grid of the blended heads.

    At the image's own scale it is the network's. Else it is one whose pixels are the image's, so
    that grouping resizes once; as fine as the network's, or finer.
    """
    scale = member.factor(size) * factor
    if scale == 1:
        align_corners = member.model.align_corners
        network = padded_size(size, member.stride, align_corners=align_corners)
        samples = (ceil(network[0] / _STRIDE), ceil(network[1] / _STRIDE))
        return View(size, network, samples, align_corners)
    step = max(1, round(_STRIDE / max(scale, 1)))
    samples = (ceil(size[0] / step), ceil(size[1] / step))
    return View(size, (samples[0] * step, samples[1] * step), samples, align_corners=False)


def _tiles(
    member: Member, size: tuple[int, int], target: View, inference: InferenceConfig
) -> Iterator[tuple[tuple[Span, Span], tuple[Part, Part]]]:
    """Where each tile lies on the scaled image, and how much it counts on the target's grid."""
    network = padded_size(size, member.stride, align_corners=member.model.align_corners)
    along: list[list[tuple[Span, Part]]] = []
    for axis in (0, 1):
        spans = tile_spans(
            network[axis],
            inference.tile,
            inference.tile_overlap,
            member.stride,
            align_corners=member.model.align_corners,
        )
        shares = target.first(axis) + target.span(axis) * np.arange(target.samples[axis])
        places = shares * size[axis] - 0.5
        parts = tile_parts(spans, places, inference.tile_overlap)
        along.append([pair for pair in zip(spans, parts, strict=True) if len(pair[1].weight)])
    for (rows, row_part), (columns, column_part) in product(*along):
        yield (rows, columns), (row_part, column_part)


def _read(scaled: ScaledWindows, spans: tuple[Span, Span]) -> NDArray[np.uint8]:
    """A tile's pixels; beyond the image its last row and column are repeated."""
    (top, bottom), (left, right) = spans
    inside = scaled.read(top, left, min(bottom, scaled.size[0]), min(right, scaled.size[1]))
    return pad_to(inside, (bottom - top, right - left))


def _look(member: Member, pixels: NDArray[np.uint8], *, mirrored: bool) -> Outputs:
    """Heads of one tile, in its own order of columns even if it was shown mirrored."""
    outputs, _ = look(member.model, pixels, mirrored=mirrored)
    if not mirrored:
        return outputs
    semantic, center, offset = (head.flip(3) for head in outputs)
    sign = torch.tensor([1, -1], dtype=offset.dtype, device=offset.device)
    return Outputs(semantic, center, offset * sign[:, None, None])
