"""Mean IoU of the classes, from one confusion matrix over the whole set of images, and iIoU.

In: one prediction and one truth per image, as panoptic maps. Out: `MeanIoUResult`. Pixels without
a true class are left out; pixels without a predicted class count as missed, as in Cityscapes'
pixel-level evaluation, whose iIoU weighs each true pixel of a thing by its class's average size
over its instance's size, so that small instances count as much as large ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts, count_image
from panoptic_deeplab.metrics.joint import JointCounts, check_same_labels
from panoptic_deeplab.structures import PanopticMap, Segment


@dataclass(frozen=True)
class MeanIoUResult:
    """Numbers from 0 to 1.

    Attributes:
        mean: over the classes that truth or prediction has; None if there is no labeled pixel.
        pixel_accuracy: share of the labeled pixels whose class is right; None likewise.
        per_class: IoU by class name; None for a class that neither has.
        num_images: that were counted.
        instance_mean: mean iIoU over the things that occur; None if none does.
        instance_per_class: iIoU by class name, things only; None for one that does not occur.
    """

    mean: float | None
    pixel_accuracy: float | None
    per_class: dict[str, float | None]
    num_images: int
    instance_mean: float | None = None
    instance_per_class: dict[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return asdict(self)


CITYSCAPES_SIZES_PX = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
"""Average area of an instance, by class; cityscapesScripts, evalPixelLevelSemanticLabeling."""


class MeanIoU:
    """Adds up a confusion matrix; `result` turns it into IoUs.

    Args:
        labels: classes of predictions and truths.
        average_sizes_px: class name -> area of an average instance, for iIoU; None: those of
            Cityscapes if all things are its own, else the averages over the truth.
    """

    def __init__(
        self, labels: LabelSpace, *, average_sizes_px: Mapping[str, float] | None = None
    ) -> None:
        self.labels = labels
        things = {labels.names[i] for i in labels.thing_ids}
        known = CITYSCAPES_SIZES_PX if things == set(CITYSCAPES_SIZES_PX) else {}
        self._sizes_px = dict(known if average_sizes_px is None else average_sizes_px)
        # By thing class: (right pixels, all pixels) of each true instance.
        self._instances: dict[int, list[tuple[int, int]]] = {i: [] for i in labels.thing_ids}
        self._confusion = np.zeros((labels.num_classes + 1, labels.num_classes + 1), np.int64)
        self._num_images = 0

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K + 1) pixels by true and predicted class; the last column has no prediction."""
        return self._confusion[: self.labels.num_classes].copy()

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
            prediction: its segments' classes are compared with the truth's.
            truth: crowd regions count with their class.
            image_id: for messages.
            joint: `count_joint` of the two, if it is at hand.

        Raises:
            ValueError: if sizes differ, list and pixels of the prediction disagree, or a class
                is unknown.
        """
        self.add(count_image(prediction, truth, self.labels, image_id, joint=joint))

    def add(self, counts: ImageCounts) -> None:
        """Add one image that has been counted; see `count_image`."""
        joint = counts.joint
        rows = self._classes_of(joint.truth_ids, counts.truth)
        columns = self._classes_of(joint.prediction_ids, counts.prediction)
        np.add.at(self._confusion, (rows, columns), joint.counts)
        self._num_images += 1
        right = dict.fromkeys(joint.truth_areas, 0)
        is_right = rows == columns
        for number, pixels in zip(
            joint.truth_ids[is_right].tolist(), joint.counts[is_right].tolist(), strict=True
        ):
            right[number] += pixels
        for segment in counts.truth:
            is_counted = segment.class_id in self._instances and not segment.is_crowd
            if is_counted and segment.id in right:
                pair = right[segment.id], joint.truth_areas[segment.id]
                self._instances[segment.class_id].append(pair)

    def merge(self, other: "MeanIoU") -> None:
        """Add what another counter, say of another process, has counted.

        Raises:
            ValueError: if it has other classes.
        """
        check_same_labels(self.labels, other.labels)
        self._confusion += other._confusion
        for class_id, instances in self._instances.items():
            instances.extend(other._instances[class_id])
        self._num_images += other._num_images

    def result(self) -> MeanIoUResult:
        """IoUs of everything counted so far."""
        confusion = self.confusion
        right = np.diagonal(confusion)
        union = confusion.sum(axis=1) + confusion.sum(axis=0)[:-1] - right
        ious = [int(r) / int(u) if u else None for r, u in zip(right, union, strict=True)]
        present = [iou for iou in ious if iou is not None]
        pixels = int(confusion.sum())
        by_thing = {self.labels.names[i]: self._instance_iou(i) for i in self._instances}
        things = [iou for iou in by_thing.values() if iou is not None]
        return MeanIoUResult(
            mean=fsum(present) / len(present) if present else None,
            pixel_accuracy=int(right.sum()) / pixels if pixels else None,
            per_class=dict(zip(self.labels.names, ious, strict=True)),
            num_images=self._num_images,
            instance_mean=fsum(things) / len(things) if things else None,
            instance_per_class=by_thing,
        )

    def _instance_iou(self, class_id: int) -> float | None:
        """IIoU of a class: right and missed pixels weighed by instance, false ones as they are."""
        instances = self._instances[class_id]
        own_average = sum(area for _, area in instances) / max(len(instances), 1)
        average = self._sizes_px.get(self.labels.names[class_id], own_average)
        right = fsum(average * (pixels / area) for pixels, area in instances)
        missed = fsum(average * ((area - pixels) / area) for pixels, area in instances)
        column = self.confusion[:, class_id]
        false = int(column.sum() - column[class_id])
        whole = right + false + missed
        return right / whole if whole else None

    def _classes_of(self, ids: NDArray[np.int64], segments: Sequence[Segment]) -> NDArray[np.int64]:
        """Class by segment id; K for void and for ids that are not listed."""
        classes = {s.id: s.class_id for s in segments}
        unlabeled = self.labels.num_classes
        return np.array([classes.get(i, unlabeled) for i in ids.tolist()], np.int64)
