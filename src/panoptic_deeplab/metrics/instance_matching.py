"""Which predicted instances are right, for average precision: one class of one image.

In: predicted and true segments of a class with their joint pixel counts. Out: for each prediction
and threshold whether it is right, wrong, or counts neither way.

Sources: the instance-level evaluation of cityscapesScripts; COCO's evaluation (pycocotools).
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.structures import VOID, Segment

THRESHOLDS = {"cityscapes": np.arange(0.5, 1.0, 0.05), "coco": np.linspace(0.5, 0.95, 10)}
"""IoU from 0.50 to 0.95 by 0.05, to the last bit of each official tool."""

Ranking = Literal["score", "objectness", "class_probability"]
"""By which number of its segments instances are ranked."""

RIGHT, WRONG, UNCOUNTED = 1, 0, -1
"""What becomes of a predicted instance at one threshold."""


class Candidate(NamedTuple):
    """A predicted instance and the true ones of its class that it meets.

    Attributes:
        area: pixels.
        score: 0 or more.
        void: pixels on void.
        meets: (place in the list of truths, common pixels).
    """

    area: int
    score: float
    void: int
    meets: list[tuple[int, int]]


class Truth(NamedTuple):
    """A true instance: its pixels, and why finding it may not be asked for."""

    area: int
    is_crowd: bool
    is_outside: bool  # of the range of areas asked for

    @property
    def is_asked(self) -> bool:
        """Whether it has to be found."""
        return not (self.is_crowd or self.is_outside)


def gather_candidates(
    predicted: Sequence[Segment], true: Sequence[Segment], counts: ImageCounts, rank_by: Ranking
) -> list[Candidate]:
    """Gather what matching needs, the best score first, equal ones in list order."""
    joint = counts.joint
    place = {segment.id: i for i, segment in enumerate(true)}
    candidates = []
    for segment in predicted:
        score: float | None = getattr(segment, rank_by)
        if score is None:
            raise ValueError(
                f"Image {counts.image_id!r}: average precision needs a {rank_by} for every "
                f"predicted thing, segment {segment.id} has none. `group_outputs` sets them."
            )
        common = joint.met_by_prediction.get(segment.id, ())
        candidates.append(
            Candidate(
                joint.prediction_areas[segment.id],
                score,
                joint.pairs.get((VOID, segment.id), 0),
                sorted((place[t], pixels) for t, pixels in common if t in place),
            )
        )
    return sorted(candidates, key=lambda c: -c.score)


def _iou(candidate: Candidate, truth: Truth, pixels: int) -> float:
    return pixels / (candidate.area + truth.area - pixels)


def match_cityscapes(candidates: Sequence[Candidate], truths: Sequence[Truth]) -> NDArray[np.int8]:
    """Match by IoU above the threshold; of several for one truth the best score is right.

    A prediction without a match is not counted if the share of its pixels on void, crowd and too
    small instances exceeds the threshold.
    """
    thresholds = THRESHOLDS["cityscapes"].tolist()
    outcomes = np.zeros((len(thresholds), len(candidates)), np.int8)
    for row, threshold in zip(outcomes, thresholds, strict=True):
        taken: set[int] = set()
        for n, candidate in enumerate(candidates):
            matched = [i for i, px in candidate.meets if _iou(candidate, truths[i], px) > threshold]
            asked = [i for i in matched if truths[i].is_asked]
            if asked:  # at most one: two instances cannot both share half of a third
                row[n] = WRONG if asked[0] in taken else RIGHT
                taken.update(asked)
            elif matched or _excused_share(candidate, truths) > threshold:
                row[n] = UNCOUNTED
    return outcomes


def _excused_share(candidate: Candidate, truths: Sequence[Truth]) -> float:
    excused = candidate.void
    for i, pixels in candidate.meets:
        # A small crowd counts twice, as in the official tool.
        excused += pixels * (truths[i].is_crowd + truths[i].is_outside)
    return excused / candidate.area


def match_coco(
    candidates: Sequence[Candidate], truths_of_ranges: Sequence[Sequence[Truth]]
) -> NDArray[np.int8]:
    """Let each prediction, best score first, take the truth of highest IoU that is still free.

    Crowd regions may be taken often, with the share of the prediction inside as IoU; those
    predictions, and those that take a too small instance, are not counted.

    Args:
        candidates: N of them.
        truths_of_ranges: for each of R ranges of areas the same truths, asked for or outside.

    Returns:
        (R, thresholds, N).
    """
    thresholds, truths = THRESHOLDS["coco"].tolist(), truths_of_ranges[0]
    shape = len(truths_of_ranges), len(thresholds), len(candidates)
    close = [_close_ones(candidate, truths, thresholds[0]) for candidate in candidates]
    meetings = [(n, met) for n, met in enumerate(close) if met]
    if not meetings:
        return np.zeros(shape, np.int8)
    if not _have_no_rivals(meetings, truths):
        return np.stack([_settle(shape[1:], meetings, t) for t in truths_of_ranges])
    outcomes = np.zeros(shape, np.int8)
    chosen = [met[0][0] for _, met in meetings]
    passed = [bisect_right(thresholds, met[0][1]) for _, met in meetings]
    is_asked = np.array([[truths[i].is_asked for i in chosen] for truths in truths_of_ranges])
    reached = np.arange(len(thresholds))[:, None] < passed
    outcomes[:, :, [n for n, _ in meetings]] = (
        reached * np.where(is_asked, RIGHT, UNCOUNTED)[:, None]
    )
    return outcomes


def _settle(
    shape: tuple[int, int],
    meetings: Sequence[tuple[int, list[tuple[int, float]]]],
    truths: Sequence[Truth],
) -> NDArray[np.int8]:
    """What becomes of the predictions where several want the same truth: (thresholds, N)."""
    outcomes = np.zeros(shape, np.int8)
    # Truths that are asked for come first: one of them wins over any that is not.
    ordered = [
        (n, sorted(met, key=lambda meeting: not truths[meeting[0]].is_asked)) for n, met in meetings
    ]
    for row, threshold in zip(outcomes, THRESHOLDS["coco"].tolist(), strict=True):
        taken: set[int] = set()
        for n, met in ordered:
            best, chosen = threshold, None
            for i, iou in met:
                truth = truths[i]
                if i in taken and not truth.is_crowd:
                    continue
                if chosen is not None and truths[chosen].is_asked and not truth.is_asked:
                    break
                if iou >= best:
                    best, chosen = iou, i
            if chosen is not None:
                taken.add(chosen)
                row[n] = RIGHT if truths[chosen].is_asked else UNCOUNTED
    return outcomes


def _have_no_rivals(
    meetings: Sequence[tuple[int, list[tuple[int, float]]]], truths: Sequence[Truth]
) -> bool:
    """Whether no truth is wanted twice: so it is where nothing overlaps and nothing is a crowd."""
    if any(len(met) > 1 for _, met in meetings):
        return False
    wanted = [met[0][0] for _, met in meetings]
    return len(set(wanted)) == len(wanted) or all(truths[i].is_crowd for i in wanted)


def _close_ones(
    candidate: Candidate, truths: Sequence[Truth], lowest: float
) -> list[tuple[int, float]]:
    """(truth, IoU) of those that any threshold allows, in the order of the list."""
    close = []
    for i, pixels in candidate.meets:
        is_crowd = truths[i].is_crowd
        iou = pixels / candidate.area if is_crowd else _iou(candidate, truths[i], pixels)
        if iou >= lowest:
            close.append((i, iou))
    return close
