"""How sure a difference between two models is: paired bootstrap over the images.

In: the counts of the same images for two models. Out: `Difference`s of PQ, AP and mIoU with
intervals. Images are drawn with replacement, the same ones for both models, and all measures are
computed anew for each draw, not averaged over images. The draws follow from a seed.

Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.metrics.instance import RECALLS, AveragePrecision
from panoptic_deeplab.metrics.instance_matching import RIGHT, WRONG
from panoptic_deeplab.metrics.matching import match_image
from panoptic_deeplab.metrics.semantic import MeanIoU

Array = NDArray[np.floating[Any]]

CONFIDENCE = 0.95
DRAWS_AT_ONCE = 50  # keeps (draws, instances) arrays small


@dataclass(frozen=True)
class Difference:
    """One measure of two models.

    Attributes:
        first: of the first model, 0..1; None if it does not exist.
        second: of the second one.
        low: lower end of the 95 % interval of second - first.
        high: its upper end.
        share_better: of the draws in which the second model is better.
    """

    first: float | None
    second: float | None
    low: float | None
    high: float | None
    share_better: float | None

    @property
    def change(self) -> float | None:
        """Second - first."""
        if self.first is None or self.second is None:
            return None
        return self.second - self.first

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {**asdict(self), "change": self.change}


def compare_counts(
    first: Sequence[ImageCounts],
    second: Sequence[ImageCounts],
    labels: LabelSpace,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two models on the same images.

    Args:
        first: counts of one model.
        second: of the other, of the same images in any order.
        labels: classes of both.
        draws: how often the images are drawn anew.
        seed: of the draws.

    Returns:
        By name: PQ, PQ things, PQ stuff, SQ, RQ, AP (COCO's definition), mIoU, and "PQ CLASS" of
        each class.

    Raises:
        ValueError: if the images differ, or there is none.
    """
    ours, theirs = ({c.image_id: c for c in counts} for counts in (first, second))
    if ours.keys() != theirs.keys() or not ours:
        odd = sorted(ours.keys() ^ theirs.keys())
        what = f"{odd[0]!r} is in one of them only" if odd else "there is none"
        raise ValueError(
            f"Two models are compared on the same images, {what}. Evaluate both on one split, with "
            "the same limit."
        )
    names = sorted(ours)
    samples: list[_Sample] = [_Sample([part[n] for n in names], labels) for part in (ours, theirs)]
    once = np.ones((1, len(names)))
    whole = [s.measure(once) for s in samples]
    generator = np.random.default_rng(seed)
    drawn: list[dict[str, list[Array]]] = [{}, {}]
    for begin in range(0, draws, DRAWS_AT_ONCE):
        count = min(DRAWS_AT_ONCE, draws - begin)
        chosen = generator.integers(0, len(names), (count, len(names)))
        weights = np.stack([np.bincount(row, minlength=len(names)) for row in chosen]) * 1.0
        for sample, parts in zip(samples, drawn, strict=True):
            for name, values in sample.measure(weights).items():
                parts.setdefault(name, []).append(values)
    return {
        name: _difference(
            float(whole[0][name][0]),
            float(whole[1][name][0]),
            np.concatenate(drawn[0][name]) if draws else np.zeros(0),
            np.concatenate(drawn[1][name]) if draws else np.zeros(0),
        )
        for name in whole[0]
    }


def _difference(first: float, second: float, ours: Array, theirs: Array) -> Difference:
    change = theirs - ours
    change = change[np.isfinite(change)]
    ends: list[float | None] = [None, None]
    better = None
    if len(change):
        tail = (1 - CONFIDENCE) / 2
        ends = [float(q) for q in np.quantile(change, (tail, 1 - tail))]
        better = float((change > 0).mean() + (change == 0).mean() / 2)
    known = [None if np.isnan(value) else value for value in (first, second)]
    return Difference(known[0], known[1], ends[0], ends[1], better)


class _Sample:
    """What one model's measures are made of, image by image."""

    def __init__(self, counts: Sequence[ImageCounts], labels: LabelSpace) -> None:
        size = (len(counts), labels.num_classes)
        self._labels = labels
        self._matches = np.zeros((*size, 4))  # sum of IoUs, TP, FP, FN
        self._pixels = np.zeros((*size, 2))  # right, union
        precision = AveragePrecision(labels, "coco")
        for n, image in enumerate(counts):
            matching = match_image(image)
            for truth, _, iou in matching.found:
                self._matches[n, truth.class_id, :2] += iou, 1
            for place, segments in ((2, matching.false), (3, matching.missed)):
                for segment in segments:
                    self._matches[n, segment.class_id, place] += 1
            semantic = MeanIoU(labels)
            semantic.add(image)
            confusion = semantic.confusion
            right = np.diagonal(confusion)
            union = confusion.sum(1) + confusion.sum(0)[:-1] - right
            self._pixels[n] = np.stack([right, union], 1)
            precision.add(image)
        place_of = {image.image_id: n for n, image in enumerate(counts)}
        self._rankings = [
            _Ranking(found, place_of, len(counts)) for found in precision.outcomes.values()
        ]

    def measure(self, weights: Array) -> dict[str, Array]:
        """All measures for how often each image was drawn; (B, N) -> (B,) each, NaN: none."""
        iou, tp, fp, fn = np.moveaxis(np.tensordot(weights, self._matches, (1, 0)), -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            size = tp + (fp + fn) / 2
            is_present = size > 0
            pq, rq = iou / size, tp / size
            sq = np.where(is_present, np.where(tp > 0, iou / np.maximum(tp, 1), 0), np.nan)
            right, union = np.moveaxis(np.tensordot(weights, self._pixels, (1, 0)), -1, 0)
            ious = right / union
        precisions = [r.average_precision(weights) for r in self._rankings]
        things, stuff = list(self._labels.thing_ids), list(self._labels.stuff_ids)
        measures = {
            "PQ": _mean(pq),
            "PQ things": _mean(pq[:, things]),
            "PQ stuff": _mean(pq[:, stuff]),
            "SQ": _mean(sq),
            "RQ": _mean(rq),
            "AP": _mean(np.stack(precisions, 1)) if precisions else np.full(len(pq), np.nan),
            "mIoU": _mean(ious),
        }
        by_class = {f"PQ {name}": pq[:, i] for i, name in enumerate(self._labels.names)}
        return measures | by_class


class _Ranking:
    """One class's predicted instances over all images, best first."""

    def __init__(self, outcomes: Sequence[Any], place_of: dict[str, int], count: int) -> None:
        self._num_truths = np.zeros(count)
        for found in outcomes:
            self._num_truths[place_of[found.image_id]] = found.num_truths[0]
        places = [np.full(len(o.scores), place_of[o.image_id]) for o in outcomes]
        scores = np.concatenate([o.scores for o in outcomes]) if outcomes else np.zeros(0)
        order = np.argsort(-scores, kind="stable")
        self._images = np.concatenate(places)[order] if outcomes else np.zeros(0, int)
        results = [o.outcomes[0] for o in outcomes]  # of all sizes: (T, n)
        self._results = np.concatenate(results, 1)[:, order] if outcomes else np.zeros((10, 0))

    def average_precision(self, weights: Array) -> Array:
        """(B,) for (B, N) weights; NaN where no true instance was drawn."""
        truths = weights @ self._num_truths
        each = weights[:, self._images.astype(int)]
        total = np.zeros(len(weights))
        for row in self._results:
            right = np.cumsum(each * (row == RIGHT), 1)
            counted = right + np.cumsum(each * (row == WRONG), 1)
            precision = right / np.maximum(counted, 1)
            best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            for b in np.flatnonzero(truths):
                places = np.searchsorted(right[b] / truths[b], RECALLS, side="left")
                total[b] += np.append(best[b], 0.0)[places].mean()
        return np.where(truths > 0, total / len(self._results), np.nan)


def _mean(values: Array) -> Array:
    """Mean over the classes that exist; NaN where none does."""
    is_known = ~np.isnan(values)
    total = np.where(is_known, values, 0).sum(1)
    count = is_known.sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
