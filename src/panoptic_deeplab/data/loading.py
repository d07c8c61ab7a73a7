"""The stream of training batches, repeatable from any step.

In: a data set and the settings. Out: `Batch`es. What stands at position p of the stream, image,
random changes and all, depends on the seed and p alone: a resumed run meets the images an unbroken
one would have met, with any number of workers.
"""

import math
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.structures import Batch
from panoptic_deeplab.targets import make_targets
from panoptic_deeplab.transforms import augment

# Two streams of chance per seed, so that the order of images says nothing about their crops.
_ORDER, _AUGMENT = 0, 1

_PREFETCH = 4  # batches per worker made ahead, so that one slow image does not stop the network


class UnreadableImage(ValueError):
    """An image or its truth cannot be read; the message is one sentence, also from a worker.

    Args:
        message: the sentence. torch hands on a worker's error by making it anew from the text of
            its whole traceback, whose last line is the sentence.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


class TrainingSet(Dataset[Batch]):
    """The stream as a map: position -> one augmented image with its targets.

    Each epoch goes through all images, in an order of its own; those of rare kinds come up more
    than once where `data.balance` says what kinds are.

    Args:
        dataset: where the images come from.
        experiment: augmentation, targets, seed, and the length of the run.

    Raises:
        ValueError: if the data set is empty, or has no kinds of images though `data.balance` asks
            for them.
    """

    def __init__(self, dataset: PanopticDataset, experiment: Experiment) -> None:
        if len(dataset) == 0:
            raise ValueError(
                "Training needs at least one image, the training split has none. Check data.root "
                "and data.train_split."
            )
        self._dataset = dataset
        self._epoch = _indices(dataset, experiment.data.balance)
        self._seed = experiment.run.seed
        self._augment = experiment.augment.model_dump()
        self._pad_color = _whole(experiment.model.pixel_mean)
        self._targets = experiment.targets.model_dump()
        self._length = experiment.schedule.iterations * experiment.schedule.batch_size

    def __len__(self) -> int:
        """Positions of the whole run."""
        return self._length

    def __getitem__(self, position: int) -> Batch:
        """Image (3, H, W) uint8 and targets without B, at a position from 0 on.

        Raises:
            UnreadableImage: naming the file.
        """
        epoch, place = divmod(position, len(self._epoch))
        index = int(self._epoch[_order(self._seed, epoch, len(self._epoch))[place]])
        generator = np.random.default_rng((self._seed, _AUGMENT, position))
        try:
            sample = self._dataset[index]
        except (ValueError, OSError) as error:
            raise UnreadableImage(str(error)) from error
        sample = augment(sample, generator, pad_color=self._pad_color, **self._augment)
        assert sample.panoptic is not None, "augment refuses images without truth"
        targets = make_targets(sample.panoptic, self._dataset.labels, **self._targets)
        image = np.ascontiguousarray(sample.image.transpose(2, 0, 1))
        return Batch(torch.from_numpy(image), targets)


def build_loader(
    dataset: PanopticDataset, experiment: Experiment, first_step: int = 0
) -> DataLoader[Batch]:
    """Batches of the steps from `first_step` to the last one, in order.

    Step s holds the positions s * B to s * B + B - 1 of the stream.

    Args:
        dataset: the training split.
        experiment: batch size, steps, seed, augmentation, targets, workers.
        first_step: 0, or the step to resume at.
    """
    stream = TrainingSet(dataset, experiment)
    batch_size, workers = experiment.schedule.batch_size, experiment.data.workers
    return DataLoader(
        stream,
        batch_size=batch_size,
        sampler=_Rest(first_step * batch_size, len(stream)),
        num_workers=workers,
        worker_init_fn=_begin_worker,
        prefetch_factor=_PREFETCH if workers else None,
        # Its own: the loader draws a number at its start, which must not move dropout's dice.
        generator=torch.Generator().manual_seed(experiment.run.seed),
    )


class _Rest(Sampler[int]):
    """Positions from the first to the end, in order."""

    def __init__(self, first: int, end: int) -> None:
        self._positions = range(first, end)

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


def _indices(dataset: PanopticDataset, field: str) -> NDArray[np.int64]:
    """Each image once, or as often as the rarity of its kind asks for."""
    count = len(dataset)
    if not field:
        return np.arange(count)
    if not hasattr(dataset, "image_field"):
        raise ValueError(
            f"data.balance={field!r} needs a data set whose list says of what kind each image is; "
            "drawn scenes are all of one kind. Leave it empty."
        )
    kinds = dataset.image_field(field)
    own = [kinds[dataset.image_id(i)] for i in range(count)]
    return np.repeat(np.arange(count), repeats(own))


def repeats(kinds: Sequence[str]) -> NDArray[np.int64]:
    """How often each image comes up in an epoch, by the kinds of all images.

    A kind's images are repeated by the square root of how much rarer it is than the commonest
    kind, rounded, as in arXiv:1908.03195, section 5 (repeat factor sampling).

    Example:
        >>> repeats(["dark"] * 9 + ["white"]).tolist()
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 3]
    """
    counts = Counter(kinds)
    most = max(counts.values())
    return np.array([round(math.sqrt(most / counts[kind])) for kind in kinds], np.int64)


@lru_cache(maxsize=2)  # a batch may lie across two epochs
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(count)


def _whole(color: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(c))) for c in color)
    return red, green, blue


def _begin_worker(worker: int) -> None:
    # Workers are the parallelism; threads inside them would fight over the cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # A terminal sends Ctrl-C to all processes. It is the main one that decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
