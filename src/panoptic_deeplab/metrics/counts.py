"""What all metrics need to know of one image: a few hundred whole numbers instead of its pixels.

In: a prediction and its truth. Out: `ImageCounts`: both lists of segments and how many pixels each
pair of segments shares. Every metric adds up such counts, so they may come from other processes
or from a file, in any order, and the results are the same to the last bit.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.bands import band_ids, band_width_px
from panoptic_deeplab.metrics.joint import JointCounts, count_joint
from panoptic_deeplab.structures import VOID, PanopticMap, Segment


@dataclass(frozen=True)
class ImageCounts:
    """One image, counted.

    Attributes:
        image_id: its name.
        size: (height, width) in pixels.
        truth: its true segments.
        prediction: its predicted segments.
        joint: pixels of each pair.
        bands: the same for the maps of `bands.band_ids`; None: not counted.
    """

    image_id: str
    size: tuple[int, int]
    truth: tuple[Segment, ...]
    prediction: tuple[Segment, ...]
    joint: JointCounts
    bands: JointCounts | None = None

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers, for a file."""
        plain: dict[str, Any] = {
            "image": self.image_id,
            "size": list(self.size),
            "truth": [[s.id, s.class_id, s.area_px, int(s.is_crowd)] for s in self.truth],
            "prediction": [
                [s.id, s.class_id, s.area_px, s.score, s.objectness, s.class_probability]
                for s in self.prediction
            ],
            "joint": _plain_joint(self.joint),
        }
        return plain if self.bands is None else {**plain, "bands": _plain_joint(self.bands)}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> "ImageCounts":
        """Read back what `to_plain` gave.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        height, width = plain["size"]
        return ImageCounts(
            str(plain["image"]),
            (int(height), int(width)),
            tuple(Segment(i, c, a, None, bool(crowd)) for i, c, a, crowd in plain["truth"]),
            tuple(
                Segment(i, c, a, score, objectness=heat, class_probability=probability)
                for i, c, a, score, heat, probability in plain["prediction"]
            ),
            _joint_of(plain["joint"]),
            _joint_of(plain["bands"]) if "bands" in plain else None,
        )


def count_image(
    prediction: PanopticMap,
    truth: PanopticMap,
    labels: LabelSpace,
    image_id: str = "",
    *,
    joint: JointCounts | None = None,
    band_share: float | None = None,
) -> ImageCounts:
    """Count one image, after both lists were checked.

    Args:
        prediction: its list must agree with its pixels.
        truth: of the same size.
        labels: classes of both.
        image_id: for messages, and to order equal scores.
        joint: `count_joint` of the two, if it is at hand.
        band_share: count the bands along the borders too, for the quality of boundaries; their
            width over the image's diagonal, see `bands.BAND_SHARES`.

    Raises:
        ValueError: if sizes differ, list and pixels of the prediction disagree, or a class is
            unknown.
    """
    joint = joint or count_joint(prediction, truth, image_id)
    check_prediction(prediction.segments, labels, joint.prediction_areas, image_id)
    for segment in truth.segments:
        _check_class(segment.class_id, labels, f"Image {image_id!r}: true", segment.id)
    bands = None
    if band_share is not None:
        width_px = band_width_px(truth.size, band_share)
        maps = [PanopticMap(band_ids(m.segment_map, width_px), ()) for m in (prediction, truth)]
        bands = count_joint(maps[0], maps[1], image_id)
    return ImageCounts(image_id, truth.size, truth.segments, prediction.segments, joint, bands)


def check_prediction(
    segments: Sequence[Segment], labels: LabelSpace, areas: Collection[int], image_id: str
) -> None:
    """Compare the prediction's list with its pixels and with the label space.

    Args:
        segments: the list.
        labels: the classes that are known.
        areas: ids found in the prediction's map.
        image_id: for the message.

    Raises:
        ValueError: naming the image and the id that is on one side only, or of unknown class.
    """
    listed = {s.id for s in segments}
    for number in sorted(set(areas) - listed - {VOID}):
        raise ValueError(
            f"Image {image_id!r}: every id of the prediction's map must be in its list, "
            f"segment {number} is not. Add it to the list or write its pixels as 0."
        )
    for segment in segments:
        if segment.id not in areas:
            raise ValueError(
                f"Image {image_id!r}: every listed segment of the prediction must have pixels, "
                f"segment {segment.id} has none. Take it off the list."
            )
        _check_class(segment.class_id, labels, f"Image {image_id!r}: predicted", segment.id)


def _check_class(class_id: int, labels: LabelSpace, whose: str, number: int) -> None:
    if not 0 <= class_id < labels.num_classes:
        raise ValueError(
            f"{whose} segment {number} must have a class id of label space {labels.name!r} "
            f"(0 to {labels.num_classes - 1}), got {class_id}. "
            "Use one label space for prediction, truth and metric."
        )


def _plain_joint(joint: JointCounts) -> list[list[int]]:
    return [joint.truth_ids.tolist(), joint.prediction_ids.tolist(), joint.counts.tolist()]


def _joint_of(plain: Sequence[Sequence[int]]) -> JointCounts:
    truth_ids, prediction_ids, counts = (np.array(column, np.int64) for column in plain)
    if not len(truth_ids) == len(prediction_ids) == len(counts):
        raise ValueError("Joint counts need three columns of one length.")
    return JointCounts(truth_ids, prediction_ids, counts)
