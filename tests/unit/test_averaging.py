"""The mean of weights: by hand, and what cannot be averaged."""

from pathlib import Path

import pytest
import torch

from panoptic_deeplab.averaging import average_weights
from panoptic_deeplab.checkpoint import Checkpoint, load_checkpoint
from panoptic_deeplab.labels import ClassInfo, LabelSpace


def filled(path: Path, value: float) -> Checkpoint:
    checkpoint = load_checkpoint(path)
    with torch.no_grad():
        for weight in checkpoint.model.state_dict().values():
            weight.fill_(value)
    return checkpoint


def test_means_by_hand(tiny_weights: Path) -> None:
    one, four = filled(tiny_weights, 1), filled(tiny_weights, 4)
    mean = average_weights([one, four])
    for name, weight in mean.model.state_dict().items():
        assert weight.double().unique().tolist() == [2.5 if weight.is_floating_point() else 1], name
    one, four = filled(tiny_weights, 1), filled(tiny_weights, 4)
    weight = average_weights([one, four], [2, 1]).model.state_dict()["semantic_head.predict.bias"]
    assert weight.unique().tolist() == [2]


def test_what_cannot_be_averaged(tiny_weights: Path) -> None:
    one, other = load_checkpoint(tiny_weights), load_checkpoint(tiny_weights)
    with pytest.raises(ValueError, match="needs two sets of weights or more, got 1"):
        average_weights([one])
    with pytest.raises(ValueError, match="a share above 0 for each"):
        average_weights([one, other], [1])
    network = other.experiment.model.model_copy(update={"output_stride": 8})
    settings = other.experiment.model_copy(update={"model": network})
    with pytest.raises(ValueError, match="number 2 is of other settings"):
        average_weights([one, Checkpoint(other.model, other.labels, settings, {})])
    classes = (ClassInfo("x", 1, True, (1, 2, 3)),) * 1
    with pytest.raises(ValueError, match="number 2 knows 'others'"):
        average_weights(
            [one, Checkpoint(other.model, LabelSpace("others", classes), other.experiment, {})]
        )
