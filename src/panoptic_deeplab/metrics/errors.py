"""What went wrong with each class: segments that count as false or missed, sorted by how.

In: counts and matching of single images. Out: `ErrorCount` per class. Every missed true segment
and every false predicted one (as panoptic quality counts them) gets exactly one kind, the first
of this list that fits:

    wrong class   a segment of another class lies on it with an IoU above 0.5
    merged        missed: a prediction of its class covers more than half of it and of another
                  true segment of the class; false: it is such a prediction
    split         missed: two predictions of its class or more lie mostly in it, and cover more
                  than half of it together; false: it lies mostly in a true segment of its class
    poor mask     the best IoU with a segment of its class is 0.1 to 0.5
    missed, invented   nothing of its class is there

"Mostly" is more than half of its pixels. Crowd regions and void take no part.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.metrics.joint import check_same_labels
from panoptic_deeplab.metrics.matching import Matching, match_image, pair_iou
from panoptic_deeplab.structures import Segment

KINDS = ("missed", "invented", "merged", "split", "wrong class", "poor mask")

POOR_IOU = 0.1
"""Below it two segments have nothing to do with each other (as in TIDE, arXiv:2008.08115)."""


@dataclass(frozen=True)
class ErrorCount:
    """Errors of one class.

    Attributes:
        missed: kind -> true segments of the class without a match.
        false: kind -> predicted segments of the class without a match.
        taken_for: other class's name -> how many of its true segments were taken for this class.
        cost: kind -> by how much the class's PQ would rise if these errors were not counted, 0..1.
    """

    missed: dict[str, int]
    false: dict[str, int]
    taken_for: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    def of(self, kind: str) -> int:
        """Errors of a kind, missed and false."""
        return self.missed.get(kind, 0) + self.false.get(kind, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        parts = {"missed": self.missed, "false": self.false, "taken_for": self.taken_for}
        return {name: dict(part) for name, part in parts.items()} | {"cost": dict(self.cost)}


class ErrorCounts:
    """Sorts the errors of images; `result` sums them up by class.

    Args:
        labels: classes of predictions and truths.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
        self._missed = [Counter[str]() for _ in labels.classes]
        self._false = [Counter[str]() for _ in labels.classes]
        self._taken_for = [Counter[int]() for _ in labels.classes]
        self._ious: list[list[float]] = [[] for _ in labels.classes]

    def add(self, counts: ImageCounts, matching: Matching | None = None) -> None:
        """Add one image that has been counted.

        Args:
            counts: see `count_image`.
            matching: `match_image` of them, if it is at hand.
        """
        matching = matching or match_image(counts)
        scene = _Scene.of(counts)
        for truth, _, iou in matching.found:
            self._ious[truth.class_id].append(iou)
        for segment in matching.missed:
            self._missed[segment.class_id][scene.why_missed(segment)] += 1
        for segment in matching.false:
            kind, other = scene.why_false(segment)
            self._false[segment.class_id][kind] += 1
            if other is not None:
                self._taken_for[segment.class_id][other] += 1

    def merge(self, other: "ErrorCounts") -> None:
        """Add what another, say of another process, has sorted.

        Raises:
            ValueError: if it has other classes.
        """
        check_same_labels(self.labels, other.labels)
        for class_id in range(self.labels.num_classes):
            self._missed[class_id] += other._missed[class_id]
            self._false[class_id] += other._false[class_id]
            self._taken_for[class_id] += other._taken_for[class_id]
            self._ious[class_id] += other._ious[class_id]

    def result(self) -> dict[str, ErrorCount]:
        """By class name, in the order of the label space."""
        names = self.labels.names
        result = {}
        for class_id, name in enumerate(names):
            missed = {k: self._missed[class_id][k] for k in KINDS if k != "invented"}
            false = {k: self._false[class_id][k] for k in KINDS if k != "missed"}
            taken = {names[i]: n for i, n in self._taken_for[class_id].most_common()}
            cost = _costs(fsum(self._ious[class_id]), len(self._ious[class_id]), missed, false)
            result[name] = ErrorCount(missed, false, taken, cost)
        return result


def _costs(
    iou_sum: float, found: int, missed: Mapping[str, int], false: Mapping[str, int]
) -> dict[str, float]:
    whole = found + (sum(missed.values()) + sum(false.values())) / 2
    costs = {}
    for kind in KINDS:
        left = whole - (missed.get(kind, 0) + false.get(kind, 0)) / 2
        # A class that is nothing but these errors has no quality without them either.
        costs[kind] = iou_sum / left - iou_sum / whole if found else 0.0
    return costs


@dataclass(frozen=True)
class _Scene:
    """One image's segments and whom they meet."""

    counts: ImageCounts
    true: dict[int, Segment]
    predicted: dict[int, Segment]
    of_truth: dict[int, list[tuple[Segment, int]]]  # predictions that meet it, and common pixels
    of_prediction: dict[int, list[tuple[Segment, int]]]

    @staticmethod
    def of(counts: ImageCounts) -> "_Scene":
        true = {s.id: s for s in counts.truth if not s.is_crowd}
        predicted = {s.id: s for s in counts.prediction}
        of_truth: dict[int, list[tuple[Segment, int]]] = {i: [] for i in true}
        of_prediction: dict[int, list[tuple[Segment, int]]] = {i: [] for i in predicted}
        for (t, p), pixels in counts.joint.pairs.items():
            if t in true and p in predicted:
                of_truth[t].append((predicted[p], pixels))
                of_prediction[p].append((true[t], pixels))
        return _Scene(counts, true, predicted, of_truth, of_prediction)

    def why_missed(self, truth: Segment) -> str:
        """Kind of error of a true segment without a match."""
        meets = self.of_truth[truth.id]
        own = [(p, pixels) for p, pixels in meets if p.class_id == truth.class_id]
        others = [p for p, _ in meets if p.class_id != truth.class_id]
        area = self.counts.joint.truth_areas.get(truth.id, 0)
        if any(self._iou(truth, p) > 0.5 for p in others):
            return "wrong class"
        if any(pixels > area / 2 and len(self._covered_by(p)) > 1 for p, pixels in own):
            return "merged"
        parts = [pixels for p, pixels in own if pixels > self._area(p) / 2]
        if len(parts) > 1 and sum(parts) > area / 2:
            return "split"
        if any(self._iou(truth, p) >= POOR_IOU for p, _ in own):
            return "poor mask"
        return "missed"

    def why_false(self, prediction: Segment) -> tuple[str, int | None]:
        """Kind of error of a predicted segment without a match; of a wrong class, the right one."""
        meets = self.of_prediction[prediction.id]
        own = [(t, pixels) for t, pixels in meets if t.class_id == prediction.class_id]
        for truth in (t for t, _ in meets if t.class_id != prediction.class_id):
            if self._iou(truth, prediction) > 0.5:
                return "wrong class", truth.class_id
        if len(self._covered_by(prediction)) > 1:
            return "merged", None
        best = max((self._iou(t, prediction) for t, _ in own), default=0.0)
        inside = [t for t, pixels in own if pixels > self._area(prediction) / 2]
        if inside and self._has_other_parts(inside[0], prediction):
            return "split", None
        return ("poor mask" if best >= POOR_IOU else "invented"), None

    def _has_other_parts(self, truth: Segment, prediction: Segment) -> bool:
        """Whether another prediction of the class lies mostly in a true segment."""
        return any(
            p.id != prediction.id and p.class_id == truth.class_id and pixels > self._area(p) / 2
            for p, pixels in self.of_truth[truth.id]
        )

    def _covered_by(self, prediction: Segment) -> list[Segment]:
        """True segments of its class of which a prediction covers more than half."""
        areas = self.counts.joint.truth_areas
        return [
            t
            for t, pixels in self.of_prediction[prediction.id]
            if t.class_id == prediction.class_id and pixels > areas[t.id] / 2
        ]

    def _area(self, prediction: Segment) -> int:
        return self.counts.joint.prediction_areas[prediction.id]

    def _iou(self, truth: Segment, prediction: Segment) -> float:
        return pair_iou(self.counts.joint, truth.id, prediction.id)
