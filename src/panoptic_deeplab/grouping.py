"""From the network's heads to a panoptic map: centers, nearest center, majority vote, stuff.

In: `Outputs` on the network's own grid, or maps that already lie on the result's. Out: one
`PanopticMap` per image. The steps themselves are in `grouping_plain.py`.

Paper: arXiv:1911.10194, section 3.2; instance scores: its supplement, Table 2.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab.grouping_plain import (
    Grid,
    Size,
    add_stuff,
    classify,
    group_maps,
    score_things,
)
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Outputs, PanopticMap


def group_outputs(
    outputs: Outputs,
    labels: LabelSpace,
    *,
    size: Size,
    align_corners: bool,
    crop_size: Size | None = None,
    output_size: Size | None = None,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    stuff_area_px: int = 2048,
    merge_plateaus: bool = False,
    orphans: Literal["void", "component"] = "void",
    score: Literal["product", "objectness", "class"] = "product",
    objectness_at: Literal["center", "centroid"] = "center",
) -> list[PanopticMap]:
    """Turn a batch of outputs into panoptic maps, without gradients.

    Args:
        outputs: on the network's grid, (B, K, h, w) and so on.
        labels: the K classes.
        size: (H, W) of the network's input; the heads are resized to it.
        align_corners: of that resize, `PanopticDeepLab.align_corners`.
        crop_size: top left part of it without padding; None: all of it.
        output_size: of the result; None: `crop_size`.
        threshold: a center's heat must exceed it, and 0; paper: 0.1.
        nms_kernel: side of the window in which only the highest heat survives, odd, in pixels of
            the result; paper: 7.
        top_k: most centers kept, by heat; paper: 200.
        stuff_area_px: a stuff class with fewer pixels becomes void; paper: 2048 on Cityscapes.
        merge_plateaus: of a plateau of equal heat keep its first pixel instead of all.
        orphans: without any center, thing pixels become "void" (paper), or each connected
            "component" of a class an instance.
        score: of a thing: heat at its center ("objectness"), mean probability of its class over
            its mask ("class"), or their "product"; supplement, Table 2.
        objectness_at: read the heat at the detected "center" or at the mask's "centroid",
            truncated to whole pixels (public codes).

    Returns:
        One map per image: segment ids 1..n, things first in the order of their centers (rows from
        the top, each from the left), then stuff by class id. Things have a score.

    Raises:
        ValueError: if shapes do not fit together, a setting is out of range, or a head has a
            value that is not finite.
    """
    _check_outputs(outputs, labels)
    grid = make_grid(size, crop_size, output_size, align_corners)
    results = []
    with torch.no_grad():
        for semantic, center, offset in zip(*outputs, strict=True):
            # NCHW in float32: the public codes' arithmetic, whatever format the model ran in.
            logits = semantic.detach().cpu().float().contiguous()  # (K, h, w)
            heat = grid.bring(center.detach().cpu().float().contiguous())[0].numpy()  # (H, W)
            classes = classify(logits, grid)
            segment_map, things = group_maps(
                classes,
                heat,
                grid.bring_offset(offset.detach().cpu().float().contiguous()).numpy(),
                labels,
                threshold=threshold,
                nms_kernel=nms_kernel,
                top_k=top_k,
                merge_plateaus=merge_plateaus,
                orphans=orphans,
            )
            scores = score_things(
                segment_map, things, logits, heat, grid, score=score, objectness_at=objectness_at
            )
            panoptic = add_stuff(segment_map, things, classes, labels, stuff_area_px)
            results.append(
                replace(
                    panoptic,
                    segments=tuple(
                        replace(s, score=scores[i]) if i < len(scores) else s
                        for i, s in enumerate(panoptic.segments)
                    ),
                )
            )
    return results


def panoptic_from_maps(
    semantic: NDArray[np.uint8],
    center: NDArray[np.float32],
    offset: NDArray[np.float32],
    labels: LabelSpace,
    *,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    stuff_area_px: int = 2048,
    merge_plateaus: bool = False,
    orphans: Literal["void", "component"] = "void",
    foreground: NDArray[np.bool_] | None = None,
) -> PanopticMap:
    """Group maps that already lie on the result's grid; segments carry no scores.

    Args:
        semantic: (H, W) class ids; `IGNORED` pixels become void.
        center: (H, W) heat map.
        offset: (2, H, W), (dy, dx) in pixels of this grid.
        labels: classes.
        threshold: as in `group_outputs`, like the following.
        nms_kernel: as there.
        top_k: as there.
        stuff_area_px: as there.
        merge_plateaus: as there.
        orphans: as there.
        foreground: (H, W), pixels that belong to instances; None: those of a thing class.

    Raises:
        ValueError: as in `group_outputs`.
    """
    _check_maps(semantic, center, offset)
    segment_map, things = group_maps(
        semantic,
        center,
        offset,
        labels,
        threshold=threshold,
        nms_kernel=nms_kernel,
        top_k=top_k,
        merge_plateaus=merge_plateaus,
        orphans=orphans,
        foreground=foreground,
    )
    return add_stuff(segment_map, things, semantic, labels, stuff_area_px)


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


def _check_outputs(outputs: Outputs, labels: LabelSpace) -> None:
    wanted = {"semantic": labels.num_classes, "center": 1, "offset": 2}
    shape = outputs.semantic.shape
    for name, channels in wanted.items():
        head: Tensor = getattr(outputs, name)
        expected = (shape[0], channels, *shape[-2:])
        if head.ndim != 4 or tuple(head.shape) != expected:
            raise ValueError(
                f"outputs.{name} must have shape {expected} (batch, channels, height, width), "
                f"got {tuple(head.shape)}. Pass the model's outputs and its own label space."
            )
        _check_finite(name, head.detach().aminmax() if head.numel() else (0.0, 0.0))


def _check_maps(
    semantic: NDArray[np.uint8], center: NDArray[np.float32], offset: NDArray[np.float32]
) -> None:
    if semantic.dtype != np.uint8 or center.shape != semantic.shape:
        raise ValueError(
            "semantic must be (H, W) uint8 and center (H, W), got "
            f"{semantic.dtype} {semantic.shape} and {center.shape}."
        )
    if offset.shape != (2, *semantic.shape):
        raise ValueError(
            f"offset must have shape (2, H, W) with H, W = {semantic.shape}, got {offset.shape}. "
            "Channels are (dy, dx)."
        )
    for name, head in (("center", center), ("offset", offset)):
        _check_finite(name, (head.min(initial=0), head.max(initial=0)))


def _check_finite(name: str, extremes: tuple[Any, Any]) -> None:
    if not all(np.isfinite(float(value)) for value in extremes):
        raise ValueError(
            f"The {name} head must be finite, it has NaN or infinite values. Check the weights "
            "and the input; in float16 try float32 or bfloat16."
        )
