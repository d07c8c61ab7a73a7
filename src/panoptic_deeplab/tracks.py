"""Segment ids that stay the same over the frames of a video.

In: the panoptic map of one frame after the other. Out: the same maps with other ids: stuff is
numbered by its class, a thing keeps its number as long as its masks overlap from frame to frame.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.joint import count_joint
from panoptic_deeplab.structures import PanopticMap, Segment

MIN_IOU = 0.3
"""Of two masks of one class that are taken for the same thing. Our choice: half a thing's width of
movement from frame to frame leaves a third."""

PATIENCE = 5
"""Frames for which a thing that is not found is remembered where it was last seen. Our choice: a
fifth of a second of most videos."""


@dataclass
class _Track:
    class_id: int
    area_px: int
    unseen: int = 0


class Tracks:
    """Links the things of each frame to those of the frames before.

    Pairs of one class are taken by falling intersection over union, each thing and each track once.

    Args:
        labels: the classes; stuff of class c has the id c + 1, things follow behind.
        min_iou: see `MIN_IOU`.
        patience: see `PATIENCE`.
    """

    def __init__(
        self, labels: LabelSpace, *, min_iou: float = MIN_IOU, patience: int = PATIENCE
    ) -> None:
        self._labels = labels
        self._min_iou, self._patience = min_iou, patience
        self._next = labels.num_classes + 1
        self._tracks: dict[int, _Track] = {}
        self._seen: NDArray[np.int32] | None = None  # where each track was last

    def link(self, panoptic: PanopticMap) -> PanopticMap:
        """Give a frame's segments their lasting ids.

        Raises:
            ValueError: if the frame has another size than those before.
        """
        if self._seen is None:
            self._seen = np.zeros(panoptic.size, np.int32)
        if self._seen.shape != panoptic.size:
            raise ValueError(
                f"Frames of a video have one size, got {panoptic.size} behind {self._seen.shape}."
            )
        things = {s.id: s for s in panoptic.segments if self._labels.is_thing(s.class_id)}
        ids = self._match(panoptic, things)
        for segment in panoptic.segments:
            if segment.id not in things:
                ids[segment.id] = segment.class_id + 1
        table = np.zeros(max(ids, default=0) + 1, np.int32)
        for old, new in ids.items():
            table[old] = new
        linked = table[panoptic.segment_map]
        self._remember(linked)
        segments = tuple(replace(s, id=ids[s.id]) for s in panoptic.segments)
        return PanopticMap(linked, segments)

    def _match(self, panoptic: PanopticMap, things: dict[int, Segment]) -> dict[int, int]:
        """Thing's id in the frame -> its track's."""
        assert self._seen is not None
        classes = {s.id: (s.class_id, s.area_px) for s in panoptic.segments if s.id in things}
        joint = count_joint(panoptic, PanopticMap(self._seen, ()))
        pairs = []
        for (track_id, thing_id), shared in joint.pairs.items():
            track, thing = self._tracks.get(track_id), classes.get(thing_id)
            if track is None or thing is None or track.class_id != thing[0]:
                continue
            iou = shared / (track.area_px + thing[1] - shared)
            if iou >= self._min_iou:
                pairs.append((-iou, track_id, thing_id))
        ids: dict[int, int] = {}
        taken: set[int] = set()
        for _, track_id, thing_id in sorted(pairs):
            if thing_id not in ids and track_id not in taken:
                ids[thing_id] = track_id
                taken.add(track_id)
        for track in self._tracks.values():
            track.unseen += 1
        for thing_id, (class_id, area) in classes.items():
            if thing_id not in ids:
                ids[thing_id] = self._next
                self._next += 1
            self._tracks[ids[thing_id]] = _Track(class_id, area)
        return ids

    def _remember(self, linked: NDArray[np.int32]) -> None:
        """Note where tracks are; those not seen stay where they were, below all others."""
        assert self._seen is not None
        self._tracks = {i: t for i, t in self._tracks.items() if t.unseen <= self._patience}
        unseen = [i for i, track in self._tracks.items() if track.unseen]
        kept = np.isin(self._seen, unseen)
        is_thing = linked > self._labels.num_classes
        self._seen = np.where(is_thing, linked, np.where(kept, self._seen, 0)).astype(np.int32)
