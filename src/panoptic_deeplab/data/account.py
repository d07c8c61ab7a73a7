"""What a sample lost on its way through another format, in words and numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample, Segment


def losses_of(
    before: Sample, after: Sample, classes: Sequence[str | None], labels: LabelSpace
) -> Counter[str]:
    """Compare a sample with what was read back.

    Segment ids do not count, only which pixels belong together, their class, and crowd marks.

    Args:
        before: as it was.
        after: as it is.
        classes: by class_id of before, what the class is called after; None: it became void.
        labels: classes of after.

    Returns:
        What was lost -> how often; empty if nothing was.
    """
    assert before.panoptic is not None
    assert after.panoptic is not None
    losses: Counter[str] = Counter()
    losses["pictures changed"] += not np.array_equal(before.image, after.image)
    maps = (before.panoptic, after.panoptic)
    scores = [sum(s.score is not None for s in m.segments) for m in maps]
    losses["scores of segments left out"] += max(0, scores[0] - scores[1])
    if before.panoptic.size != after.panoptic.size:
        losses["label images changed in size"] += 1
        return +losses
    old, new = _by_id(before.panoptic), _by_id(after.panoptic)
    owners: dict[int, set[int]] = {}
    for one, other, pixels in _joint(before.panoptic, after.panoptic):
        was = classes[old[one].class_id] if one in old else None
        now = labels.names[new[other].class_id] if other in new else None
        if was != now:
            losses[f"pixels of {was or 'void'} became {now or 'void'}"] += pixels
        elif was is not None:
            owners.setdefault(other, set()).add(one)
        elif one in old:
            losses["pixels of dropped classes became void"] += pixels
    return +(losses + _segment_losses(old, new, owners, labels))


def _segment_losses(
    old: Mapping[int, Segment],
    new: Mapping[int, Segment],
    owners: Mapping[int, set[int]],
    labels: LabelSpace,
) -> Counter[str]:
    """Of segments after and the segments before that they took their pixels from."""
    losses: Counter[str] = Counter()
    parts = Counter(one for ones in owners.values() for one in ones)
    for other, ones in owners.items():
        name = labels.names[new[other].class_id]
        crowds = sum(old[one].is_crowd for one in ones)
        losses[f"segments of {name} joined to others"] += len(ones) - 1
        losses[f"segments of {name} split in parts"] += any(parts[one] > 1 for one in ones)
        if new[other].is_crowd:
            losses[f"segments of {name} became crowd regions"] += len(ones) - crowds
        else:
            losses[f"crowd regions of {name} no longer marked"] += crowds
    return losses


def _by_id(panoptic: PanopticMap) -> dict[int, Segment]:
    return {s.id: s for s in panoptic.segments}


def _joint(before: PanopticMap, after: PanopticMap) -> list[tuple[int, int, int]]:
    """(segment before, segment after, pixels) of all pairs that meet."""
    both = before.segment_map.astype(np.int64) << 32 | after.segment_map
    pairs, counts = np.unique(both, return_counts=True)
    ones, others = (pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist()
    return list(zip(ones, others, counts.tolist(), strict=True))
