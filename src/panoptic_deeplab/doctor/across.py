"""Faults that show only when images, or splits, are compared with each other."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.doctor.examined import Facts
from panoptic_deeplab.doctor.faults import Finding
from panoptic_deeplab.labels import LabelSpace


def compare(
    facts: Mapping[str, Sequence[Facts]], labels: Mapping[str, LabelSpace]
) -> list[Finding]:
    """Same pictures within a split and in two, and classes that are not where they should be.

    Args:
        facts: by split, training first.
        labels: the same.
    """
    return [*_same_pictures(facts), *_labels(labels), *_classes(facts, labels)]


def class_counts(facts: Sequence[Facts], num_classes: int) -> NDArray[np.int64]:
    """(K, 4): images, segments without crowds, pixels, crowd regions of each class."""
    counts = np.zeros((num_classes, 4), np.int64)
    for fact in facts:
        classes, areas, crowd = fact.segments[:, 0], fact.segments[:, 1], fact.segments[:, 2]
        counts[np.unique(classes), 0] += 1
        np.add.at(counts[:, 1], classes[crowd == 0], 1)
        np.add.at(counts[:, 2], classes, areas)
        np.add.at(counts[:, 3], classes[crowd == 1], 1)
    return counts


def _same_pictures(facts: Mapping[str, Sequence[Facts]]) -> Iterator[Finding]:
    groups: dict[bytes, list[tuple[str, Facts]]] = defaultdict(list)
    for split, found in facts.items():
        for fact in found:
            if fact.digest:
                groups[fact.digest].append((split, fact))
    for group in groups.values():
        seen: dict[str, Facts] = {}
        for split, fact in group:
            same = seen.setdefault(split, fact)
            if same is not fact:
                yield _pair("duplicate", (split, fact), (split, same))
        (first, one), *rest = seen.items()
        for split, fact in rest:
            yield _pair("leak", (first, one), (split, fact))


def _pair(kind: str, one: tuple[str, Facts], other: tuple[str, Facts]) -> Finding:
    (split, fact), (other_split, other_fact) = one, other
    differ = fact.truth_digest != other_fact.truth_digest
    labels = ", with other labels" if differ else ""
    return Finding(
        kind,
        split,
        f"{split}: {fact.image_id}",
        f"image {fact.image_id!r} of {split!r} is the same picture as {other_fact.image_id!r} of "
        f"{other_split!r}{labels}.",
        fact.image_id,
        fact.index,
        other=(other_split, other_fact.index),
    )


def _labels(labels: Mapping[str, LabelSpace]) -> Iterator[Finding]:
    first, *rest = labels
    own = {(c.dataset_id, c.name, c.is_thing) for c in labels[first].classes}
    for split in rest:
        others = {(c.dataset_id, c.name, c.is_thing) for c in labels[split].classes}
        different = sorted(own ^ others)
        if different:
            number, name, is_thing = different[0]
            kind = "thing" if is_thing else "stuff"
            where = first if different[0] in own else split
            yield Finding(
                "classes-differ",
                split,
                split,
                f"{first!r} and {split!r} differ in their classes: {number} {name} ({kind}) is "
                f"only in {where!r}; {len(different)} such differences.",
                count=len(different),
            )


def _classes(
    facts: Mapping[str, Sequence[Facts]], labels: Mapping[str, LabelSpace]
) -> Iterator[Finding]:
    """By name, since numbers may differ."""
    counts = {
        split: dict(
            zip(labels[split].names, class_counts(found, labels[split].num_classes), strict=True)
        )
        for split, found in facts.items()
    }
    if not any(len(fact.segments) for found in facts.values() for fact in found):
        return
    things = {n for space in labels.values() for n in (space.names[i] for i in space.thing_ids)}
    names = list(dict.fromkeys(n for space in labels.values() for n in space.names))
    nothing = np.zeros(4, np.int64)
    unused: list[str] = []
    for name in names:
        images = {split: int(found.get(name, nothing)[0]) for split, found in counts.items()}
        single = sum(int(found.get(name, nothing)[1]) for found in counts.values())
        if not any(images.values()):
            unused.append(name)
            continue
        if name in things and not single:
            yield _about("only-crowd", "", name, "has crowd regions alone")
        if not {"train", "val"} <= set(images):
            continue
        if not images["train"]:
            text = f"occurs in {images['val']} images of val and in none of train"
            yield _about("untrained-class", "val", name, text)
        elif not images["val"]:
            text = f"occurs in {images['train']} images of train and in none of val"
            yield _about("not-validated-class", "train", name, text)
    if unused:
        what = f"no image has any of {len(unused)} classes: {', '.join(unused)}."
        yield Finding("never-used-class", "", "classes", what, count=len(unused))


def _about(kind: str, split: str, name: str, what: str) -> Finding:
    return Finding(kind, split, f"class {name}", f"class {name!r} {what}.")
