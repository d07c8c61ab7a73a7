"""All metrics of one set of images: counts of single images in, a report out.

`Meters` adds up `ImageCounts`, wherever they were counted: here, in other processes, or long ago
and kept in a file. Every sum is one of whole numbers or is rounded once, so neither the order of
the images nor the number of processes changes a bit of the `Report`.
"""

from dataclasses import dataclass, field
from typing import Any

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics import AveragePrecision, MeanIoU, PanopticQuality
from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.metrics.errors import ErrorCount, ErrorCounts
from panoptic_deeplab.metrics.instance import AveragePrecisionResult, Definition
from panoptic_deeplab.metrics.instance_matching import Ranking
from panoptic_deeplab.metrics.matching import match_image
from panoptic_deeplab.metrics.panoptic import PanopticQualityResult, rate_image
from panoptic_deeplab.metrics.semantic import MeanIoUResult
from panoptic_deeplab.metrics.sizes import SizeQuality, SizeQualityResult

RANKINGS: dict[str, Ranking] = {
    "objectness": "objectness",
    "class": "class_probability",
    "product": "score",
}
"""Rows of the supplement's Table 2, and which number of a segment each ranks by."""


@dataclass(frozen=True)
class Report:
    """Results over a set of images; all qualities from 0 to 1.

    Attributes:
        panoptic: PQ, SQ, RQ over all classes, things, stuff, and by class.
        semantic: mIoU and iIoU, and IoU by class.
        instance: AP of the things.
        num_images: that were evaluated.
        seconds: that predicting took, reading and counting not included.
        by_kind: the same for parts of the set, if it was divided.
        boundary: panoptic quality of the boundaries, if it was asked for.
        by_score: AP by way of rating instances, if all were asked for.
        errors: by class name, what went wrong with it.
        by_size: panoptic quality of the things by size.
        by_image: PQ of each image on its own, over the classes it has.
        confusion: (K, K + 1) pixels by true and predicted class, the last column without one.
    """

    panoptic: PanopticQualityResult
    semantic: MeanIoUResult
    instance: AveragePrecisionResult
    num_images: int
    seconds: float
    by_kind: dict[str, "Report"] = field(default_factory=dict)
    boundary: PanopticQualityResult | None = None
    by_score: dict[str, AveragePrecisionResult] = field(default_factory=dict)
    errors: dict[str, ErrorCount] = field(default_factory=dict)
    by_size: SizeQualityResult | None = None
    by_image: dict[str, float] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        plain: dict[str, Any] = {
            "num_images": self.num_images,
            "seconds_per_image": self.seconds / self.num_images if self.num_images else None,
            "panoptic": self.panoptic.to_dict(),
            "semantic": self.semantic.to_dict(),
            "instance": self.instance.to_dict(),
            "errors": {name: count.to_dict() for name, count in self.errors.items()},
            "by_image": dict(self.by_image),
            "confusion": self.confusion,
            "by_kind": {kind: report.to_dict() for kind, report in self.by_kind.items()},
        }
        if self.boundary is not None:
            plain["boundary"] = self.boundary.to_dict()
        if self.by_score:
            plain["by_score"] = {name: ap.to_dict() for name, ap in self.by_score.items()}
        if self.by_size is not None:
            plain["by_size"] = self.by_size.to_dict()
        return plain

    def summary(self) -> str:
        """One line in percent."""
        return (
            f"{self.panoptic.all}  AP {percent(self.instance.ap)}  "
            f"mIoU {percent(self.semantic.mean)}"
        )


@dataclass(frozen=True)
class Wanted:
    """What a report has beyond its default.

    Attributes:
        definition: of average precision.
        band_share: measure boundaries too, in bands of this width over the image's diagonal; see
            `bands.BAND_SHARES`.
        with_all_scores: rate instances in all three ways.
    """

    definition: Definition = "coco"
    band_share: float | None = None
    with_all_scores: bool = False


class Meters:
    """The metrics of one set of images.

    Args:
        labels: classes of predictions and truths.
        wanted: what to measure.
    """

    def __init__(self, labels: LabelSpace, wanted: Wanted | None = None) -> None:
        self.labels = labels
        self.wanted = wanted or Wanted()
        self.panoptic = PanopticQuality(labels)
        self.semantic = MeanIoU(labels)
        self.instance = AveragePrecision(labels, self.wanted.definition)
        self.errors = ErrorCounts(labels)
        self.sizes = SizeQuality(labels)
        self.boundary = PanopticQuality(labels) if self.wanted.band_share is not None else None
        self.by_score = (
            {
                name: AveragePrecision(labels, self.wanted.definition, rank_by=rank_by)
                for name, rank_by in RANKINGS.items()
            }
            if self.wanted.with_all_scores
            else {}
        )
        self.by_image: dict[str, float] = {}
        self.num_images = 0
        self.seconds = 0.0

    def add(self, counts: ImageCounts, seconds: float = 0.0) -> None:
        """Add one image.

        Args:
            counts: of it.
            seconds: that predicting it took.

        Raises:
            ValueError: if a predicted thing lacks a score, or boundaries are wanted and were not
                counted.
        """
        matching = match_image(counts)
        self.panoptic.add(counts, matching)
        self.semantic.add(counts)
        self.instance.add(counts)
        self.errors.add(counts, matching)
        self.sizes.add(counts, matching)
        if self.boundary is not None:
            self.boundary.add(counts, match_image(counts, "boundary"))
        for precision in self.by_score.values():
            precision.add(counts)
        quality = rate_image(matching)
        if quality is not None:
            self.by_image[counts.image_id] = quality
        self.num_images += 1
        self.seconds += seconds

    def merge(self, other: "Meters") -> None:
        """Add what another has measured.

        Raises:
            ValueError: if it has other classes or measures other things.
        """
        if self.wanted != other.wanted:
            raise ValueError(
                f"Parts that measure the same were expected, got {self.wanted} and {other.wanted}. "
                "Evaluate both parts alike."
            )
        self.panoptic.merge(other.panoptic)
        self.semantic.merge(other.semantic)
        self.instance.merge(other.instance)
        self.errors.merge(other.errors)
        self.sizes.merge(other.sizes)
        if self.boundary is not None and other.boundary is not None:
            self.boundary.merge(other.boundary)
        for name, precision in self.by_score.items():
            precision.merge(other.by_score[name])
        self.by_image |= other.by_image
        self.num_images += other.num_images
        self.seconds += other.seconds

    def report(self, by_kind: dict[str, Report] | None = None) -> Report:
        """Results of everything added so far."""
        return Report(
            self.panoptic.result(),
            self.semantic.result(),
            self.instance.result(),
            self.num_images,
            self.seconds,
            by_kind or {},
            self.boundary.result() if self.boundary is not None else None,
            {name: precision.result() for name, precision in self.by_score.items()},
            self.errors.result(),
            self.sizes.result(),
            dict(sorted(self.by_image.items())),
            self.semantic.confusion.tolist(),
        )


def percent(value: float | None) -> str:
    """Two digits after the point, a dash for what does not exist."""
    return "-" if value is None else f"{100 * value:.2f}"
