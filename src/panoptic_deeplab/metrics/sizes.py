"""Panoptic quality of the things by their size: are the small ones what is missed?

In: counts and matching of single images. Out: `SizeQualityResult`. A match and a missed segment
count at the size of the truth, a false one at its own; sizes are COCO's (`instance.SIZES_PX`).
"""

from dataclasses import asdict, dataclass
from typing import Any

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.metrics.instance import SIZES_PX
from panoptic_deeplab.metrics.joint import check_same_labels
from panoptic_deeplab.metrics.matching import Matching, match_image
from panoptic_deeplab.metrics.panoptic import ClassQuality, MeanQuality, mean_quality, rate_class


@dataclass(frozen=True)
class SizeQualityResult:
    """Numbers from 0 to 1.

    Attributes:
        means: size -> mean over the thing classes that occur with it.
        per_class: class name -> size -> quality.
    """

    means: dict[str, MeanQuality]
    per_class: dict[str, dict[str, ClassQuality]]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return asdict(self)


class SizeQuality:
    """Counts matches by class and size.

    Args:
        labels: classes; the things among them count.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
        self._ious: dict[tuple[int, str], list[float]] = {
            (i, size): [] for i in labels.thing_ids for size in SIZES_PX
        }
        self._errors = {key: [0, 0] for key in self._ious}  # false, missed

    def add(self, counts: ImageCounts, matching: Matching | None = None) -> None:
        """Add one image that has been counted; see `PanopticQuality.add`."""
        matching = matching or match_image(counts)
        things = self.labels.thing_ids
        true, predicted = counts.joint.truth_areas, counts.joint.prediction_areas
        for truth, _, iou in matching.found:
            if truth.class_id in things:
                self._ious[truth.class_id, size_of(true[truth.id])].append(iou)
        for segment in matching.false:
            if segment.class_id in things:
                self._errors[segment.class_id, size_of(predicted[segment.id])][0] += 1
        for segment in matching.missed:
            if segment.class_id in things:
                self._errors[segment.class_id, size_of(true.get(segment.id, 0))][1] += 1

    def merge(self, other: "SizeQuality") -> None:
        """Add what another, say of another process, has counted.

        Raises:
            ValueError: if it has other classes.
        """
        check_same_labels(self.labels, other.labels)
        for key, ious in self._ious.items():
            ious.extend(other._ious[key])
            self._errors[key] = [
                a + b for a, b in zip(self._errors[key], other._errors[key], strict=True)
            ]

    def result(self) -> SizeQualityResult:
        """Qualities of everything counted so far."""
        names = self.labels.names
        rated = {key: rate_class(self._ious[key], *self._errors[key]) for key in self._ious}
        return SizeQualityResult(
            {s: mean_quality([rated[i, s] for i in self.labels.thing_ids]) for s in SIZES_PX},
            {names[i]: {s: rated[i, s] for s in SIZES_PX} for i in self.labels.thing_ids},
        )


def size_of(area_px: int) -> str:
    """The size of an instance.

    Example:
        >>> size_of(1024), size_of(1025), size_of(10_000)
        ('small', 'medium', 'large')
    """
    return next(size for size, (_, most) in SIZES_PX.items() if area_px <= most)
