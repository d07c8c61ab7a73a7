"""Mean IoU of the classes, from one confusion matrix over the whole set of images.

In: one prediction and one truth per image, as panoptic maps. Out: `MeanIoUResult`. Pixels without
a true class are left out; pixels without a predicted class count as missed, as in Cityscapes'
pixel-level evaluation.
"""

from dataclasses import asdict, dataclass
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.joint import JointCounts, check_same_labels, checked_joint
from panoptic_deeplab.structures import PanopticMap


@dataclass(frozen=True)
class MeanIoUResult:
    """Numbers from 0 to 1.

    Attributes:
        mean: over the classes that truth or prediction has; None if there is no labeled pixel.
        pixel_accuracy: share of the labeled pixels whose class is right; None likewise.
        per_class: IoU by class name; None for a class that neither has.
        num_images: that were counted.
    """

    mean: float | None
    pixel_accuracy: float | None
    per_class: dict[str, float | None]
    num_images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and numbers, for JSON."""
        return asdict(self)


class MeanIoU:
    """Adds up a confusion matrix; `result` turns it into IoUs.

    Args:
        labels: classes of predictions and truths.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
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
        joint = checked_joint(prediction, truth, self.labels, image_id, joint)
        rows = self._classes_of(joint.truth_ids, truth)
        columns = self._classes_of(joint.prediction_ids, prediction)
        np.add.at(self._confusion, (rows, columns), joint.counts)
        self._num_images += 1

    def merge(self, other: "MeanIoU") -> None:
        """Add what another counter, say of another process, has counted.

        Raises:
            ValueError: if it has other classes.
        """
        check_same_labels(self.labels, other.labels)
        self._confusion += other._confusion
        self._num_images += other._num_images

    def result(self) -> MeanIoUResult:
        """IoUs of everything counted so far."""
        confusion = self.confusion
        right = np.diagonal(confusion)
        union = confusion.sum(axis=1) + confusion.sum(axis=0)[:-1] - right
        ious = [int(r) / int(u) if u else None for r, u in zip(right, union, strict=True)]
        present = [iou for iou in ious if iou is not None]
        pixels = int(confusion.sum())
        return MeanIoUResult(
            mean=fsum(present) / len(present) if present else None,
            pixel_accuracy=int(right.sum()) / pixels if pixels else None,
            per_class=dict(zip(self.labels.names, ious, strict=True)),
            num_images=self._num_images,
        )

    def _classes_of(self, ids: NDArray[np.int64], panoptic: PanopticMap) -> NDArray[np.int64]:
        """Class by segment id; K for void and for ids that are not listed."""
        classes = {s.id: s.class_id for s in panoptic.segments}
        unlabeled = self.labels.num_classes
        return np.array([classes.get(i, unlabeled) for i in ids.tolist()], np.int64)
