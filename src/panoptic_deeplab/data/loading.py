"""The stream of training batches, repeatable from any step.

In: a data set and the settings. Out: `Batch`es. What stands at position p of the stream, image,
random changes and all, depends on the seed and p alone: a resumed run meets the images an unbroken
one would have met, with any number of workers.
"""

import atexit
import logging
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakSet

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.cache import CachedDataset
from panoptic_deeplab.data.focus import Focus
from panoptic_deeplab.data.frequencies import class_areas, class_weights
from panoptic_deeplab.data.order import epoch_order, repeats, repeats_by_class, shard_order
from panoptic_deeplab.structures import Batch, Sample
from panoptic_deeplab.targets import make_targets
from panoptic_deeplab.transforms import augment

if TYPE_CHECKING:
    from torch.utils.data.dataloader import _BaseDataLoaderIter

logger = logging.getLogger(__name__)

BY_CLASS = "classes"
"""Value of `data.balance` that goes by the classes images hold, not by a field of the list."""

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
        data, self._augment = experiment.data, experiment.augment.model_dump()
        share, rule = self._augment.pop("focus"), self._augment.pop("focus_on")
        self._focus = _focus(dataset, share, rule)
        self._epoch = _indices(dataset, data.balance)
        shards = getattr(dataset, "shards", None)
        self._shards = None if shards is None else np.asarray(shards, np.int64)[self._epoch]
        self._window, self._long_side = data.shuffle_window, data.long_side
        self._skips, self._unreadable = data.skip_unreadable, set[int]()
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._dataset = dataset
        if data.cache_mb:
            self._dataset = CachedDataset(dataset, data.cache_mb, data.workers)
        self._seed = experiment.run.seed
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
        sample = self.augmented(position)
        assert sample.panoptic is not None, "augment refuses images without truth"
        targets = make_targets(sample.panoptic, self._dataset.labels, **self._targets)
        image = np.ascontiguousarray(sample.image.transpose(2, 0, 1))
        return Batch(torch.from_numpy(image), targets)

    def augmented(self, position: int) -> Sample:
        """The image at a position as training sees it, with its truth."""
        return augment(
            self._sample(position),
            np.random.default_rng((self._seed, _AUGMENT, position)),
            pad_color=self._pad_color,
            long_side=self._long_side,
            focus=self._focus,
            **self._augment,
        )

    def _sample(self, position: int) -> Sample:
        """The image at a position, or the next in the place of one that cannot be read."""
        epoch, place = divmod(position, len(self._epoch))
        order = self._order(epoch)
        for tries in range(len(order) if self._skips else 1):
            index = int(self._epoch[order[(place + tries) % len(order)]])
            if index in self._unreadable:
                continue
            try:
                return self._dataset[index]
            except (ValueError, OSError) as error:
                failed = UnreadableImage(str(error))
                if not self._skips:
                    raise failed from error
            self._unreadable.add(index)
            logger.warning("Left out, %d so far: %s", len(self._unreadable), failed)
        raise UnreadableImage("Not one image of the training split can be read.")

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Of an epoch; the last two are remembered, since a batch may lie across two."""
        if epoch not in self._orders:
            seed = (self._seed, _ORDER, epoch)
            order = (
                epoch_order(seed, len(self._epoch))
                if self._shards is None
                else shard_order(seed, self._shards, self._window)
            )
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = order
        return self._orders[epoch]


def build_loader(
    dataset: PanopticDataset,
    experiment: Experiment,
    start_step: int = 0,
    *,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[Batch]:
    """Batches of the steps from `start_step` to the last one, in order; see `loader_of`.

    Args:
        dataset: the training split.
        experiment: as for `loader_of`, and augmentation and targets.
        start_step: 0, or the step to resume at.
        rank: which of the processes this is, from 0.
        world: number of processes.

    Raises:
        ValueError: as `TrainingSet` and `loader_of`.
    """
    return loader_of(
        TrainingSet(dataset, experiment), experiment, start_step, rank=rank, world=world
    )


def loader_of(
    stream: TrainingSet,
    experiment: Experiment,
    start_step: int = 0,
    *,
    rank: int = 0,
    world: int = 1,
    pinned: bool = False,
) -> DataLoader[Batch]:
    """Batches of a stream, which may have been read from before and keeps what it knows.

    Step s holds the positions s * B to s * B + B - 1 of the stream, whatever the number of
    processes and workers; of `world` processes each gets an equal slice of it, in their order.

    Args:
        stream: of the whole run.
        experiment: batch size of all processes together, steps, seed, workers of each process.
        start_step: 0, or the step to resume at.
        rank: which of the processes this is, from 0.
        world: number of processes.
        pinned: put batches into memory from which a GPU fetches them while it computes.

    Raises:
        ValueError: if the batch cannot be divided evenly.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank must be from 0 to {world - 1} among {world} processes, got {rank}.")
    batch_size, workers = experiment.schedule.batch_size, experiment.data.workers
    if batch_size % world:
        raise ValueError(
            f"schedule.batch_size must be a multiple of the number of processes, got {batch_size} "
            f"for {world}. Use {-(-batch_size // world) * world}."
        )
    return _Loader(
        stream,
        batch_size=batch_size // world,
        sampler=_Share(start_step * batch_size, len(stream), batch_size, rank, world),
        num_workers=workers,
        worker_init_fn=_begin_worker,
        prefetch_factor=_PREFETCH if workers else None,
        pin_memory=pinned,
        # Its own: the loader draws a number at its start, which must not move dropout's dice.
        generator=torch.Generator().manual_seed(experiment.run.seed),
    )


class _Loader(DataLoader[Batch]):
    """A loader whose workers are sent home when Python ends, though its stream is still open.

    Python itself asks them with SIGTERM and waits; ours do not hear it (`_begin_worker`).
    """

    def __iter__(self) -> "_BaseDataLoaderIter":
        stream = super().__iter__()
        _OPEN.add(stream)
        return stream


_OPEN: WeakSet["_BaseDataLoaderIter"] = WeakSet()


@atexit.register
def _end_workers() -> None:
    for stream in list(_OPEN):
        if hasattr(stream, "__del__"):  # it has workers
            stream.__del__()  # as torch does with streams that nobody holds any more


class _Share(Sampler[int]):
    """Positions of one process: its slice of each batch from the first position to the end."""

    def __init__(self, first: int, end: int, batch_size: int, rank: int, world: int) -> None:
        self._starts = range(first, end, batch_size)
        self._slice = range(rank * batch_size // world, (rank + 1) * batch_size // world)

    def __iter__(self) -> Iterator[int]:
        return (start + place for start in self._starts for place in self._slice)

    def __len__(self) -> int:
        return len(self._starts) * len(self._slice)


def _indices(dataset: PanopticDataset, field: str) -> NDArray[np.int64]:
    """Each image once, or as often as the rarity of its kind asks for."""
    count = len(dataset)
    if not field:
        return np.arange(count)
    if field == BY_CLASS:
        return np.repeat(np.arange(count), repeats_by_class(class_areas(dataset, range(count))))
    if not hasattr(dataset, "image_field"):
        raise ValueError(
            f"data.balance={field!r} needs a data set whose list says of what kind each image is; "
            f"drawn scenes are all of one kind. Leave it empty, or use {BY_CLASS!r}."
        )
    kinds = dataset.image_field(field)
    own = [kinds[dataset.image_id(i)] for i in range(count)]
    return np.repeat(np.arange(count), repeats(own))


def _focus(dataset: PanopticDataset, share: float, rule: str) -> Focus | None:
    """What chooses the segments that crops are placed on; None if nothing does."""
    if not share:
        return None
    num_classes = dataset.labels.num_classes
    things = np.isin(np.arange(num_classes), dataset.labels.thing_ids)
    weights = class_weights(dataset) if rule == "rare_classes" else np.ones(num_classes)
    return Focus(
        share, "rare_classes" if rule == "rare_classes" else "small_things", weights, things
    )


def _whole(color: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(c))) for c in color)
    return red, green, blue


def _begin_worker(worker: int) -> None:
    # Workers are the parallelism; threads inside them would fight over the cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Terminals and job schedulers signal all processes. It is the main one that decides when to
    # end, and then tells the workers, which also end by themselves once it is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
