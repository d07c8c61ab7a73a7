"""Every backbone trains: a few steps on two drawn scenes lower the loss."""

import pytest
import torch

from panoptic_deeplab.backbones import BACKBONES
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.data.loading import TrainingSet
from panoptic_deeplab.data.synthetic import MIN_SIZE, SyntheticStreets
from panoptic_deeplab.losses import Losses, compute_losses
from panoptic_deeplab.model import build_model
from panoptic_deeplab.recipes import recipe
from panoptic_deeplab.structures import Batch

SIZE = (MIN_SIZE, MIN_SIZE)
STEPS = 6


@pytest.fixture(scope="module")
def batch() -> Batch:
    experiment = recipe("synthetic")
    augment = experiment.augment.model_copy(update={"crop_size": SIZE, "min_scale": 1.0})
    scenes = SyntheticStreets(SIZE, 2, 0)
    stream = TrainingSet(scenes, experiment.model_copy(update={"augment": augment}))
    return torch.utils.data.default_collate([stream[0], stream[1]])


def config(backbone: str) -> ModelConfig:
    return ModelConfig(
        backbone=backbone,
        # The searched networks end at stride 8, the others where their classifiers do.
        output_stride=8 if backbone.startswith("auto_deeplab") else 32,
        aspp_channels=16,
        aspp_dropout=0.0,
        semantic_channels=16,
        semantic_head_channels=16,
        instance_channels=16,
        instance_head_channels=16,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_few_steps_lower_the_loss(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model(config(name), 11).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def losses() -> Losses:
        outputs = model.upsample(model(batch.image), SIZE)
        return compute_losses(outputs, batch.targets, hardest_fraction=1.0)

    seen = []
    for _ in range(STEPS):
        terms = losses()
        seen.append(terms.total.item())
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    assert losses().total.item() < 0.9 * seen[0], seen
