"""Joint pixel counts of a prediction and its truth: the one pass over the pixels of all metrics.

In: two `PanopticMap` of the same size. Out: `JointCounts`, from which panoptic quality, average
precision and mean IoU read every area and intersection they need.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap


@dataclass(frozen=True)
class JointCounts:
    """Number of pixels of every pair of segments that meet, `VOID` included.

    Attributes:
        truth_ids: (J,) ascending.
        prediction_ids: (J,), ascending within one truth id.
        counts: (J,) pixels, all above 0.
    """

    truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    counts: NDArray[np.int64]

    @cached_property
    def pairs(self) -> Mapping[tuple[int, int], int]:
        """Pixels by (truth id, prediction id), in ascending order."""
        ids = zip(self.truth_ids.tolist(), self.prediction_ids.tolist(), strict=True)
        return dict(zip(ids, self.counts.tolist(), strict=True))

    @cached_property
    def truth_areas(self) -> Mapping[int, int]:
        """Pixels by truth id."""
        return self._areas(0)

    @cached_property
    def prediction_areas(self) -> Mapping[int, int]:
        """Pixels by prediction id."""
        return self._areas(1)

    def _areas(self, side: int) -> Mapping[int, int]:
        areas: Counter[int] = Counter()
        for pair, pixels in self.pairs.items():
            areas[pair[side]] += pixels
        return areas


def count_joint(prediction: PanopticMap, truth: PanopticMap, image_id: str = "") -> JointCounts:
    """Count the pixels of every pair of segments in one pass over both maps.

    Neighboring pixels mostly belong to the same pair, so runs are counted instead of pixels.

    Raises:
        ValueError: if the sizes differ or an id is negative.
    """
    if prediction.size != truth.size:
        raise ValueError(
            f"Image {image_id!r}: prediction and truth must have the same size (height, width), "
            f"got {prediction.size} and {truth.size}. Resize the prediction to the truth's grid."
        )
    truth_ids, prediction_ids = truth.segment_map.ravel(), prediction.segment_map.ravel()
    change = (truth_ids[1:] != truth_ids[:-1]) | (prediction_ids[1:] != prediction_ids[:-1])
    starts = (
        np.concatenate(([0], np.flatnonzero(change) + 1)) if truth_ids.size else np.zeros(0, int)
    )
    keys = truth_ids[starts].astype(np.int64) << 32 | prediction_ids[starts]
    if keys.size and (keys.min() < 0 or prediction_ids[starts].min() < 0):
        raise ValueError(
            f"Image {image_id!r}: segment ids must be 0 (void) or more, got a negative one. "
            "Write void pixels as 0."
        )
    pairs, place = np.unique(keys, return_inverse=True)
    lengths = np.diff(starts, append=truth_ids.size)
    counts = np.bincount(place, weights=lengths, minlength=len(pairs))  # exact below 2**53
    return JointCounts(pairs >> 32, pairs & 0xFFFFFFFF, counts.astype(np.int64))


def checked_joint(
    prediction: PanopticMap,
    truth: PanopticMap,
    labels: LabelSpace,
    image_id: str,
    joint: JointCounts | None,
) -> JointCounts:
    """The joint counts of one image, taken unless at hand, after both lists were checked.

    Raises:
        ValueError: as `count_joint`, `check_prediction` and `check_truth`.
    """
    joint = joint or count_joint(prediction, truth, image_id)
    check_prediction(prediction, labels, joint.prediction_areas, image_id)
    check_truth(truth, labels, image_id)
    return joint


def check_same_labels(mine: LabelSpace, other: LabelSpace) -> None:
    """Check that two parts of one evaluation can be merged.

    Raises:
        ValueError: if they have other classes.
    """
    if other != mine:
        raise ValueError(
            f"Counts of the same label space were expected, got {mine.name!r} and "
            f"{other.name!r}. Evaluate both parts with one label space."
        )


def check_prediction(
    prediction: PanopticMap, labels: LabelSpace, areas: Collection[int], image_id: str
) -> None:
    """Compare the prediction's list with its pixels and with the label space.

    Args:
        prediction: its list is checked.
        labels: the classes that are known.
        areas: ids found in the prediction's map.
        image_id: for the message.

    Raises:
        ValueError: naming the image and the id that is on one side only, or of unknown class.
    """
    listed = {s.id for s in prediction.segments}
    for number in sorted(set(areas) - listed - {VOID}):
        raise ValueError(
            f"Image {image_id!r}: every id of the prediction's map must be in its list, "
            f"segment {number} is not. Add it to the list or write its pixels as 0."
        )
    for segment in prediction.segments:
        if segment.id not in areas:
            raise ValueError(
                f"Image {image_id!r}: every listed segment of the prediction must have pixels, "
                f"segment {segment.id} has none. Take it off the list."
            )
        _check_class(segment.class_id, labels, f"Image {image_id!r}: predicted", segment.id)


def check_truth(truth: PanopticMap, labels: LabelSpace, image_id: str) -> None:
    """Check the truth's classes.

    Raises:
        ValueError: naming the image and the segment of unknown class.
    """
    for segment in truth.segments:
        _check_class(segment.class_id, labels, f"Image {image_id!r}: true", segment.id)


def _check_class(class_id: int, labels: LabelSpace, whose: str, number: int) -> None:
    if not 0 <= class_id < labels.num_classes:
        raise ValueError(
            f"{whose} segment {number} must have a class id of label space {labels.name!r} "
            f"(0 to {labels.num_classes - 1}), got {class_id}. "
            "Use one label space for prediction, truth and metric."
        )
