"""The loss scale in a training: overflowing steps are left out, and resuming keeps it."""

from pathlib import Path

import pytest
import torch

from panoptic_deeplab.checkpoint import read_state
from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    ScheduleConfig,
)
from panoptic_deeplab.data.loading import build_loader
from panoptic_deeplab.loss_scale import LossScale
from panoptic_deeplab.train import _save, take_step
from panoptic_deeplab.training import STATE, build
from tiny import TINY_MODEL

TINY = Experiment(
    model=TINY_MODEL,
    data=DataConfig(format="synthetic", size=(64, 96), workers=0),
    augment=AugmentConfig(crop_size=(65, 97)),
    schedule=ScheduleConfig(batch_size=2, iterations=1000, precision="float32"),
)


@pytest.fixture
def training(tmp_path: Path):
    made = build(TINY, tmp_path, resume=False, device="cpu")
    yield made
    made.journal.close()


def test_overflowing_steps_are_left_out_until_it_fits(training) -> None:
    """The scale's first value is far too large; no step is a bad one on the way down."""
    training.loss_scale = LossScale(2.0**128)
    batch = next(iter(build_loader(training.training_set, training.experiment)))
    weight = training.model.center_head.predict.weight
    before = weight.detach().clone()
    assert not take_step(training, batch).is_finite
    assert torch.equal(weight, before)
    while not take_step(training, batch).is_finite:
        assert torch.equal(weight, before)
    assert not torch.equal(weight, before)
    assert training.bad_steps == 0
    assert training.loss_scale.good_steps == 1
    assert 1 < training.loss_scale.value < 2.0**127


def test_a_checkpoint_holds_it(training, tmp_path) -> None:
    training.loss_scale = LossScale(2.0**9, 77)
    _save(training)
    assert (tmp_path / STATE).exists()
    state, _ = read_state(tmp_path / STATE)
    assert LossScale(*state.loss_scale) == training.loss_scale
