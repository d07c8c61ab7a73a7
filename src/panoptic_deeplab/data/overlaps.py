"""From instances that may overlap to a panoptic map, by a stated rule, with a report.

Instance annotations let several masks claim a pixel; a panoptic map has one owner per pixel. From
below to above: crowd regions, stuff, things; within each the rule of `Overlap`, smaller over larger
by default. The paper's supplement, section 5, shows what such a choice does to the scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.file_set import Entry, Size
from panoptic_deeplab.data.format import Overlap
from panoptic_deeplab.labels import LabelSpace, near_names
from panoptic_deeplab.structures import VOID, PanopticMap, Segment, count_ids

Mask = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Region:
    """One annotated object or piece of stuff.

    Attributes:
        class_id: 0..K-1.
        top: first row of the mask.
        left: first column of the mask.
        mask: (h, w) bool, its part of the picture.
        is_crowd: many objects that were not told apart.
        layer: where the annotation says what lies above what: higher is above, whatever the rule.
        number: segment id to give a thing; 0: by its place in the file.
    """

    class_id: int
    top: int
    left: int
    mask: Mask
    is_crowd: bool = False
    layer: int = 0
    number: int = 0


@dataclass(frozen=True)
class Conflicts:
    """What had to be decided.

    Attributes:
        pixels: claimed by more than one thing.
        things: that claim such a pixel.
        hidden: things left without any pixel.
        annotated_pixels: of things, each pixel once.
        num_things: annotated, crowd regions aside.
        claims: (H, W) uint8, how many things claim each pixel.
    """

    pixels: int
    things: int
    hidden: int
    annotated_pixels: int
    num_things: int
    claims: NDArray[np.uint8]


@dataclass(frozen=True)
class Flattened:
    """Decodes images whose truth is a list of regions; for `FileSet`.

    Attributes:
        read: gives the regions of an entry; a plain function, so that it can be pickled.
        labels: the classes.
        rest: class_id of what no region covers; None: void.
        overlap: the rule.
    """

    read: Callable[[Entry, Size, LabelSpace], list[Region]]
    labels: LabelSpace
    rest: int | None
    overlap: Overlap

    def __call__(self, entry: Entry, size: Size) -> PanopticMap:
        """The map of an image of (height, width)."""
        return self.with_conflicts(entry, size)[0]

    def with_conflicts(self, entry: Entry, size: Size) -> tuple[PanopticMap, Conflicts]:
        """It, and what had to be decided."""
        regions = self.read(entry, size, self.labels)
        return flatten(regions, size, self.labels, self.overlap, background=self.rest)


def region_of(class_id: int, mask: Mask, *, is_crowd: bool = False, number: int = 0) -> Region:
    """Cut a mask (H, W) to what it covers."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return Region(class_id, 0, 0, np.zeros((0, 0), bool), is_crowd, 0, number)
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return Region(class_id, top, left, part.copy(), is_crowd, 0, number)


def flatten(
    regions: Sequence[Region],
    size: tuple[int, int],
    labels: LabelSpace,
    overlap: Overlap,
    *,
    background: int | None = None,
) -> tuple[PanopticMap, Conflicts]:
    """Paint regions into one map.

    Args:
        regions: in the file's order.
        size: (H, W).
        labels: the classes.
        overlap: the rule.
        background: class_id of what nothing covers; None: void.

    Returns:
        The map, its things numbered by their place in the file and then its stuff by class; and
        the conflicts. Things without a pixel left have no segment.

    Raises:
        ValueError: if the rule names a class that does not exist.
    """
    ranks = _ranks(overlap, labels)
    ids = np.zeros(size, np.int32)
    first_stuff = max([len(regions), *(r.number for r in regions)]) + 1
    numbers = [
        first_stuff + r.class_id
        if not (r.is_crowd or labels.is_thing(r.class_id))
        else r.number or i + 1
        for i, r in enumerate(regions)
    ]
    areas = [int(r.mask.sum()) for r in regions]

    def height(i: int) -> tuple[int, int, int, int, int]:
        region = regions[i]
        level = 0 if region.is_crowd else 2 if labels.is_thing(region.class_id) else 1
        size_rank = -areas[i] if overlap.order == "smaller" else 0
        return level, region.layer, ranks[region.class_id], size_rank, i

    for i in sorted(range(len(regions)), key=height):
        _part(ids, regions[i])[regions[i].mask] = numbers[i]
    if background is not None:
        ids[ids == VOID] = first_stuff + background
    left = count_ids(ids)
    segments: dict[int, Segment] = {}
    for region, number in zip(regions, numbers, strict=True):
        if left.get(number):
            area = left[number]
            segments[number] = Segment(number, region.class_id, area, None, region.is_crowd)
    if background is not None and left.get(first_stuff + background):
        number = first_stuff + background
        segments[number] = Segment(number, background, left[number])
    panoptic = PanopticMap(ids, tuple(segments[n] for n in sorted(segments)))
    return panoptic, _count(regions, numbers, size, labels, left)


def in_order(panoptic: PanopticMap, labels: LabelSpace) -> list[Segment]:
    """Segments as formats of single objects list them: things by their ids, then stuff by class."""

    def place(segment: Segment) -> tuple[bool, int, int]:
        is_stuff = not labels.is_thing(segment.class_id)
        return is_stuff, segment.class_id if is_stuff else 0, segment.id

    return sorted(panoptic.segments, key=place)


def _count(
    regions: Sequence[Region],
    numbers: Sequence[int],
    size: tuple[int, int],
    labels: LabelSpace,
    left: dict[int, int],
) -> Conflicts:
    things = [i for i, r in enumerate(regions) if labels.is_thing(r.class_id) and not r.is_crowd]
    claims = np.zeros(size, np.uint8)
    for i in things:
        part = _part(claims, regions[i])
        part += regions[i].mask & (part < 255)
    doubly = claims > 1
    involved = sum(bool((_part(doubly, regions[i]) & regions[i].mask).any()) for i in things)
    hidden = sum(not left.get(numbers[i]) for i in things)
    return Conflicts(
        int(doubly.sum()), involved, hidden, int((claims > 0).sum()), len(things), claims
    )


def _part(array: NDArray[Number], region: Region) -> NDArray[Number]:
    height, width = region.mask.shape
    return array[region.top : region.top + height, region.left : region.left + width]


def _ranks(overlap: Overlap, labels: LabelSpace) -> list[int]:
    """Per class: the higher, the further above."""
    for name in overlap.priority:
        if name not in labels.names:
            raise ValueError(
                f"Unknown class {name!r} in the order of overlaps. {near_names(name, labels.names)}"
            )
    order = {name: len(overlap.priority) - i for i, name in enumerate(overlap.priority)}
    return [order.get(name, 0) for name in labels.names]
