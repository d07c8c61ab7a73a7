"""Which predicted segment is which true one: panoptic quality's matching of one image.

In: `ImageCounts`. Out: `Matching`: pairs that are the same object, true segments nobody found,
predictions that are nothing, and those that cannot be held against anybody. The rules, down to
void, crowd and the order of comparisons, are those of the public evaluation code (panopticapi).

Paper: arXiv:1801.00868, section 4.
"""

from dataclasses import dataclass
from typing import Literal

from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.metrics.joint import JointCounts
from panoptic_deeplab.structures import VOID, Segment

Overlap = Literal["mask", "boundary"]


@dataclass(frozen=True)
class Matching:
    """One image's segments, sorted out.

    Attributes:
        found: (true segment, predicted segment, IoU) of each match.
        missed: true segments without a match, crowd regions left out.
        false: predicted segments without a match.
        excused: predicted segments without one that lie mostly in void or crowd.
    """

    found: tuple[tuple[Segment, Segment, float], ...]
    missed: tuple[Segment, ...]
    false: tuple[Segment, ...]
    excused: tuple[Segment, ...]


def match_image(counts: ImageCounts, overlap: Overlap = "mask") -> Matching:
    """Match the segments of one image.

    Args:
        counts: of the image.
        overlap: what must exceed 0.5: the IoU of the masks, or the smaller one of it and the IoU
            of the bands along their borders (boundary PQ of arXiv:2103.16562).

    Raises:
        ValueError: if boundaries are asked for and were not counted.
    """
    joint = counts.joint
    true = {s.id: s for s in counts.truth if not s.is_crowd}
    predicted = {s.id: s for s in counts.prediction}
    found = []
    for truth_id, prediction_id in joint.pairs:
        truth, prediction = true.get(truth_id), predicted.get(prediction_id)
        if truth is None or prediction is None or truth.class_id != prediction.class_id:
            continue
        iou = pair_iou(joint, truth_id, prediction_id)
        if overlap == "boundary":
            iou = min(iou, pair_iou(_bands(counts), truth_id, prediction_id))
        if iou > 0.5:
            found.append((truth, prediction, iou))
    taken = {t.id for t, _, _ in found}, {p.id for _, p, _ in found}
    crowds = {s.class_id: s.id for s in counts.truth if s.is_crowd}  # the last one stays
    left = [s for s in counts.prediction if s.id not in taken[1]]
    excused = {s.id for s in left if _is_excused(s, crowds, joint)}
    return Matching(
        tuple(found),
        tuple(s for s in true.values() if s.id not in taken[0]),
        tuple(s for s in left if s.id not in excused),
        tuple(s for s in left if s.id in excused),
    )


def pair_iou(joint: JointCounts, truth_id: int, prediction_id: int) -> float:
    """IoU of two segments; pixels of the prediction where the truth is void do not count."""
    pixels = joint.pairs.get((truth_id, prediction_id), 0)
    union = (
        joint.prediction_areas[prediction_id]
        + joint.truth_areas[truth_id]
        - pixels
        - joint.pairs.get((VOID, prediction_id), 0)
    )
    return pixels / union


def _bands(counts: ImageCounts) -> JointCounts:
    if counts.bands is None:
        raise ValueError(
            f"Image {counts.image_id!r}: boundary quality needs the bands along borders, they were "
            "not counted. Evaluate with boundaries."
        )
    return counts.bands


def _is_excused(segment: Segment, crowds: dict[int, int], joint: JointCounts) -> bool:
    """Whether more than half of a prediction lies where nothing can be held against it."""
    pixels = joint.pairs.get((VOID, segment.id), 0)
    if segment.class_id in crowds:
        pixels += joint.pairs.get((crowds[segment.class_id], segment.id), 0)
    return pixels / joint.prediction_areas[segment.id] > 0.5
