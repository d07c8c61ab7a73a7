"""Average precision of the things, after Cityscapes' or COCO's definition.

In: one prediction, with a score per thing, and one truth per image. Out: `AveragePrecisionResult`.
Both definitions are computed from panoptic maps, where no two instances share a pixel, so joint
pixel counts replace the masks.

Sources: the instance-level evaluation of cityscapesScripts; COCO's evaluation (pycocotools),
without its area ranges and with at most 100 instances of a class per image.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.joint import JointCounts, checked_joint
from panoptic_deeplab.structures import VOID, PanopticMap, Segment

Definition = Literal["cityscapes", "coco"]

THRESHOLDS = {"cityscapes": np.arange(0.5, 1.0, 0.05), "coco": np.linspace(0.5, 0.95, 10)}
"""IoU from 0.50 to 0.95 by 0.05, to the last bit of each official tool."""

MIN_AREA_PX = {"cityscapes": 100, "coco": 0}
"""Smaller true instances are not asked for; the default of each official tool."""

MAX_DETECTIONS = 100
"""COCO: of each class, only so many instances per image, by score."""

RECALLS = np.linspace(0, 1, 101)
"""COCO: where the precision is read."""

RIGHT, WRONG, UNCOUNTED = 1, 0, -1
"""What becomes of a predicted instance at one threshold."""


@dataclass(frozen=True)
class ClassPrecision:
    """Average precision of one class.

    Attributes:
        ap: mean over the thresholds, 0..1; None if the truth has no instance of the class.
        ap50: at an IoU of 0.5; None likewise.
        num_truths: true instances that were asked for.
    """

    ap: float | None
    ap50: float | None
    num_truths: int


@dataclass(frozen=True)
class AveragePrecisionResult:
    """All of it; numbers from 0 to 1.

    Attributes:
        ap: mean over the things the truth has; None if it has none.
        ap50: likewise at an IoU of 0.5.
        per_class: by class name, things only, in the order of the label space.
        definition: "cityscapes" or "coco".
        num_images: that were counted.
    """

    ap: float | None
    ap50: float | None
    per_class: dict[str, ClassPrecision]
    definition: Definition
    num_images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return asdict(self)


class _Outcome(NamedTuple):
    """One class in one image.

    Attributes:
        image_id: orders equal scores, so that the order of updates does not matter.
        scores: (n,) of the predicted instances, descending.
        outcomes: (T, n) int8, `RIGHT`, `WRONG` or `UNCOUNTED` at each threshold.
        num_truths: true instances asked for.
    """

    image_id: str
    scores: NDArray[np.float64]
    outcomes: NDArray[np.int8]
    num_truths: int


class _Candidate(NamedTuple):
    """A predicted instance and the true ones of its class that it meets.

    Attributes:
        area: pixels.
        score: 0 or more.
        void: pixels on void.
        meets: (place in the list of truths, common pixels).
    """

    area: int
    score: float
    void: int
    meets: list[tuple[int, int]]


class _Truth(NamedTuple):
    """A true instance: its pixels, and why finding it may not be asked for."""

    area: int
    is_crowd: bool
    is_small: bool

    @property
    def is_asked(self) -> bool:
        return not (self.is_crowd or self.is_small)


class AveragePrecision:
    """Matches instances image by image; `result` ranks them over all images.

    Args:
        labels: classes of predictions and truths; the things among them count.
        definition: "coco" also suits data with small objects; "cityscapes" takes no notice of
            true instances below 100 pixels.
        min_area_px: that limit; None: the definition's own (100 or none).

    Raises:
        ValueError: if the definition is unknown.
    """

    def __init__(
        self,
        labels: LabelSpace,
        definition: Definition = "coco",
        *,
        min_area_px: int | None = None,
    ) -> None:
        if definition not in MIN_AREA_PX:
            raise ValueError(
                f"definition must be one of {sorted(MIN_AREA_PX)}, got {definition!r}."
            )
        self.labels = labels
        self.definition = definition
        self.min_area_px = MIN_AREA_PX[definition] if min_area_px is None else min_area_px
        self._outcomes: dict[int, list[_Outcome]] = {i: [] for i in labels.thing_ids}
        self._num_images = 0

    def update(
        self,
        prediction: PanopticMap,
        truth: PanopticMap,
        image_id: str = "",
        *,
        joint: JointCounts | None = None,
    ) -> None:
        """Match one image.

        Args:
            prediction: its things need scores.
            truth: crowd regions are not asked for, and excuse predictions inside them.
            image_id: for messages, and to order equal scores.
            joint: `count_joint` of the two, if it is at hand.

        Raises:
            ValueError: if sizes differ, list and pixels of the prediction disagree, a class is
                unknown, or a predicted thing has no score.
        """
        joint = checked_joint(prediction, truth, self.labels, image_id, joint)
        match = _match_cityscapes if self.definition == "cityscapes" else _match_coco
        for class_id, outcomes in self._outcomes.items():
            predicted = [s for s in prediction.segments if s.class_id == class_id]
            true = [
                s for s in truth.segments if s.class_id == class_id and s.id in joint.truth_areas
            ]
            if not predicted and not true:
                continue
            truths = [self._truth(s, joint) for s in true]
            candidates = _candidates(predicted, true, joint, image_id)
            if self.definition == "coco":
                candidates = candidates[:MAX_DETECTIONS]
            outcomes.append(
                _Outcome(
                    image_id,
                    np.array([c.score for c in candidates]),
                    match(candidates, truths),
                    sum(t.is_asked for t in truths),
                )
            )
        self._num_images += 1

    def merge(self, other: "AveragePrecision") -> None:
        """Add what another counter, say of another process, has matched.

        Raises:
            ValueError: if it has other classes or another definition.
        """
        mine = self.labels, self.definition, self.min_area_px
        if mine != (other.labels, other.definition, other.min_area_px):
            raise ValueError(
                f"Counts of one label space and definition were expected, got "
                f"{self.labels.name!r}, {self.definition}, {self.min_area_px} px and "
                f"{other.labels.name!r}, {other.definition}, {other.min_area_px} px. "
                "Evaluate both parts alike."
            )
        for class_id, outcomes in self._outcomes.items():
            outcomes.extend(other._outcomes[class_id])
        self._num_images += other._num_images

    def result(self) -> AveragePrecisionResult:
        """Precisions of everything matched so far."""
        per_class = {
            self.labels.names[class_id]: self._rate(outcomes)
            for class_id, outcomes in self._outcomes.items()
        }
        present = [(c.ap, c.ap50) for c in per_class.values() if c.ap is not None]
        ap, ap50 = (
            (fsum(v or 0.0 for v in values) / len(present) for values in zip(*present, strict=True))
            if present
            else (None, None)
        )
        return AveragePrecisionResult(ap, ap50, per_class, self.definition, self._num_images)

    def _truth(self, segment: Segment, joint: JointCounts) -> _Truth:
        area = joint.truth_areas[segment.id]
        return _Truth(area, segment.is_crowd, area < self.min_area_px)

    def _rate(self, outcomes: Sequence[_Outcome]) -> ClassPrecision:
        num_truths = sum(o.num_truths for o in outcomes)
        if not num_truths:
            return ClassPrecision(None, None, 0)
        ordered = sorted(outcomes, key=lambda o: o.image_id)
        scores = np.concatenate([o.scores for o in ordered])
        results = np.concatenate([o.outcomes for o in ordered], axis=1)  # (T, n)
        rate = _rate_cityscapes if self.definition == "cityscapes" else _rate_coco
        by_threshold = [
            rate(scores[row != UNCOUNTED], row[row != UNCOUNTED] == RIGHT, num_truths)
            for row in results
        ]
        return ClassPrecision(fsum(by_threshold) / len(by_threshold), by_threshold[0], num_truths)


def _candidates(
    predicted: Sequence[Segment], true: Sequence[Segment], joint: JointCounts, image_id: str
) -> list[_Candidate]:
    """Gather what matching needs, the best score first, equal ones in list order."""
    candidates = []
    for segment in predicted:
        if segment.score is None:
            raise ValueError(
                f"Image {image_id!r}: average precision needs a score for every predicted thing, "
                f"segment {segment.id} has none. `group_outputs` sets them."
            )
        common = ((i, joint.pairs.get((t.id, segment.id), 0)) for i, t in enumerate(true))
        candidates.append(
            _Candidate(
                joint.prediction_areas[segment.id],
                segment.score,
                joint.pairs.get((VOID, segment.id), 0),
                [(i, pixels) for i, pixels in common if pixels],
            )
        )
    return sorted(candidates, key=lambda c: -c.score)


def _iou(candidate: _Candidate, truth: _Truth, pixels: int) -> float:
    return pixels / (candidate.area + truth.area - pixels)


def _match_cityscapes(
    candidates: Sequence[_Candidate], truths: Sequence[_Truth]
) -> NDArray[np.int8]:
    """Match by IoU above the threshold; of several for one truth the best score is right.

    A prediction without a match is not counted if the share of its pixels on void, crowd and too
    small instances exceeds the threshold.
    """
    thresholds = THRESHOLDS["cityscapes"].tolist()
    outcomes = np.zeros((len(thresholds), len(candidates)), np.int8)
    for row, threshold in zip(outcomes, thresholds, strict=True):
        taken: set[int] = set()
        for n, candidate in enumerate(candidates):
            matched = [i for i, px in candidate.meets if _iou(candidate, truths[i], px) > threshold]
            asked = [i for i in matched if truths[i].is_asked]
            if asked:  # at most one: two instances cannot both share half of a third
                row[n] = WRONG if asked[0] in taken else RIGHT
                taken.update(asked)
            elif matched or _excused_share(candidate, truths) > threshold:
                row[n] = UNCOUNTED
    return outcomes


def _excused_share(candidate: _Candidate, truths: Sequence[_Truth]) -> float:
    excused = candidate.void
    for i, pixels in candidate.meets:
        # A small crowd counts twice, as in the official tool.
        excused += pixels * (truths[i].is_crowd + truths[i].is_small)
    return excused / candidate.area


def _match_coco(candidates: Sequence[_Candidate], truths: Sequence[_Truth]) -> NDArray[np.int8]:
    """Let each prediction, best score first, take the truth of highest IoU that is still free.

    Crowd regions may be taken often, with the share of the prediction inside as IoU; those
    predictions, and those that take a too small instance, are not counted.
    """
    thresholds = THRESHOLDS["coco"].tolist()
    outcomes = np.zeros((len(thresholds), len(candidates)), np.int8)
    # Truths that are asked for come first: one of them wins over any that is not.
    order = sorted(range(len(truths)), key=lambda i: not truths[i].is_asked)
    place = {i: n for n, i in enumerate(order)}
    for row, threshold in zip(outcomes, thresholds, strict=True):
        taken: set[int] = set()
        for n, candidate in enumerate(candidates):
            best, chosen = threshold, None
            for i, pixels in sorted(candidate.meets, key=lambda meeting: place[meeting[0]]):
                truth = truths[i]
                if i in taken and not truth.is_crowd:
                    continue
                if chosen is not None and truths[chosen].is_asked and not truth.is_asked:
                    break
                iou = pixels / candidate.area if truth.is_crowd else _iou(candidate, truth, pixels)
                if iou >= best:
                    best, chosen = iou, i
            if chosen is not None:
                taken.add(chosen)
                row[n] = RIGHT if truths[chosen].is_asked else UNCOUNTED
    return outcomes


def _rate_cityscapes(
    scores: NDArray[np.float64], right: NDArray[np.bool_], num_truths: int
) -> float:
    """Integrate precision over recall, both read at every score that occurs.

    Each precision counts for half the way from the recall before to the recall behind it; the
    curve ends in the point (recall 0, precision 1).
    """
    if not len(scores):
        return 0.0
    order = np.argsort(scores, kind="stable")
    _, first = np.unique(scores[order], return_index=True)
    hits = np.cumsum(right[order][::-1])[::-1][first]  # of this score and above
    counted = len(scores) - first
    precision = np.append(hits / counted, 1.0)
    recall = np.append(hits / num_truths, 0.0)
    widths = np.convolve(
        np.concatenate((recall[:1], recall, [0.0])), [-0.5, 0.0, 0.5], mode="valid"
    )
    return float(precision @ widths)


def _rate_coco(scores: NDArray[np.float64], right: NDArray[np.bool_], num_truths: int) -> float:
    """Average the precision at 101 recalls, each the best at this or a higher recall."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    recall = hits / num_truths
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, RECALLS, side="left")].mean())
