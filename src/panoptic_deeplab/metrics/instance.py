"""Average precision of the things, after Cityscapes' or COCO's definition.

In: one prediction, with a score per thing, and one truth per image. Out: `AveragePrecisionResult`.
Both definitions are computed from panoptic maps, where no two instances share a pixel, so joint
pixel counts replace the masks.

Sources: the instance-level evaluation of cityscapesScripts; COCO's evaluation (pycocotools), with
at most 100 instances of a class per image.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts, count_image
from panoptic_deeplab.metrics.instance_matching import (
    RIGHT,
    UNCOUNTED,
    WRONG,
    Ranking,
    Truth,
    gather_candidates,
    match_cityscapes,
    match_coco,
)
from panoptic_deeplab.metrics.joint import JointCounts
from panoptic_deeplab.structures import PanopticMap, Segment

Definition = Literal["cityscapes", "coco"]

MIN_AREA_PX = {"cityscapes": 100, "coco": 0}
"""Smaller true instances are not asked for; the default of each official tool."""

MAX_DETECTIONS = 100
"""COCO: of each class, only so many instances per image, by score."""

RECALLS = np.linspace(0, 1, 101)
"""COCO: where the precision is read."""

SIZES_PX: dict[str, tuple[float, float]] = {
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""COCO: area of the instances that are asked for, both ends included."""


@dataclass(frozen=True)
class ClassPrecision:
    """Average precision of one class.

    Attributes:
        ap: mean over the thresholds, 0..1; None if the truth has no instance of the class.
        ap50: at an IoU of 0.5; None likewise.
        num_truths: true instances that were asked for.
        by_size: ap of the instances of each size of `SIZES_PX`; empty with Cityscapes' definition.
    """

    ap: float | None
    ap50: float | None
    num_truths: int
    by_size: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class AveragePrecisionResult:
    """All of it; numbers from 0 to 1.

    Attributes:
        ap: mean over the things the truth has; None if it has none.
        ap50: likewise at an IoU of 0.5.
        per_class: by class name, things only, in the order of the label space.
        definition: "cityscapes" or "coco".
        num_images: that were counted.
        ap75: likewise at an IoU of 0.75; COCO's definition only.
        by_size: ap of small, medium and large instances, the mean over the things that have such.
    """

    ap: float | None
    ap50: float | None
    per_class: dict[str, ClassPrecision]
    definition: Definition
    num_images: int
    ap75: float | None = None
    by_size: dict[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return asdict(self)


class Outcome(NamedTuple):
    """One class in one image.

    Attributes:
        image_id: orders equal scores, so that the order of updates does not matter.
        scores: (n,) of the predicted instances, descending.
        outcomes: (R, T, n) int8, `RIGHT`, `WRONG` or `UNCOUNTED` for each range of areas and at
            each threshold.
        num_truths: (R,) true instances asked for.
    """

    image_id: str
    scores: NDArray[np.float64]
    outcomes: NDArray[np.int8]
    num_truths: tuple[int, ...]


class AveragePrecision:
    """Matches instances image by image; `result` ranks them over all images.

    Args:
        labels: classes of predictions and truths; the things among them count.
        definition: "coco" also suits data with small objects; "cityscapes" takes no notice of
            true instances below 100 pixels.
        min_area_px: that limit; None: the definition's own (100 or none).
        rank_by: which number of the predicted segments is their score.

    Raises:
        ValueError: if the definition is unknown.
    """

    def __init__(
        self,
        labels: LabelSpace,
        definition: Definition = "coco",
        *,
        min_area_px: int | None = None,
        rank_by: Ranking = "score",
    ) -> None:
        if definition not in MIN_AREA_PX:
            raise ValueError(
                f"definition must be one of {sorted(MIN_AREA_PX)}, got {definition!r}."
            )
        self.labels = labels
        self.definition = definition
        self.min_area_px = MIN_AREA_PX[definition] if min_area_px is None else min_area_px
        self.rank_by: Ranking = rank_by
        self._ranges = [(float(self.min_area_px), 1e10)]
        if definition == "coco":
            self._ranges += SIZES_PX.values()
        self._outcomes: dict[int, list[Outcome]] = {i: [] for i in labels.thing_ids}
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
        self.add(count_image(prediction, truth, self.labels, image_id, joint=joint))

    def add(self, counts: ImageCounts) -> None:
        """Add one image that has been counted; see `count_image`.

        Raises:
            ValueError: if a predicted thing has no score.
        """
        areas = counts.joint.truth_areas
        predicted_by_class = _by_class(counts.prediction)
        true_by_class = _by_class([s for s in counts.truth if s.id in areas])
        for class_id, outcomes in self._outcomes.items():
            predicted = predicted_by_class.get(class_id, [])
            true = true_by_class.get(class_id, [])
            if not predicted and not true:
                continue
            candidates = gather_candidates(predicted, true, counts, self.rank_by)
            truths = [
                [Truth(areas[s.id], s.is_crowd, not low <= areas[s.id] <= high) for s in true]
                for low, high in self._ranges
            ]
            if self.definition == "coco":
                candidates = candidates[:MAX_DETECTIONS]
                found = match_coco(candidates, truths)
                is_outside = np.array(
                    [[not low <= c.area <= high for c in candidates] for low, high in self._ranges],
                    bool,
                )
                found[(found == WRONG) & is_outside[:, None]] = UNCOUNTED
            else:
                found = np.stack([match_cityscapes(candidates, t) for t in truths])
            outcomes.append(
                Outcome(
                    counts.image_id,
                    np.array([c.score for c in candidates]),
                    found,
                    tuple(sum(t.is_asked for t in part) for part in truths),
                )
            )
        self._num_images += 1

    def merge(self, other: "AveragePrecision") -> None:
        """Add what another counter, say of another process, has matched.

        Raises:
            ValueError: if it has other classes or another definition.
        """
        mine = self.labels, self.definition, self.min_area_px, self.rank_by
        if mine != (other.labels, other.definition, other.min_area_px, other.rank_by):
            raise ValueError(
                f"Counts of one label space and definition were expected, got "
                f"{self.labels.name!r}, {self.definition}, {self.min_area_px} px, "
                f"{self.rank_by} and {other.labels.name!r}, {other.definition}, "
                f"{other.min_area_px} px, {other.rank_by}. Evaluate both parts alike."
            )
        for class_id, outcomes in self._outcomes.items():
            outcomes.extend(other._outcomes[class_id])
        self._num_images += other._num_images

    @property
    def outcomes(self) -> dict[str, list[Outcome]]:
        """What became of every predicted instance, by class name and image."""
        return {self.labels.names[i]: list(found) for i, found in self._outcomes.items()}

    def result(self) -> AveragePrecisionResult:
        """Precisions of everything matched so far."""
        rated = {
            self.labels.names[class_id]: self._rate_class(outcomes)
            for class_id, outcomes in self._outcomes.items()
        }
        is_coco = self.definition == "coco"
        sizes = {n: [c.by_size[n] for c, _ in rated.values()] for n in SIZES_PX} if is_coco else {}
        return AveragePrecisionResult(
            _mean([c.ap for c, _ in rated.values()]),
            _mean([c.ap50 for c, _ in rated.values()]),
            {name: precision for name, (precision, _) in rated.items()},
            self.definition,
            self._num_images,
            _mean([ap75 for _, ap75 in rated.values()]) if is_coco else None,
            {name: _mean(values) for name, values in sizes.items()},
        )

    def _rate_class(self, outcomes: Sequence[Outcome]) -> tuple[ClassPrecision, float | None]:
        """Precision of one class, and its ap at an IoU of 0.75."""
        whole, *parts = (rate_outcomes(outcomes, r, self.definition) for r in self._range_numbers)
        num_truths = sum(o.num_truths[0] for o in outcomes)
        by_size = dict(zip(SIZES_PX, map(_mean_of_thresholds, parts), strict=False))
        if whole is None:
            return ClassPrecision(None, None, 0, by_size), None
        ap = _mean_of_thresholds(whole)
        return ClassPrecision(ap, whole[0], num_truths, by_size), whole[5]

    @property
    def _range_numbers(self) -> range:
        return range(len(self._ranges))


def rate_outcomes(
    outcomes: Sequence[Outcome], area_range: int, definition: Definition
) -> list[float] | None:
    """Rank the instances of one class over all images.

    Args:
        outcomes: of the class.
        area_range: 0: all areas; else a place in `SIZES_PX`, counted from 1.
        definition: how precision is averaged.

    Returns:
        AP at each threshold; None if the truth has no such instance.
    """
    num_truths = sum(o.num_truths[area_range] for o in outcomes)
    if not num_truths:
        return None
    ordered = sorted(outcomes, key=lambda o: _place_of(o.image_id))
    scores = np.concatenate([o.scores for o in ordered])
    results = np.concatenate([o.outcomes[area_range] for o in ordered], axis=1)  # (T, n)
    rate = _rate_cityscapes if definition == "cityscapes" else _rate_coco
    return [
        rate(scores[row != UNCOUNTED], row[row != UNCOUNTED] == RIGHT, num_truths)
        for row in results
    ]


def _place_of(image_id: str) -> tuple[int, int, str]:
    """Images in the order of their numbers, as in COCO's tool, and others by name behind them."""
    is_number = image_id.isascii() and image_id.isdigit()
    return (0, int(image_id), image_id) if is_number else (1, 0, image_id)


def _mean_of_thresholds(by_threshold: Sequence[float] | None) -> float | None:
    return None if by_threshold is None else fsum(by_threshold) / len(by_threshold)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return fsum(present) / len(present) if present else None


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


def _by_class(segments: Sequence[Segment]) -> dict[int, list[Segment]]:
    found: dict[int, list[Segment]] = {}
    for segment in segments:
        found.setdefault(segment.class_id, []).append(segment)
    return found
