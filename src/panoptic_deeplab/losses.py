"""The three losses of training: semantic, center and offset.

In: `Outputs` brought to full resolution and `Targets`. Out: `Losses`, weighted scalars by name.

Paper: arXiv:1911.10194, section 3.3: bootstrapped cross-entropy (hardest 15 % of the pixels),
mean squared error on the heat map (times 200), L1 on the offsets (times 0.01).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panoptic_deeplab.labels import IGNORED
from panoptic_deeplab.structures import Outputs, Targets


class Losses(NamedTuple):
    """Scalars, each already times its weight.

    Attributes:
        total: semantic + center + offset; the one to differentiate.
        semantic: cross-entropy of the hardest pixels.
        center: squared error of the heat map.
        offset: absolute error of the offsets, both axes added.
    """

    total: Tensor
    semantic: Tensor
    center: Tensor
    offset: Tensor


class Part(NamedTuple):
    """What the losses of a part of a batch must know of the whole, so that they sum to its own.

    Attributes:
        share: of the whole batch's images that are in the part, 0..1.
        center: sum of the whole batch's center weights.
        offset: of its offset weights.
    """

    share: float
    center: Tensor
    offset: Tensor


def compute_losses(
    outputs: Outputs,
    targets: Targets,
    *,
    semantic_weight: float = 1.0,
    center_weight: float = 200.0,
    offset_weight: float = 0.01,
    hardest_fraction: float = 0.15,
    part: Part | None = None,
) -> Losses:
    """Compare outputs with targets of the same size, in float32 whatever the outputs' type.

    Args:
        outputs: on the targets' grid; see `PanopticDeepLab.upsample`.
        targets: (B, H, W) with B.
        semantic_weight: paper: 1.
        center_weight: paper: 200.
        offset_weight: paper: 0.01.
        hardest_fraction: share of all pixels of the batch that count; paper: 0.15.
        part: of what these images are a part; None: they are the whole batch. # Deviation 42: the
            hardest pixels are chosen in each part.

    Raises:
        ValueError: if the sizes differ or `hardest_fraction` is not above 0 and at most 1.
    """
    if outputs.semantic.shape[-2:] != targets.semantic.shape[-2:]:
        raise ValueError(
            f"Outputs must lie on the targets' grid {tuple(targets.semantic.shape[-2:])}, got "
            f"{tuple(outputs.semantic.shape[-2:])}. Bring them there with `model.upsample`."
        )
    # Autocast would run the sums in 16 bits, where 200 x a mean over a million pixels drowns.
    with torch.autocast(outputs.semantic.device.type, enabled=False):
        semantic = semantic_weight * semantic_loss(
            outputs.semantic, targets.semantic, targets.semantic_weight, hardest_fraction
        )
        center = center_weight * center_loss(
            outputs.center, targets.center, targets.center_weight, part.center if part else None
        )
        offset = offset_weight * offset_loss(
            outputs.offset, targets.offset, targets.offset_weight, part.offset if part else None
        )
        if part is not None:
            semantic = semantic * part.share
        return Losses(semantic + center + offset, semantic, center, offset)


def semantic_loss(
    logits: Tensor, classes: Tensor, weight: Tensor, hardest_fraction: float
) -> Tensor:
    """Average the weighted cross-entropy of the hardest pixels.

    Args:
        logits: (B, K, H, W).
        classes: (B, H, W) int64; `IGNORED` pixels have loss 0 but count as pixels.
        weight: (B, H, W).
        hardest_fraction: of all B x H x W pixels, above 0, at most 1; at least one pixel counts.

    Raises:
        ValueError: if the fraction is out of range.
    """
    if not 0 < hardest_fraction <= 1:
        raise ValueError(
            f"hardest_fraction must be above 0 and at most 1, got {hardest_fraction}. "
            "Use 1 to average over all pixels."
        )
    losses = F.cross_entropy(logits.float(), classes, ignore_index=IGNORED, reduction="none")
    losses = (losses * weight.float()).flatten()  # (B * H * W)
    if hardest_fraction == 1:
        return losses.mean()
    num_pixels = max(int(hardest_fraction * losses.numel()), 1)
    return losses.topk(num_pixels, sorted=False).values.mean()


def center_loss(
    heat: Tensor, target: Tensor, weight: Tensor, total: Tensor | None = None
) -> Tensor:
    """Mean squared error over the weighted pixels; 0 where nothing has weight.

    Args:
        heat: (B, 1, H, W).
        target: (B, 1, H, W).
        weight: (B, H, W).
        total: what the sum is divided by; None: the weights' sum.
    """
    errors = F.mse_loss(heat.float(), target.float(), reduction="none")[:, 0]
    return _weighted_mean(errors, weight, total)


def offset_loss(
    offset: Tensor, target: Tensor, weight: Tensor, total: Tensor | None = None
) -> Tensor:
    """Absolute error, summed over both axes, averaged over the weighted pixels; 0 without any.

    Args:
        offset: (B, 2, H, W), (dy, dx) in pixels of the targets' grid.
        target: (B, 2, H, W).
        weight: (B, H, W).
        total: what the sum is divided by; None: the weights' sum.
    """
    errors = F.l1_loss(offset.float(), target.float(), reduction="none").sum(dim=1)
    return _weighted_mean(errors, weight, total)


def _weighted_mean(errors: Tensor, weight: Tensor, total: Tensor | None) -> Tensor:
    weight = weight.float()
    if total is None:
        total = weight.sum()
    # Dividing 0 by 1 keeps loss and gradient at 0, without asking the device for the sum's value.
    return (errors * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))
