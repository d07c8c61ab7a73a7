"""A validation measures the network and leaves it as it is."""

import torch

from panoptic_deeplab.config import AugmentConfig, DataConfig, Experiment, RunConfig, ScheduleConfig
from panoptic_deeplab.data.loading import build_loader
from panoptic_deeplab.train import take_step, validate
from panoptic_deeplab.training import build
from tiny import TINY_MODEL


def test_pictures_are_drawn_and_no_weight_or_statistic_moves(tmp_path) -> None:
    """Without an average the network that is drawn is the one that goes on learning."""
    experiment = Experiment(
        model=TINY_MODEL,
        data=DataConfig(format="synthetic", size=(64, 96), val_images=2, workers=0),
        augment=AugmentConfig(crop_size=(65, 97)),
        schedule=ScheduleConfig(batch_size=2, iterations=4, precision="float32"),
        run=RunConfig(pictures=2),
    )
    training = build(experiment, tmp_path, resume=False, device="cpu")
    with training.journal:
        batches = iter(build_loader(training.training_set, experiment))
        take_step(training, next(batches))
        before = {name: value.clone() for name, value in training.model.state_dict().items()}
        report = validate(training, None, final=True)
        assert report.num_images == 2
        after = training.model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert len(list((tmp_path / "pictures").iterdir())) == 2
        take_step(training, next(batches))
        assert training.model.training
