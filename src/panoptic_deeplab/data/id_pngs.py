"""Pictures beside PNGs of ids, with `labels.json` saying what the ids mean.

An id is class id * divisor + number, like Cityscapes' instance ids: stuff has number 0, things
count from 1, a thing class with number 0 is a crowd region, and 0 is void. "divisor" stands in
`labels.json`, 1000 by default. Grey of 16 bits, or RGB as red + 256 green + 65536 blue.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.coco_writer import encode_ids
from panoptic_deeplab.data.examples import write_examples
from panoptic_deeplab.data.file_set import (
    Entry,
    FileSet,
    Size,
    map_from_values,
    number_instances,
    paint_values,
)
from panoptic_deeplab.data.format import Format, Source
from panoptic_deeplab.data.id_images import encode_numbers, read_numbers
from panoptic_deeplab.data.label_file import (
    FILE,
    LabelFile,
    read_label_file,
    write_label_file,
)
from panoptic_deeplab.data.own_folders import find_layout, layouts, pair, pictures_by_name
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample

DIVISOR = 1000
FOLDERS = ("ids", "panoptic", "segments")
"""What the folder of the PNGs is called."""


@dataclass(frozen=True)
class IdPngs:
    """Decodes id PNGs.

    Attributes:
        labels: the classes.
        divisor: ids are class id * this + number.
    """

    labels: LabelSpace
    divisor: int
    classes_alone = False

    def __call__(self, entry: Entry, size: Size) -> PanopticMap:
        """Read one.

        Raises:
            ValueError: naming the file and the id, if it is of no class.
        """
        return map_from_values(self.values(entry), partial(self.identify, entry.truth))

    def values(self, entry: Entry) -> NDArray[np.int32]:
        """What the file holds."""
        return read_numbers(entry.truth, with_rgb=True)

    def explains(self, value: int) -> bool:
        """Whether a value is of a known class, and has a number only if its class has things."""
        dataset_id, number = divmod(value, self.divisor)
        things = {c.dataset_id: c.is_thing for c in self.labels.classes}
        return value == 0 or (dataset_id in things and (things[dataset_id] or number == 0))

    def identify(self, name: str, value: int) -> tuple[int, int, bool] | None:
        """(segment id, class_id, is_crowd) of a value; None if it is void."""
        if value == 0:
            return None
        dataset_id, number = divmod(value, self.divisor)
        try:
            class_id = self.labels.class_id(dataset_id)
        except ValueError as error:
            raise ValueError(
                f"{name} (id {value}, class {dataset_id} with divisor {self.divisor}): {error}"
            ) from error
        is_thing = self.labels.is_thing(class_id)
        return value if is_thing else dataset_id * self.divisor, class_id, is_thing and not number


def open_id_pngs(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if `labels.json`, folders, or pictures of PNGs are missing.
        ValueError: if `labels.json` is faulty.
    """
    layout = find_layout(source, FOLDERS, (".png",), "PNGs of ids in ids/")
    found = read_label_file(source.root, is_thing=False)
    if found is None:
        raise FileNotFoundError(
            f"{source.root}: expected {FILE}, which says what the ids mean, found none. Write it: "
            '{"classes": [{"name": "car", "id": 1, "is_thing": true}, ...], "divisor": 1000}.'
        )
    divisor = _divisor(found, source.root)
    if any(c.dataset_id == 0 for c in found.labels.classes):
        raise ValueError(
            f"{source.root / FILE}: expected class ids from 1, got 0, which is void in the PNGs. "
            "Number the class anew."
        )
    truths = {p.stem: p for p in sorted(layout.truths.glob("*.png"))}
    pairs = pair(source, layout, pictures_by_name(layout), truths)
    entries = [Entry(name, str(picture), str(truth)) for name, picture, truth in pairs]
    return FileSet(found.labels, entries, IdPngs(found.labels, divisor), origin=layout.truths)


def _divisor(found: LabelFile, root: Path) -> int:
    divisor = found.extras.get("divisor", DIVISOR)
    if type(divisor) is not int or divisor < 1:
        raise ValueError(
            f"{root / FILE}: expected 'divisor' as a whole number above 0, got {divisor!r}."
        )
    return divisor


class IdPngWriter:
    """Writes `images/SPLIT/`, `ids/SPLIT/` and `labels.json`.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments; none may have the id 0.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._split, self._labels = root, split, labels
        self._in_rgb = (max(c.dataset_id for c in labels.classes) + 1) * DIVISOR > 2**16
        if any(c.dataset_id == 0 for c in labels.classes):
            raise ValueError(
                f"Id PNGs need class ids from 1, since 0 is void; {labels.name!r} has a class 0. "
                "Choose another format."
            )

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image.

        Raises:
            ValueError: if a class has more instances than the divisor allows.
        """
        assert sample.panoptic is not None
        values = {}
        for segment, number in number_instances(sample.panoptic, self._labels):
            if number is not None and number + 1 >= DIVISOR:
                raise ValueError(
                    f"{sample.image_id}: expected fewer than {DIVISOR} instances of "
                    f"{self._labels.names[segment.class_id]!r}, got more. Use another format."
                )
            base = self._labels.classes[segment.class_id].dataset_id * DIVISOR
            values[segment.id] = base if number is None else base + number + 1
        ids = np.asarray(paint_values(sample.panoptic, values, 0), np.int32)
        name = sample.image_id
        content = (
            encode_ids(ids, name=name) if self._in_rgb else encode_numbers(ids, bits=16, name=name)
        )
        file_name = f"{name}{picture.ending}"
        write_whole(self._root / "images" / self._split / file_name, picture.content)
        write_whole(self._root / "ids" / self._split / f"{name}.png", content)
        return name

    def close(self) -> None:
        """Write `labels.json`."""
        write_label_file(self._root, self._labels, divisor=DIVISOR)


def detect_id_pngs(root: Path) -> str | None:
    """Know it by a folder of PNGs named ids, panoptic or segments, with `labels.json`."""
    if not (root / FILE).is_file():
        return None
    for layout in layouts(root, ("train", "val"), FOLDERS):
        if next(layout.truths.glob("*.png"), None) is not None:
            return f"PNGs in {layout.truths.relative_to(root)} and {FILE}"
    return None


ID_PNGS = Format(
    title="pictures with PNGs of ids",
    open=open_id_pngs,
    detect=detect_id_pngs,
    writer=IdPngWriter,
    write_example=partial(write_examples, IdPngWriter),
)
