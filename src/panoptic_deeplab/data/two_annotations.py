"""An image's instance annotation against its panoptic one: how often, and where, they differ.

Instances may overlap, panoptic segments may not; so the two can only agree if somebody decided who
gets shared pixels, and annotators often redrew outlines as well. Paper: supplement of
arXiv:1911.10194, section 5 and Fig. 4, which shows the two for COCO.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab import captions, render
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.coco_instances import CocoInstances, InstanceList, read_instances
from panoptic_deeplab.data.file_set import paint_values
from panoptic_deeplab.data.format import Overlap
from panoptic_deeplab.data.overlaps import Flattened
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_SHARED = (255, 0, 200)  # a color that neither photographs nor the usual classes have
_DIFFERENT = (255, 60, 0)


@dataclass(frozen=True)
class Difference:
    """One image, counted.

    Attributes:
        image_id: its name.
        things: in the instance annotation, crowd regions aside.
        things_in_conflict: of them, that share pixels with another.
        hidden: of them, left without a pixel by the rule.
        shared_px: claimed by several.
        thing_px: claimed by at least one.
        different_px: whose thing is another one, or none, in the panoptic annotation than by the
            rule.
        different_shared_px: of them, claimed by several.
        panoptic_things: in the panoptic annotation, crowd regions aside.
    """

    image_id: str
    things: int
    things_in_conflict: int
    hidden: int
    shared_px: int
    thing_px: int
    different_px: int
    different_shared_px: int
    panoptic_things: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Pair:
    """Both annotations of an image, as maps.

    Attributes:
        sample: picture and panoptic annotation.
        ruled: the instance annotation made panoptic by the rule, with its own labels.
        ruled_labels: its classes.
        shared: (H, W) bool, claimed by several instances.
        different: (H, W) bool, see `Difference`.
        counts: the numbers.
    """

    sample: Sample
    ruled: PanopticMap
    ruled_labels: LabelSpace
    shared: Mask
    different: Mask
    counts: Difference


def open_instances(
    path: Path, pictures: Path, labels: LabelSpace, overlap: Overlap
) -> CocoInstances:
    """The instance annotation that belongs to a panoptic one.

    Classes that the panoptic annotation takes for stuff are stuff here too, whatever the list says.

    Raises:
        FileNotFoundError: if the list is missing.
        ValueError: if it is faulty, or shares no thing class with the panoptic annotation.
    """
    listed = read_instances(path)
    things = {c.dataset_id for c in labels.classes if c.is_thing}
    known = {c.dataset_id for c in labels.classes}
    shared = [c for c in listed.categories if c.dataset_id in things]
    if not shared:
        raise ValueError(
            f"{path}: expected categories with the ids of the panoptic annotation's things, got "
            "none. The two lists belong to different data sets."
        )
    categories = tuple(
        replace(c, is_thing=c.dataset_id in things) if c.dataset_id in known else c
        for c in listed.categories
    )
    whole = InstanceList(listed.name, categories, listed.images, listed.objects)
    return CocoInstances(pictures, whole, overlap=overlap)


def compare_pairs(
    instances: CocoInstances, panoptic: PanopticDataset, indices: Iterable[int]
) -> Iterable[Pair]:
    """Both annotations of images.

    Args:
        instances: the instance annotation.
        panoptic: the panoptic one.
        indices: of images in the panoptic annotation.

    Raises:
        ValueError: naming an image that the instance annotation lacks.
    """
    places = {instances.image_id(i): i for i in range(len(instances))}
    decode = instances.decode
    assert isinstance(decode, Flattened)
    for index in indices:
        sample = panoptic[index]
        place = places.get(sample.image_id)
        if place is None:
            raise ValueError(
                f"{sample.image_id}: expected this image in both annotations, the instance "
                "annotation lacks it. Compare lists of the same images."
            )
        assert sample.panoptic is not None
        ruled, found = decode.with_conflicts(instances.entries[place], sample.panoptic.size)
        different = _different(ruled, instances.labels, sample.panoptic, panoptic.labels)
        shared = found.claims > 1
        own = [
            s
            for s in sample.panoptic.segments
            if panoptic.labels.is_thing(s.class_id) and not s.is_crowd
        ]
        counts = Difference(
            image_id=sample.image_id,
            things=found.num_things,
            things_in_conflict=found.things,
            hidden=found.hidden,
            shared_px=found.pixels,
            thing_px=found.annotated_pixels,
            different_px=int(different.sum()),
            different_shared_px=int((different & shared).sum()),
            panoptic_things=len(own),
        )
        yield Pair(sample, ruled, instances.labels, shared, different, counts)


def _different(
    ruled: PanopticMap, ruled_labels: LabelSpace, panoptic: PanopticMap, labels: LabelSpace
) -> Mask:
    """Where the things of two maps are not the same.

    Each thing of the first is the one of its class in the second that it shares most pixels with;
    no two are the same. Crowd regions and stuff are no things.
    """
    dataset_id = {
        s.id: labels.classes[s.class_id].dataset_id
        for s in panoptic.segments
        if labels.is_thing(s.class_id) and not s.is_crowd
    }
    own = {
        s.id: ruled_labels.classes[s.class_id].dataset_id
        for s in ruled.segments
        if ruled_labels.is_thing(s.class_id) and not s.is_crowd
    }
    both = ruled.segment_map.astype(np.int64) << 32 | panoptic.segment_map
    pairs, counts = np.unique(both, return_counts=True)
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for pair in pairs[np.argsort(-counts, kind="stable")].tolist():
        one, other = pair >> 32, pair & 0xFFFFFFFF
        fits = one in own and other in dataset_id and own[one] == dataset_id[other]
        if fits and one not in matched and other not in taken:
            matched[one] = other
            taken.add(other)
    nobody = int(panoptic.segment_map.max(initial=0)) + 1  # a thing without counterpart
    things = paint_values(panoptic, {number: number for number in dataset_id}, VOID)
    mapped = paint_values(ruled, {one: matched.get(one, nobody) for one in own}, VOID)
    return np.asarray(things != mapped, bool)


def draw_pair(pair: Pair, labels: LabelSpace, *, height: int = 480) -> Picture:
    """Instances, panoptic annotation and their differences side by side, as in the paper's Fig. 4.

    Args:
        pair: of one image.
        labels: of its panoptic annotation.
        height: of each panel in pixels.

    Returns:
        (h, w, 3) uint8: left the instances with what several claim hatched, in the middle the
        panoptic annotation with the same places framed, at the right what differs.
    """
    image, panoptic = pair.sample.image, pair.sample.panoptic
    assert panoptic is not None
    scale = max(1, round(height / image.shape[0]))
    things = _things(pair.ruled, pair.ruled_labels)
    left = render.overlay(image, things, pair.ruled_labels, scale=scale).copy()
    middle = render.overlay(image, panoptic, labels, scale=scale).copy()
    shared = np.kron(pair.shared, np.ones((scale, scale), bool)).astype(bool)
    frame = render.outlines(shared.astype(np.int32), thickness=max(2, scale + 1))
    rows, columns = np.indices(shared.shape)
    left[shared & ((rows + columns) // 3 % 3 == 0)] = _SHARED
    left[frame] = _SHARED
    middle[frame] = _SHARED
    different = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    different = np.asarray(0.6 * different + 100, np.uint8)
    different[pair.different] = _DIFFERENT
    counts = pair.counts
    panels = {
        f"instances: {counts.things}, {counts.things_in_conflict} share {counts.shared_px} px "
        "(hatched)": left,
        f"panoptic: {counts.panoptic_things} things, the shared places framed": middle,
        f"other thing, or none, by the rule: {counts.different_px} px": different,
    }
    parts = [
        captions.with_caption(captions.fit_height(p, height), text) for text, p in panels.items()
    ]
    picture = captions.row(parts)
    present = {s.class_id for s in panoptic.segments}
    return captions.column([picture, render.legend(present, labels, picture.shape[1])], gap_px=0)


def _things(panoptic: PanopticMap, labels: LabelSpace) -> PanopticMap:
    kept = tuple(s for s in panoptic.segments if labels.is_thing(s.class_id))
    return PanopticMap(paint_values(panoptic, {s.id: s.id for s in kept}, VOID), kept)
