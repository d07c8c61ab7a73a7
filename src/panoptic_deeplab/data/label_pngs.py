"""Pictures beside PNGs of class ids: stuff only, since instances of a class cannot be told apart.

`labels.json` names the classes. Without it each number in the PNGs is a class of its own, called
"class N", for which all PNGs are read once. 255 is void, and so is every number in "void" of
`labels.json`.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.examples import STUFF, write_examples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size, map_from_values, paint_values
from panoptic_deeplab.data.format import ALIASES, Format, Source
from panoptic_deeplab.data.id_images import encode_numbers, read_numbers
from panoptic_deeplab.data.label_file import FILE, read_label_file, write_label_file
from panoptic_deeplab.data.own_folders import (
    find_layout,
    layouts,
    pair,
    pictures_by_name,
)
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import IGNORED, ClassInfo, LabelSpace, distinct_colors
from panoptic_deeplab.structures import PanopticMap, Sample

logger = logging.getLogger(__name__)

FOLDERS = ("labels", "masks", "annotations", "SegmentationClass", "SegmentationClassRaw")
"""What the folder of the PNGs is called."""


@dataclass(frozen=True)
class LabelPngs:
    """Decodes label PNGs.

    Attributes:
        labels: the classes.
        void: numbers that stand for none.
    """

    labels: LabelSpace
    void: frozenset[int]
    divisor = 1
    classes_alone = False

    def __call__(self, entry: Entry, size: Size) -> PanopticMap:
        """Read one.

        Raises:
            ValueError: naming the file and the number, if it is of no class.
        """
        return map_from_values(self.values(entry), partial(self.identify, entry.truth))

    def values(self, entry: Entry) -> NDArray[np.int32]:
        """What the file holds."""
        return read_numbers(entry.truth)

    def explains(self, value: int) -> bool:
        """Whether a number is of a class or void."""
        return value in self.void or value in {c.dataset_id for c in self.labels.classes}

    def identify(self, name: str, value: int) -> tuple[int, int, bool] | None:
        """(segment id, class_id, is_crowd) of a number; None if it is void."""
        if value in self.void:
            return None
        try:
            return value + 1, self.labels.class_id(value), False  # ids start at 1, numbers at 0
        except ValueError as error:
            raise ValueError(
                f'{name} (number {value}): {error} Or list it under "void" in {FILE}.'
            ) from error


def open_label_pngs(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if folders, or pictures of PNGs, are missing.
        ValueError: if `labels.json` is faulty or has things.
    """
    layout = find_layout(source, FOLDERS, (".png",), "PNGs of class ids in labels/")
    truths = {p.stem: p for p in sorted(layout.truths.glob("*.png"))}
    pairs = pair(source, layout, pictures_by_name(layout), truths)
    entries = [Entry(name, str(picture), str(truth)) for name, picture, truth in pairs]
    found = read_label_file(source.root, is_thing=False)
    void = frozenset({IGNORED})
    if found is None:
        labels = _labels_found(source.root)
    else:
        labels = found.labels
        listed = found.extras.get("void", [])
        if not isinstance(listed, list) or not all(type(n) is int for n in listed):
            raise ValueError(
                f"{source.root / FILE}: expected 'void' as a list of numbers, got {listed!r}."
            )
        void |= frozenset(listed)
    if labels.thing_ids:
        names = ", ".join(labels.names[i] for i in labels.thing_ids)
        raise ValueError(
            f"{source.root / FILE}: expected stuff only, got the things {names}: PNGs of class "
            "ids do not tell instances apart. Set is_thing to false, or bring PNGs of ids."
        )
    return FileSet(labels, entries, LabelPngs(labels, void), origin=layout.truths)


def _labels_found(root: Path) -> LabelSpace:
    """Classes made of the numbers in all PNGs, so that every split has the same."""
    splits = tuple(name for names in ALIASES.values() for name in names)
    numbers: set[int] = set()
    for layout in layouts(root, splits, FOLDERS):
        for path in sorted(layout.truths.glob("*.png")):
            numbers |= set(np.unique(read_numbers(path)).tolist())
    numbers -= {IGNORED}
    logger.warning(
        "%s: no %s, so the %d numbers in the PNGs become classes. Write it to name them.",
        *(root, FILE, len(numbers)),
    )
    colors = distinct_colors(len(numbers))
    classes = (ClassInfo(f"class {n}", n, False, colors[i]) for i, n in enumerate(sorted(numbers)))
    return LabelSpace(root.resolve().name, tuple(classes))


class LabelPngWriter:
    """Writes `images/SPLIT/`, `labels/SPLIT/` and `labels.json`; things become void.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.

    Raises:
        ValueError: if a class has an id above 254, or all are things.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._split, self._labels = root, split, labels
        stuff = tuple(labels.classes[i] for i in labels.stuff_ids)
        if not stuff or max(c.dataset_id for c in stuff) >= IGNORED:
            raise ValueError(
                f"Label PNGs hold stuff with ids up to 254; {labels.name!r} has "
                f"{len(stuff)} such classes with larger ids. Choose another format."
            )
        self._stuff = LabelSpace(labels.name, stuff)

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image."""
        assert sample.panoptic is not None
        values = {
            s.id: self._labels.classes[s.class_id].dataset_id
            for s in sample.panoptic.segments
            if not self._labels.is_thing(s.class_id)
        }
        numbers = paint_values(sample.panoptic, values, IGNORED)
        palette = {c.dataset_id: c.color for c in self._stuff.classes}
        name = sample.image_id
        file_name = f"{name}{picture.ending}"
        write_whole(self._root / "images" / self._split / file_name, picture.content)
        target = self._root / "labels" / self._split / f"{name}.png"
        write_whole(target, encode_numbers(numbers, palette=palette))
        return name

    def close(self) -> None:
        """Write `labels.json`."""
        write_label_file(self._root, self._stuff)


def detect_label_pngs(root: Path) -> str | None:
    """Know it by a folder of PNGs, named labels, masks or the like, beside pictures."""
    if not root.is_dir():
        return None
    for layout in layouts(root, ("train", "val", "training", "validation"), FOLDERS):
        example = next(layout.truths.glob("*.png"), None)
        if example is not None and any(layout.pictures.glob(f"{example.stem}.*")):
            return f"PNGs in {layout.truths.relative_to(root)} with the names of pictures"
    return None


LABEL_PNGS = Format(
    title="pictures with PNGs of class ids (stuff only)",
    open=open_label_pngs,
    detect=detect_label_pngs,
    writer=LabelPngWriter,
    write_example=partial(write_examples, LabelPngWriter, labels=STUFF),
    has_things=False,
)
