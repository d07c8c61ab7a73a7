"""Joint pixel counts of a prediction and its truth: the one pass over the pixels of all metrics.

In: two `PanopticMap` of the same size. Out: `JointCounts`, from which panoptic quality, average
precision and mean IoU read every area and intersection they need.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.backends import choose_backend
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap


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
    def met_by_prediction(self) -> Mapping[int, Sequence[tuple[int, int]]]:
        """(truth id, common pixels) of the segments that each prediction id meets."""
        met: dict[int, list[tuple[int, int]]] = {}
        for (truth_id, prediction_id), pixels in self.pairs.items():
            met.setdefault(prediction_id, []).append((truth_id, pixels))
        return met

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
    found = _count_pairs(truth.segment_map, prediction.segment_map)
    if found is None:
        raise ValueError(
            f"Image {image_id!r}: segment ids must be 0 (void) or more, got a negative one. "
            "Write void pixels as 0."
        )
    pairs, counts = found
    return JointCounts(pairs >> 32, pairs & 0xFFFFFFFF, counts)


def _count_pairs(
    truth: NDArray[np.int32], prediction: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Pairs as truth id << 32 | prediction id, ascending, and their pixels; None: a negative id."""
    truth_ids, prediction_ids = truth.ravel(), prediction.ravel()
    if choose_backend("auto", ("plain",)) == "numba":
        from panoptic_deeplab.kernels.joint import count_pairs

        return count_pairs(truth_ids, prediction_ids)
    change = (truth_ids[1:] != truth_ids[:-1]) | (prediction_ids[1:] != prediction_ids[:-1])
    starts = (
        np.concatenate(([0], np.flatnonzero(change) + 1)) if truth_ids.size else np.zeros(0, int)
    )
    keys = truth_ids[starts].astype(np.int64) << 32 | prediction_ids[starts]
    if keys.size and (keys.min() < 0 or prediction_ids[starts].min() < 0):
        return None
    pairs, place = np.unique(keys, return_inverse=True)
    lengths = np.diff(starts, append=truth_ids.size)
    counts = np.bincount(place, weights=lengths, minlength=len(pairs))  # exact below 2**53
    return pairs, counts.astype(np.int64)


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
