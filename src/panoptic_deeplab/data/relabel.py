"""A data set seen with the classes of another: what a format with classes of its own needs.

Classes are matched by name; case, spaces, hyphens and underscores do not count, and Mapillary's
"object--vehicle--car" is also found as "car". The rest is for people to say: rename or drop.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from panoptic_deeplab.data.base import PanopticDataset, View
from panoptic_deeplab.data.file_set import paint_values
from panoptic_deeplab.labels import LabelSpace, near_names
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment

EVERY_OTHER = "*"
"""Among classes to drop: all that have no counterpart."""


def match_classes(
    source: LabelSpace,
    target: LabelSpace,
    *,
    rename: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
) -> dict[int, int | None]:
    """Which class of the target each class of the source is.

    Args:
        source: classes of the data.
        target: classes of the format.
        rename: source name -> target name.
        drop: source names that become void; `EVERY_OTHER` stands for all without a counterpart.

    Returns:
        class_id -> class_id, None for void.

    Raises:
        ValueError: if a named class does not exist, or a class has no counterpart.
    """
    rename = rename or {}
    for name in (*rename, *drop):
        if name not in source.names and name != EVERY_OTHER:
            raise ValueError(
                f"The data have no class {name!r}. {near_names(name, source.names)} Correct what "
                "is to be renamed or dropped."
            )
    known = _by_key(target)
    matched: dict[int, int | None] = {}
    lost = []
    for class_id, name in enumerate(source.names):
        if name in drop:
            matched[class_id] = None
            continue
        wanted = rename.get(name, name)
        found = known.get(_key(wanted), known.get(_key(wanted.split("--")[-1])))
        if found is None and name in rename:
            raise ValueError(
                f"{target.name!r} has no class {wanted!r}. {near_names(wanted, target.names)}"
            )
        matched[class_id] = found
        if found is None and EVERY_OTHER not in drop:
            lost.append(name)
    if lost:
        raise ValueError(
            f"{target.name!r} has no class {', '.join(map(repr, lost))}. Say what becomes of each: "
            f"--rename '{lost[0]}=NAME' or --drop '{lost[0]}' (void), or --drop "
            f"'{EVERY_OTHER}' for all of them. It has: "
            f"{', '.join(target.names)}."
        )
    return matched


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _by_key(labels: LabelSpace) -> dict[str, int]:
    """class_id by whole name, and by the last part of a name where that is unique."""
    ends: dict[str, list[int]] = {}
    for class_id, name in enumerate(labels.names):
        ends.setdefault(_key(name.split("--")[-1]), []).append(class_id)
    found = {end: ids[0] for end, ids in ends.items() if len(ids) == 1}
    return found | {_key(name): class_id for class_id, name in enumerate(labels.names)}


class Relabelled(View):
    """A data set with other classes, see `PanopticDataset`.

    Things that become stuff are joined to one segment; stuff that becomes a thing is a crowd
    region, since nobody said how many things it is.

    Args:
        dataset: what is seen.
        labels: the other classes.
        matched: class_id -> class_id, None for void.
    """

    def __init__(
        self, dataset: PanopticDataset, labels: LabelSpace, matched: Mapping[int, int | None]
    ) -> None:
        super().__init__(dataset)
        self._labels, self._matched = labels, dict(matched)

    @property
    def labels(self) -> LabelSpace:
        """The other classes."""
        return self._labels

    def __getitem__(self, index: int, /) -> Sample:
        """A sample with its classes exchanged."""
        return self.exchange(self._dataset[index])

    def exchange(self, sample: Sample) -> Sample:
        """The same sample with the other classes."""
        if sample.panoptic is None:
            return sample
        was = self._dataset.labels
        return replace(
            sample, panoptic=exchange_classes(sample.panoptic, was, self._labels, self._matched)
        )


def exchange_classes(
    panoptic: PanopticMap,
    was: LabelSpace,
    labels: LabelSpace,
    matched: Mapping[int, int | None],
) -> PanopticMap:
    """A map with other classes; see `Relabelled`.

    Args:
        panoptic: the map.
        was: its classes.
        labels: the other classes.
        matched: class_id -> class_id, None for void.
    """
    numbers: dict[int, int] = {}
    segments: dict[tuple[int, int], Segment] = {}
    for segment in panoptic.segments:
        class_id = matched[segment.class_id]
        if class_id is None:
            continue
        is_thing = labels.is_thing(class_id)
        crowd = is_thing and (segment.is_crowd or not was.is_thing(segment.class_id))
        key = (class_id, segment.id if is_thing else 0)
        first = segments.get(key)
        if first is None:
            segments[key] = replace(segment, class_id=class_id, is_crowd=crowd)
        else:
            segments[key] = replace(first, area_px=first.area_px + segment.area_px)
        numbers[segment.id] = segments[key].id
    ids = paint_values(panoptic, numbers, VOID)
    return PanopticMap(ids, tuple(segments.values()))
