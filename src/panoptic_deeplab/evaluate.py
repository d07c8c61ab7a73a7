"""How good predictions are on a data set: PQ, mIoU, AP and what went wrong, in one report.

Comes in: a labelled data set, and a predictor or predictions that were saved. Goes out: a
`Report`. Each image becomes `ImageCounts` once; those feed all metrics, and may be kept in a file.
Saved predictions are decoded and counted in as many processes as there are cores.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from typing import Any, Protocol, runtime_checkable

import cv2
from rich.progress import Progress

from panoptic_deeplab.assessment import Meters, Report, Wanted
from panoptic_deeplab.backends import has_numba
from panoptic_deeplab.data.base import PanopticDataset, read_truth
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts, count_image
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.processes import ALONE, Processes
from panoptic_deeplab.structures import PanopticMap, Sample

__all__ = ["Report", "evaluate", "evaluate_saved"]

logger = logging.getLogger(__name__)

WORTH_A_PROCESS = 100
"""Images for which starting one more process pays off, which takes some two seconds."""

TURNS = 16
"""Images of each process after which processes tell one another; most that an accident costs."""

AHEAD = 2
"""Batches that are given to each other process before their turn, so that none waits."""

BATCH = 8
"""Images that a process decodes, counts and adds up before it tells the first one."""


class Predicts(Protocol):
    """What evaluation needs of a predictor."""

    @property
    def labels(self) -> LabelSpace:
        """Its classes."""

    def predict(self, image: Any, /) -> Prediction:
        """Find the segments of an image."""


@runtime_checkable
class Finds(Protocol):
    """An oracle, which needs the truth as well; see `oracle.Oracle`."""

    @property
    def labels(self) -> LabelSpace:
        """Its classes."""

    def find(self, sample: Sample, /) -> Prediction:
        """Find the segments of a sample."""


class Keeps(Protocol):
    """Keeps counts, see `counts_file.CountsFile`."""

    def read(self) -> Sequence[ImageCounts]:
        """What was counted before."""

    def add(self, counts: ImageCounts, /) -> None:
        """Keep one more."""


class Saved(Protocol):
    """Predictions by image name, see `data.predictions.Predictions`."""

    @property
    def labels(self) -> LabelSpace:
        """Their classes."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that were predicted."""

    def __contains__(self, image_id: str) -> bool:
        """Whether an image was predicted."""

    def __getitem__(self, image_id: str, /) -> PanopticMap:
        """Read one."""


def evaluate(
    predictor: Predicts | Finds,
    dataset: PanopticDataset,
    *,
    limit: int = 0,
    progress: Progress | None = None,
    kinds: Mapping[str, str] | None = None,
    on_prediction: Callable[[Sample, Prediction], None] | None = None,
    wanted: Wanted | None = None,
    keep: Keeps | None = None,
    processes: Processes = ALONE,
) -> Report:
    """Predict every image of a data set and compare with its truth.

    Args:
        predictor: see `predict.load`, or an `oracle.Oracle`.
        dataset: with labels, of the classes the predictor knows.
        limit: use at most this many images, spread evenly over the set; 0: all.
        progress: shows how far it is.
        kinds: image id -> kind of image; results are then reported for each kind, too.
        on_prediction: called with each sample and its prediction, to save or draw them.
        wanted: what to measure beyond the default.
        keep: gets the counts of each image; images it has already are not predicted again. Of
            several processes the first one keeps those of all.
        processes: among which the images are divided; each gets the report of all.

    Raises:
        ValueError: if `limit` is negative, the classes differ, an image has no truth or no kind,
            or a file of the data set is damaged.
    """
    check_same_classes(predictor.labels, dataset.labels)
    parts = _Parts(predictor.labels, wanted or Wanted(), kinds)
    # Only one of the processes keeps counts, and all must leave out the same images.
    known = list(keep.read()) if keep is not None else []
    if processes.world > 1:
        known = _gathered(known)
    numbers = _start(parts, dataset, limit, known)
    turns = -(-len(numbers) // processes.world)
    own: list[tuple[ImageCounts, float]] = []
    for turn in _shown(range(turns), progress, len(numbers), processes.world):
        place = turn * processes.world + processes.rank
        if place < len(numbers):
            sample = _with_truth(dataset[numbers[place]])
            started = time.perf_counter()
            if isinstance(predictor, Finds):
                prediction = predictor.find(sample)
            else:
                prediction = predictor.predict(sample.image)
            seconds = time.perf_counter() - started
            own.append((_counted(prediction, sample, parts), seconds))
            _take_in(own[-1:], parts, keep)
            if on_prediction is not None:
                on_prediction(sample, prediction)
        if processes.world > 1 and ((turn + 1) % TURNS == 0 or turn + 1 == turns):
            _take_in(_of_others(own), parts, keep)
            own = []
    return parts.report()


def _of_others(own: list[tuple[ImageCounts, float]]) -> list[tuple[ImageCounts, float]]:
    """What the other processes have counted meanwhile."""
    mine = {counts.image_id for counts, _ in own}
    return [item for item in _gathered(own) if item[0].image_id not in mine]


def _gathered(items: list[Any]) -> list[Any]:
    from panoptic_deeplab.distributed import gathered  # needs torch; saved predictions do not

    return gathered(items)


def _take_in(
    counted: Sequence[tuple[ImageCounts, float]], parts: "_Parts", keep: Keeps | None
) -> None:
    for counts, seconds in counted:
        parts.add(counts, seconds)
        if keep is not None:
            keep.add(counts)


def _with_truth(sample: Sample) -> Sample:
    if sample.panoptic is None:
        raise ValueError(
            f"Image {sample.image_id!r} has no labels, evaluation compares with them. Leave "
            "it out of the split."
        )
    return sample


def _counted(prediction: Prediction, sample: Sample, parts: "_Parts") -> ImageCounts:
    assert sample.panoptic is not None
    return count_image(
        prediction.panoptic,
        sample.panoptic,
        parts.labels,
        sample.image_id,
        band_share=parts.wanted.band_share,
    )


def evaluate_saved(
    predictions: Saved,
    dataset: PanopticDataset,
    *,
    workers: int = 1,
    limit: int = 0,
    progress: Progress | None = None,
    kinds: Mapping[str, str] | None = None,
    wanted: Wanted | None = None,
    keep: Keeps | None = None,
) -> Report:
    """Compare saved predictions with the truth of a data set, without a network.

    Args:
        predictions: see `data.predictions.Predictions`.
        dataset: with labels, of the same classes.
        workers: processes that decode and count, this one included; 0: one per core, fewer for few
            images. The results are the same, to the last bit. With more than one, a script must
            call this below `if __name__ == "__main__":`, as for all of Python's processes.
        limit: as for `evaluate`, like the following.
        progress: as there.
        kinds: as there.
        wanted: as there.
        keep: as there.

    Raises:
        ValueError: as `evaluate`, or if an image of the data set was not predicted.
        FileNotFoundError: naming a missing file.
    """
    if workers < 0:
        raise ValueError(f"workers must be 0 (one per core) or more, got {workers}.")
    check_same_classes(predictions.labels, dataset.labels, whose="predictions")
    parts = _Parts(dataset.labels, wanted or Wanted(), kinds)
    numbers = _start(parts, dataset, limit, keep.read() if keep is not None else ())
    _check_names(predictions, dataset, numbers)
    work = _Work(predictions, dataset, parts.wanted, kinds, keeps=keep is not None)
    count = workers or min(available_cores(), len(numbers) // WORTH_A_PROCESS)
    count = max(1, min(count, len(numbers)))
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    counted = map(work, batches) if count <= 1 else _in_processes(work, batches, count)
    for part, kept in _shown(counted, progress, len(numbers), BATCH):
        parts.merge(part)
        if keep is not None:
            for counts in kept:
                keep.add(counts)
    return parts.report()


def available_cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


class _Parts:
    """Meters of each kind of image, and what they make together."""

    def __init__(self, labels: LabelSpace, wanted: Wanted, kinds: Mapping[str, str] | None) -> None:
        self.labels, self.wanted, self._kinds = labels, wanted, kinds
        self._meters: dict[str, Meters] = {}

    def add(self, counts: ImageCounts, seconds: float = 0.0) -> None:
        kind = _kind(self._kinds, counts.image_id)
        self._meters.setdefault(kind, Meters(self.labels, self.wanted)).add(counts, seconds)

    def merge(self, other: "_Parts") -> None:
        for kind, meters in other._meters.items():
            self._meters.setdefault(kind, Meters(self.labels, self.wanted)).merge(meters)

    def report(self) -> Report:
        whole = Meters(self.labels, self.wanted)
        for kind in sorted(self._meters):
            whole.merge(self._meters[kind])
        by_kind = {k: self._meters[k].report() for k in sorted(self._meters)}
        return whole.report(by_kind if self._kinds else None)


_Counted = tuple[_Parts, list[ImageCounts]]
"""What a batch adds up to, and the counts of its images where they are kept."""


@dataclass(frozen=True)
class _Work:
    """Decodes, counts and adds up a batch of images; goes to each process once.

    `keeps`: the counts of each image are wanted, too.
    """

    predictions: Saved
    dataset: PanopticDataset
    wanted: Wanted
    kinds: Mapping[str, str] | None
    keeps: bool

    def __call__(self, numbers: Sequence[int]) -> _Counted:
        parts, kept = _Parts(self.dataset.labels, self.wanted, self.kinds), []
        for number in numbers:
            counts = self._count(number)
            parts.add(counts)
            if self.keeps:
                kept.append(counts)
        return parts, kept

    def _count(self, number: int) -> ImageCounts:
        image_id = self.dataset.image_id(number)
        return count_image(
            self.predictions[image_id],
            read_truth(self.dataset, number),
            self.dataset.labels,
            image_id,
            band_share=self.wanted.band_share,
        )


_here: list[_Work] = []  # in a worker process: its work


def _settle(work: _Work) -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism
    _here[:] = [work]


def _count_here(numbers: Sequence[int]) -> _Counted:
    return _here[0](numbers)


def _in_processes(work: _Work, batches: Sequence[Sequence[int]], count: int) -> Iterator[_Counted]:
    """Batches in the order in which they are done, by this process and `count` - 1 others."""
    # A plain fork of this process would copy locks that threads of OpenCV or torch hold.
    has_server = "forkserver" in get_all_start_methods()
    context = get_context("forkserver" if has_server else "spawn")
    if has_server:
        loops = ["panoptic_deeplab.kernels.joint"] if has_numba() else []
        context.set_forkserver_preload([__name__, *loops])  # imported once, then forked
    pool = ProcessPoolExecutor(count - 1, context, _settle, (work,))
    running = set[Future[_Counted]]()
    try:
        for batch in batches:
            if len(running) < AHEAD * (count - 1):
                running.add(pool.submit(_count_here, batch))
            else:  # none needs work: this process counts, from the start, while the others start
                yield work(batch)
            done = {future for future in running if future.done()}
            running -= done
            yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise OSError(
            "A process that counted images has ended, most likely for lack of memory, or because "
            'a script evaluates outside of `if __name__ == "__main__":`. Use one worker; with '
            "--save, --resume goes on where it stopped."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(
    parts: _Parts, dataset: PanopticDataset, limit: int, counted: Sequence[ImageCounts]
) -> list[int]:
    """Add what is counted already; the numbers of the images that are left."""
    if limit < 0:
        raise ValueError(f"limit must be 0 (all images) or more, got {limit}.")
    count = min(limit, len(dataset)) if limit else len(dataset)
    numbers = [number * len(dataset) // count for number in range(count)]
    if not counted:
        return numbers
    known = {counts.image_id: counts for counts in counted}
    names = {number: dataset.image_id(number) for number in numbers}
    for name in names.values():
        if name in known:
            parts.add(known[name])
    return [number for number in numbers if names[number] not in known]


def _shown(steps: Any, progress: Progress | None, total: int, images: int = 1) -> Iterator[Any]:
    """Each step, which stands for so many images of the total."""
    if progress is None:
        yield from steps
        return
    task = progress.add_task("evaluating", total=total)
    try:
        with closing(steps) if hasattr(steps, "close") else nullcontext():
            for step in steps:
                yield step
                progress.advance(task, images)
    finally:
        progress.remove_task(task)


def _check_names(predictions: Saved, dataset: PanopticDataset, numbers: Sequence[int]) -> None:
    names = [dataset.image_id(number) for number in numbers]
    missing = [name for name in names if name not in predictions]
    if missing:
        example = next(iter(predictions.image_ids), "none")
        raise ValueError(
            f"Expected a prediction of each of the {len(names)} images, {len(missing)} have none, "
            f"such as {missing[0]!r}; predicted was {example!r}, for instance. Predict the rest, "
            "or name the split that was predicted."
        )
    others = len(predictions.image_ids) - len(names)
    if others > 0:
        logger.warning("%d predictions are of other images and not used.", others)


def check_same_classes(known: LabelSpace, found: LabelSpace, *, whose: str = "weights") -> None:
    """Refuse a data set with other classes than what is evaluated.

    Raises:
        ValueError: naming the first difference.
    """
    ours = [(c.name, c.is_thing) for c in known.classes]
    theirs = [(c.name, c.is_thing) for c in found.classes]
    if ours == theirs:
        return
    place = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    raise ValueError(
        f"The {whose} know {len(ours)} classes ({known.name!r}), the data has {len(theirs)} "
        f"({found.name!r}); class {place} is {_class(ours, place)} there and "
        f"{_class(theirs, place)} here. Use weights trained on these classes."
    )


def _kind(kinds: Mapping[str, str] | None, image_id: str) -> str:
    if not kinds:
        return ""
    if image_id not in kinds:
        raise ValueError(f"Every image needs a kind, {image_id!r} has none. Add it to `kinds`.")
    return kinds[image_id]


def _class(classes: list[tuple[str, bool]], place: int) -> str:
    if place >= len(classes):
        return "missing"
    name, is_thing = classes[place]
    return f"{name!r} ({'thing' if is_thing else 'stuff'})"
