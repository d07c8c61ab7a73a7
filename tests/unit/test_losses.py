"""Losses on a handful of pixels, against values worked out by hand."""

from math import log

import pytest
import torch
from torch import Tensor

from panoptic_deeplab.labels import IGNORED
from panoptic_deeplab.losses import compute_losses, semantic_loss
from panoptic_deeplab.structures import Outputs, Targets


def make(weight: float = 1.0, ignored: bool = False) -> tuple[Outputs, Targets]:
    """One image of 1 x 4 pixels, two classes, equal logits: every pixel costs log 2."""
    classes = torch.full((1, 1, 4), IGNORED if ignored else 1)
    ones = torch.full((1, 1, 4), weight)
    targets = Targets(
        classes, torch.ones(1, 1, 1, 4), torch.full((1, 2, 1, 4), 2.0), ones, ones, ones
    )
    outputs = Outputs(
        torch.zeros(1, 2, 1, 4, requires_grad=True),
        torch.full((1, 1, 1, 4), 0.5, requires_grad=True),
        torch.full((1, 2, 1, 4), -1.0, requires_grad=True),
    )
    return outputs, targets


def losses_of(outputs: Outputs, targets: Targets, **settings: float):
    return compute_losses(outputs, targets, **settings)


def test_values() -> None:
    losses = losses_of(*make())
    assert losses.semantic.item() == pytest.approx(log(2))
    assert losses.center.item() == pytest.approx(200 * 0.25)
    assert losses.offset.item() == pytest.approx(0.01 * 6)  # 3 pixels off along both axes
    assert losses.total.item() == pytest.approx(log(2) + 50 + 0.06)


def test_only_weighted_pixels_count_in_center_and_offset() -> None:
    outputs, targets = make()
    weight = torch.tensor([[[1.0, 0, 0, 1]]])
    center = targets.center.clone()
    center[..., 1:3] = 1000  # without weight
    losses = losses_of(
        outputs, targets._replace(center=center, center_weight=weight, offset_weight=weight)
    )
    assert losses.center.item() == pytest.approx(200 * 0.25)
    assert losses.offset.item() == pytest.approx(0.01 * 6)


def test_the_hardest_pixels_are_averaged_over_all_pixels() -> None:
    logits = torch.zeros(1, 2, 1, 8)
    logits[0, 1, 0, :] = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7])
    classes = torch.zeros(1, 1, 8, dtype=torch.int64)
    costs = torch.nn.functional.cross_entropy(logits, classes, reduction="none").flatten()
    ones = torch.ones(1, 1, 8)
    quarter = semantic_loss(logits, classes, ones, 0.25)
    assert quarter.item() == pytest.approx((costs[6] + costs[7]).item() / 2)
    assert semantic_loss(logits, classes, ones, 1).item() == pytest.approx(costs.mean().item())
    # A weight of 100 lifts the easiest pixel above all others.
    ones[0, 0, 0] = 100
    lifted = semantic_loss(logits, classes, ones, 0.01)
    assert lifted.item() == pytest.approx(100 * log(2))


def test_ignored_pixels_count_as_pixels_of_loss_zero() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    classes = torch.tensor([[[1, IGNORED, IGNORED, IGNORED]]])
    assert semantic_loss(logits, classes, torch.ones(1, 1, 4), 1).item() == pytest.approx(
        log(2) / 4
    )


def test_nothing_to_count_gives_zero_with_zero_gradient() -> None:
    outputs, targets = make(weight=0.0, ignored=True)
    losses = losses_of(outputs, targets)
    losses.total.backward()
    assert losses.total.item() == 0
    for output in outputs:
        assert isinstance(output.grad, Tensor)
        assert output.grad.abs().max() == 0


def test_bfloat16_outputs_under_autocast_are_summed_in_float32() -> None:
    outputs, targets = make()
    half = Outputs(*(o.detach().bfloat16().requires_grad_() for o in outputs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(half, targets)
    assert losses.total.dtype == torch.float32
    assert losses.total.item() == pytest.approx(log(2) + 50 + 0.06)
    losses.total.backward()
    assert half.center.grad is not None


def test_other_size_is_refused() -> None:
    outputs, targets = make()
    with pytest.raises(ValueError, match=r"targets' grid \(1, 4\), got \(2, 4\).*model.upsample"):
        losses_of(outputs._replace(semantic=torch.zeros(1, 2, 2, 4)), targets)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5])
def test_fraction_out_of_range_is_refused(fraction: float) -> None:
    outputs, targets = make()
    with pytest.raises(ValueError, match="hardest_fraction must be above 0 and at most 1"):
        losses_of(outputs, targets, hardest_fraction=fraction)
