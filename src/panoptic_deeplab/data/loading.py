"""The stream of training batches, repeatable from any step.

In: a data set and the settings. Out: `Batch`es. What stands at position p of the stream is a
function of (seed, p) alone, so a resumed run meets the images an unbroken one would have met, with
any number of workers.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from panoptic_deeplab.config import AugmentConfig, Experiment, TargetConfig
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.structures import Batch, Targets
from panoptic_deeplab.targets import make_targets
from panoptic_deeplab.transforms import augment

# Two streams of chance per seed, so that the order of images says nothing about their crops.
_ORDER, _AUGMENT = 0, 1


class TrainingSet(Dataset[Batch]):
    """The stream as a map: position -> one augmented image with its targets.

    Args:
        dataset: where the images come from.
        augment_config: random changes.
        target_config: how truth becomes targets.
        seed: of order and changes.

    Raises:
        ValueError: if the data set is empty.
    """

    def __init__(
        self,
        dataset: PanopticDataset,
        augment_config: AugmentConfig,
        target_config: TargetConfig,
        seed: int,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("Training needs at least one image, the training split has none.")
        self._dataset = dataset
        self._augment = augment_config.model_dump()
        self._targets = target_config.model_dump()
        self._seed = seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, position: int) -> Batch:
        """Image (3, H, W) uint8 and targets without B, at a position from 0 to infinity.

        Raises:
            ValueError: naming the image, if it cannot be read.
        """
        epoch, place = divmod(position, len(self._dataset))
        if epoch != self._epoch:
            generator = np.random.default_rng((self._seed, _ORDER, epoch))
            self._epoch, self._order = epoch, generator.permutation(len(self._dataset))
        generator = np.random.default_rng((self._seed, _AUGMENT, position))
        sample = augment(self._dataset[int(self._order[place])], generator, **self._augment)
        assert sample.panoptic is not None  # augment refuses images without truth
        targets = make_targets(sample.panoptic, self._dataset.labels, **self._targets)
        image = np.ascontiguousarray(sample.image.transpose(2, 0, 1))
        return Batch(torch.from_numpy(image), targets)


def build_loader(
    dataset: PanopticDataset, experiment: Experiment, first_step: int
) -> DataLoader[Batch]:
    """Batches of the steps from `first_step` to the last one.

    Args:
        dataset: the training split.
        experiment: batch size, steps, seed, augmentation, targets, workers.
        first_step: 0, or the step to resume at.
    """
    schedule, workers = experiment.schedule, experiment.data.workers
    return DataLoader(
        TrainingSet(dataset, experiment.augment, experiment.targets, experiment.run.seed),
        batch_sampler=list(_positions(first_step, schedule.iterations, schedule.batch_size)),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread,
        prefetch_factor=4 if workers else None,
    )


def collate(samples: list[Batch]) -> Batch:
    """Stack single images and their targets into a batch."""
    image = torch.stack([sample.image for sample in samples])
    maps = zip(*(sample.targets for sample in samples), strict=True)
    return Batch(image, Targets(*(torch.stack(each) for each in maps)))


def _positions(first_step: int, last_step: int, batch_size: int) -> Iterator[range]:
    for step in range(first_step, last_step):
        yield range(step * batch_size, (step + 1) * batch_size)


def _one_thread(worker: int) -> None:
    """Workers are the parallelism; threads inside them would fight over the cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
