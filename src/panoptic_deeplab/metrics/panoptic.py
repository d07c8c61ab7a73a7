"""Panoptic quality: PQ, SQ and RQ by class, over things, over stuff and over all.

In: one prediction and one truth per image. Out: `PanopticQualityResult`. The rules, down to void,
crowd and the order of comparisons, are those of the public evaluation code (panopticapi).

Paper: arXiv:1801.00868, section 4.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts, count_image
from panoptic_deeplab.metrics.joint import JointCounts, check_same_labels
from panoptic_deeplab.metrics.matching import Matching, match_image
from panoptic_deeplab.structures import VOID, PanopticMap

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassQuality:
    """Quality of one class over a set of images.

    Attributes:
        pq: panoptic quality, 0..1; None for a class that neither truth nor prediction has.
        sq: mean IoU of the matched segments, 0 without any; None as for `pq`.
        rq: F1 of the matches; None as for `pq`.
        tp: matched segments.
        fp: predicted segments without a match.
        fn: true segments without a match.
    """

    pq: float | None
    sq: float | None
    rq: float | None
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class MeanQuality:
    """Means over the classes that occur.

    Attributes:
        pq: 0..1, None if no class occurs.
        sq: as for `pq`.
        rq: as for `pq`.
        num_classes: that occur.
    """

    pq: float | None
    sq: float | None
    rq: float | None
    num_classes: int

    def __str__(self) -> str:
        """One line in percent, "no segments" if there is nothing to average."""
        if self.pq is None or self.sq is None or self.rq is None:
            return "no segments"
        return f"PQ {100 * self.pq:.2f}  SQ {100 * self.sq:.2f}  RQ {100 * self.rq:.2f}"


@dataclass(frozen=True)
class PanopticQualityResult:
    """All of it; numbers from 0 to 1.

    Attributes:
        all: mean over all classes that occur.
        things: over the things among them.
        stuff: over the stuff among them.
        per_class: by class name, in the order of the label space.
        num_images: that were counted.
    """

    all: MeanQuality
    things: MeanQuality
    stuff: MeanQuality
    per_class: dict[str, ClassQuality]
    num_images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return asdict(self)


@dataclass
class _ClassCounts:
    """What has been counted for one class.

    The IoUs are kept one by one: `fsum` rounds once, so neither the order of the images nor how
    they were split over processes can change a bit of the result.
    """

    ious: list[float] = field(default_factory=list)
    fp: int = 0
    fn: int = 0


class PanopticQuality:
    """Counts matches image by image; `result` turns them into qualities.

    Args:
        labels: classes of predictions and truths.

    Example:
        >>> import numpy as np
        >>> from panoptic_deeplab.labels import ClassInfo
        >>> labels = LabelSpace("toy", (ClassInfo("road", 0, False, (0, 0, 0)),))
        >>> truth = PanopticMap(np.ones((2, 2), np.int32), (Segment(1, 0, 4),))
        >>> quality = PanopticQuality(labels)
        >>> quality.update(truth, truth)
        >>> quality.result().all.pq
        1.0
    """

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
        self._counts = [_ClassCounts() for _ in labels.classes]
        self._num_images = 0

    def update(
        self,
        prediction: PanopticMap,
        truth: PanopticMap,
        image_id: str = "",
        *,
        joint: JointCounts | None = None,
    ) -> None:
        """Count one image.

        Args:
            prediction: its areas are counted, not read from its list.
            truth: the same (Deviation 14).
            image_id: for messages.
            joint: `count_joint` of the two, if it is at hand.

        Raises:
            ValueError: if sizes differ, list and pixels of the prediction disagree, or a class
                is unknown.
        """
        self.add(count_image(prediction, truth, self.labels, image_id, joint=joint))

    def add(self, counts: ImageCounts, matching: Matching | None = None) -> None:
        """Add one image that has been counted.

        Args:
            counts: see `count_image`.
            matching: `match_image` of them, if it is at hand.
        """
        _warn_about_areas(counts)
        matching = matching or match_image(counts)
        for truth, _, iou in matching.found:
            self._counts[truth.class_id].ious.append(iou)
        for segment in matching.missed:
            self._counts[segment.class_id].fn += 1
        for segment in matching.false:
            self._counts[segment.class_id].fp += 1
        self._num_images += 1

    def merge(self, other: "PanopticQuality") -> None:
        """Add what another counter, say of another process, has counted.

        Raises:
            ValueError: if it has other classes.
        """
        check_same_labels(self.labels, other.labels)
        for mine, theirs in zip(self._counts, other._counts, strict=True):
            mine.ious.extend(theirs.ious)
            mine.fp += theirs.fp
            mine.fn += theirs.fn
        self._num_images += other._num_images

    def result(self) -> PanopticQualityResult:
        """Qualities of everything counted so far."""
        per_class = [rate_class(c.ious, c.fp, c.fn) for c in self._counts]
        things = [per_class[i] for i in self.labels.thing_ids]
        stuff = [per_class[i] for i in self.labels.stuff_ids]
        return PanopticQualityResult(
            all=mean_quality(per_class),
            things=mean_quality(things),
            stuff=mean_quality(stuff),
            per_class=dict(zip(self.labels.names, per_class, strict=True)),
            num_images=self._num_images,
        )


def _warn_about_areas(counts: ImageCounts) -> None:
    areas = counts.joint.truth_areas
    for segment in counts.truth:
        counted = areas.get(segment.id, 0)
        if counted != segment.area_px:
            log.warning(
                "Image %r: true segment %d is listed with %d pixels, its map has %d; "
                "the map's are used.",
                counts.image_id,
                segment.id,
                segment.area_px,
                counted,
            )
    for number in sorted(set(areas) - {s.id for s in counts.truth} - {VOID}):
        log.warning(
            "Image %r: segment %d of the true map is not listed; predictions there count as wrong.",
            counts.image_id,
            number,
        )


def rate_image(matching: Matching) -> float | None:
    """PQ of one image on its own, over the classes it has; None for one without segments."""
    by_class: dict[int, tuple[list[float], list[int]]] = {}
    for truth, _, iou in matching.found:
        by_class.setdefault(truth.class_id, ([], [0, 0]))[0].append(iou)
    for place, segments in enumerate((matching.false, matching.missed)):
        for segment in segments:
            by_class.setdefault(segment.class_id, ([], [0, 0]))[1][place] += 1
    return mean_quality([rate_class(ious, *errors) for ious, errors in by_class.values()]).pq


def rate_class(ious: Sequence[float], fp: int, fn: int) -> ClassQuality:
    """Quality of a class from the IoUs of its matches and the numbers of false and missed ones."""
    tp = len(ious)
    if tp + fp + fn == 0:
        return ClassQuality(None, None, None, 0, 0, 0)
    iou_sum = fsum(ious)
    size = tp + 0.5 * fp + 0.5 * fn
    return ClassQuality(iou_sum / size, iou_sum / tp if tp else 0.0, tp / size, tp, fp, fn)


def mean_quality(classes: Sequence[ClassQuality]) -> MeanQuality:
    """Mean over the classes that occur."""
    present = [(c.pq, c.sq, c.rq) for c in classes if c.pq is not None]
    if not present:
        return MeanQuality(None, None, None, 0)
    pq, sq, rq = (
        fsum(v or 0.0 for v in values) / len(present) for values in zip(*present, strict=True)
    )
    return MeanQuality(pq, sq, rq, len(present))
