"""How good a predictor is on a data set: PQ, mIoU and AP in one report.

Comes in: a predictor and a labelled data set. Goes out: a `Report`, as numbers, as plain dicts
for JSON, or as a table. The joint counts of prediction and truth are taken once per image and
feed all three metrics.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.progress import Progress
from rich.table import Table

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics import AveragePrecision, MeanIoU, PanopticQuality
from panoptic_deeplab.metrics.instance import AveragePrecisionResult
from panoptic_deeplab.metrics.joint import count_joint
from panoptic_deeplab.metrics.panoptic import PanopticQualityResult
from panoptic_deeplab.metrics.semantic import MeanIoUResult
from panoptic_deeplab.predict import Prediction, Predictor
from panoptic_deeplab.structures import PanopticMap, Sample


@dataclass(frozen=True)
class Report:
    """Results over a set of images; all qualities from 0 to 1.

    Attributes:
        panoptic: PQ, SQ, RQ over all classes, things, stuff, and by class.
        semantic: mIoU and IoU by class.
        instance: AP of the things.
        num_images: that were evaluated.
        seconds: that predicting took, reading and counting not included.
        by_kind: the same for parts of the set, if it was divided.
    """

    panoptic: PanopticQualityResult
    semantic: MeanIoUResult
    instance: AveragePrecisionResult
    num_images: int
    seconds: float
    by_kind: dict[str, "Report"] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return {
            "num_images": self.num_images,
            "seconds_per_image": self.seconds / self.num_images if self.num_images else None,
            "panoptic": self.panoptic.to_dict(),
            "semantic": self.semantic.to_dict(),
            "instance": self.instance.to_dict(),
            "by_kind": {kind: report.to_dict() for kind, report in self.by_kind.items()},
        }

    def summary(self) -> str:
        """One line in percent."""
        return (
            f"{self.panoptic.all}  AP {percent(self.instance.ap)}  "
            f"mIoU {percent(self.semantic.mean)}"
        )


class _Meters:
    """The three metrics of one part of the set."""

    def __init__(self, labels: LabelSpace) -> None:
        self.panoptic = PanopticQuality(labels)
        self.semantic = MeanIoU(labels)
        self.instance = AveragePrecision(labels)
        self.num_images = 0
        self.seconds = 0.0

    def update(
        self, prediction: PanopticMap, truth: PanopticMap, image_id: str, seconds: float
    ) -> None:
        joint = count_joint(prediction, truth, image_id)
        self.panoptic.update(prediction, truth, image_id, joint=joint)
        self.semantic.update(prediction, truth, image_id, joint=joint)
        self.instance.update(prediction, truth, image_id, joint=joint)
        self.num_images += 1
        self.seconds += seconds

    def merge(self, other: "_Meters") -> None:
        self.panoptic.merge(other.panoptic)
        self.semantic.merge(other.semantic)
        self.instance.merge(other.instance)
        self.num_images += other.num_images
        self.seconds += other.seconds

    def report(self, by_kind: dict[str, Report] | None = None) -> Report:
        return Report(
            self.panoptic.result(),
            self.semantic.result(),
            self.instance.result(),
            self.num_images,
            self.seconds,
            by_kind or {},
        )


def evaluate(
    predictor: Predictor,
    dataset: PanopticDataset,
    *,
    limit: int = 0,
    progress: Progress | None = None,
    kinds: Mapping[str, str] | None = None,
    on_prediction: Callable[[Sample, Prediction], None] | None = None,
) -> Report:
    """Predict every image of a data set and compare with its truth.

    Args:
        predictor: see `predict.load`.
        dataset: with labels, of the classes the predictor knows.
        limit: use at most this many images, spread evenly over the set; 0: all.
        progress: shows how far it is.
        kinds: image id -> kind of image; results are then reported for each kind, too.
        on_prediction: called with each sample and its prediction, to save or draw them.

    Raises:
        ValueError: if `limit` is negative, the classes differ, an image has no truth or no kind,
            or a file of the data set is damaged.
    """
    if limit < 0:
        raise ValueError(f"limit must be 0 (all images) or more, got {limit}.")
    check_same_classes(predictor.labels, dataset.labels)
    count = min(limit, len(dataset)) if limit else len(dataset)
    task = progress.add_task("evaluating", total=count) if progress else None
    parts: dict[str, _Meters] = {}
    for number in range(count):
        sample = dataset[number * len(dataset) // count]
        if sample.panoptic is None:
            raise ValueError(
                f"Image {sample.image_id!r} has no labels, evaluation compares with them. Leave "
                "it out of the split."
            )
        started = time.perf_counter()
        prediction = predictor.predict(sample.image)
        seconds = time.perf_counter() - started
        kind = _kind(kinds, sample.image_id)
        meters = parts.setdefault(kind, _Meters(predictor.labels))
        meters.update(prediction.panoptic, sample.panoptic, sample.image_id, seconds)
        if on_prediction is not None:
            on_prediction(sample, prediction)
        if progress is not None and task is not None:
            progress.advance(task)
    if progress is not None and task is not None:
        progress.remove_task(task)
    whole = _Meters(predictor.labels)
    for kind in sorted(parts):
        whole.merge(parts[kind])
    return whole.report({k: parts[k].report() for k in sorted(parts)} if kinds else None)


def check_same_classes(known: LabelSpace, found: LabelSpace) -> None:
    """Refuse a data set with other classes than the weights'.

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
        f"The weights know {len(ours)} classes ({known.name!r}), the data has {len(theirs)} "
        f"({found.name!r}); class {place} is {_class(ours, place)} there and "
        f"{_class(theirs, place)} here. Use weights trained on these classes."
    )


def tables(report: Report) -> list[Table]:
    """The report for a terminal, in percent: an overview, then by kind of image, then by class."""
    overview = Table(title=f"{report.num_images} images", title_justify="left")
    overview.add_column("")
    for name in ("PQ", "SQ", "RQ", "AP", "AP50", "mIoU"):
        overview.add_column(name, justify="right")
    quality = report.panoptic
    parts = (("all", quality.all), ("things", quality.things), ("stuff", quality.stuff))
    for name, mean in parts:
        cells = [percent(mean.pq), percent(mean.sq), percent(mean.rq), "", "", ""]
        if name == "all":
            cells[5] = percent(report.semantic.mean)
        if name == "things":
            cells[3:5] = percent(report.instance.ap), percent(report.instance.ap50)
        overview.add_row(name, *cells)
    kinds = [_kind_table(report)] if report.by_kind else []
    return [overview, *kinds, _class_table(report)]


def percent(value: float | None) -> str:
    """Two digits after the point, a dash for what does not exist."""
    return "-" if value is None else f"{100 * value:.2f}"


def _kind_table(report: Report) -> Table:
    table = Table(title="by kind of image", title_justify="left")
    table.add_column("kind")
    for name in ("images", "PQ", "PQ things", "PQ stuff", "AP", "AP50", "mIoU"):
        table.add_column(name, justify="right")
    for kind, part in report.by_kind.items():
        quality, instance = part.panoptic, part.instance
        values = (quality.all.pq, quality.things.pq, quality.stuff.pq, instance.ap, instance.ap50)
        cells = [percent(value) for value in (*values, part.semantic.mean)]
        table.add_row(kind, str(part.num_images), *cells)
    return table


def _class_table(report: Report) -> Table:
    table = Table(title="by class", title_justify="left")
    table.add_column("class")
    for name in ("PQ", "SQ", "RQ", "found", "false", "missed", "AP", "IoU"):
        table.add_column(name, justify="right")
    things = report.instance.per_class
    for name, quality in report.panoptic.per_class.items():
        table.add_row(
            name,
            *(percent(x) for x in (quality.pq, quality.sq, quality.rq)),
            *(str(n) for n in (quality.tp, quality.fp, quality.fn)),
            percent(things[name].ap if name in things else None),
            percent(report.semantic.per_class.get(name)),
        )
    return table


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
