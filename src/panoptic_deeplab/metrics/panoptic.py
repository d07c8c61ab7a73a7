"""Panoptic quality: PQ, SQ and RQ by class, over things, over stuff and over all.

In: one prediction and one truth per image. Out: `PanopticQualityResult`. The rules, down to void,
crowd and the order of comparisons, are those of the public evaluation code (panopticapi).

Paper: arXiv:1801.00868, section 4.
"""

import logging
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.joint import JointCounts, check_same_labels, checked_joint
from panoptic_deeplab.structures import VOID, PanopticMap, Segment

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
        joint = checked_joint(prediction, truth, self.labels, image_id, joint)
        _warn_about_areas(truth, joint, image_id)
        matches = match_segments(prediction, truth, joint)
        matched_truth = {t for t, _ in matches}
        matched_prediction = {p for _, p in matches}
        class_of = {s.id: s.class_id for s in truth.segments}
        for (truth_id, _), iou in matches.items():
            self._counts[class_of[truth_id]].ious.append(iou)
        for segment in truth.segments:
            if not segment.is_crowd and segment.id not in matched_truth:
                self._counts[segment.class_id].fn += 1
        crowds = {s.class_id: s.id for s in truth.segments if s.is_crowd}  # the last one stays
        for segment in prediction.segments:
            if segment.id not in matched_prediction and not _is_excused(segment, crowds, joint):
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
        per_class = [_quality(counts) for counts in self._counts]
        things = [per_class[i] for i in self.labels.thing_ids]
        stuff = [per_class[i] for i in self.labels.stuff_ids]
        return PanopticQualityResult(
            all=_mean(per_class),
            things=_mean(things),
            stuff=_mean(stuff),
            per_class=dict(zip(self.labels.names, per_class, strict=True)),
            num_images=self._num_images,
        )


def match_segments(
    prediction: PanopticMap, truth: PanopticMap, joint: JointCounts
) -> dict[tuple[int, int], float]:
    """Find the pairs of segments that are the same object.

    Returns:
        IoU by (truth id, prediction id) of every pair of one class with an IoU above 0.5; no
        segment can be in two. Pixels of the prediction where the truth is void do not count.
    """
    true_class = {s.id: s.class_id for s in truth.segments if not s.is_crowd}
    predicted_class = {s.id: s.class_id for s in prediction.segments}
    matches = {}
    for (truth_id, prediction_id), pixels in joint.pairs.items():
        class_id = true_class.get(truth_id)
        if class_id is None or predicted_class.get(prediction_id) != class_id:
            continue
        union = (
            joint.prediction_areas[prediction_id]
            + joint.truth_areas[truth_id]
            - pixels
            - joint.pairs.get((VOID, prediction_id), 0)
        )
        if pixels / union > 0.5:
            matches[truth_id, prediction_id] = pixels / union
    return matches


def _is_excused(segment: Segment, crowds: dict[int, int], joint: JointCounts) -> bool:
    """Whether more than half of a prediction lies where nothing can be held against it."""
    pixels = joint.pairs.get((VOID, segment.id), 0)
    if segment.class_id in crowds:
        pixels += joint.pairs.get((crowds[segment.class_id], segment.id), 0)
    return pixels / joint.prediction_areas[segment.id] > 0.5


def _warn_about_areas(truth: PanopticMap, joint: JointCounts, image_id: str) -> None:
    for segment in truth.segments:
        counted = joint.truth_areas.get(segment.id, 0)
        if counted != segment.area_px:
            log.warning(
                "Image %r: true segment %d is listed with %d pixels, its map has %d; "
                "the map's are used.",
                image_id,
                segment.id,
                segment.area_px,
                counted,
            )
    for number in sorted(set(joint.truth_areas) - {s.id for s in truth.segments} - {VOID}):
        log.warning(
            "Image %r: segment %d of the true map is not listed; predictions there count as wrong.",
            image_id,
            number,
        )


def _quality(counts: _ClassCounts) -> ClassQuality:
    tp, fp, fn = len(counts.ious), counts.fp, counts.fn
    if tp + fp + fn == 0:
        return ClassQuality(None, None, None, 0, 0, 0)
    iou_sum = fsum(counts.ious)
    size = tp + 0.5 * fp + 0.5 * fn
    return ClassQuality(iou_sum / size, iou_sum / tp if tp else 0.0, tp / size, tp, fp, fn)


def _mean(classes: list[ClassQuality]) -> MeanQuality:
    present = [(c.pq, c.sq, c.rq) for c in classes if c.pq is not None]
    if not present:
        return MeanQuality(None, None, None, 0)
    pq, sq, rq = (
        fsum(v or 0.0 for v in values) / len(present) for values in zip(*present, strict=True)
    )
    return MeanQuality(pq, sq, rq, len(present))
