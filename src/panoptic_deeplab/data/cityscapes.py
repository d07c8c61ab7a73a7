"""Cityscapes as it is downloaded: `leftImg8bit` beside `gtFine` or `gtCoarse`, nothing generated.

The truth is read from `*_instanceIds.png`: a value of 1000 or more is class id * 1000 + instance,
one below is the class alone. Classes that are not evaluated are void; a class with instances that
stands alone is a group, which becomes a crowd segment. Source: cityscapesScripts,
`preparation/createPanopticImgs.py`, which makes the same segments with the same ids.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.examples import Examples, write_samples
from panoptic_deeplab.data.file_set import (
    Entry,
    FileSet,
    Size,
    map_from_values,
    number_instances,
    paint_values,
)
from panoptic_deeplab.data.format import (
    Format,
    MissingLabelsError,
    MissingPictureError,
    Source,
)
from panoptic_deeplab.data.id_images import encode_numbers, read_numbers
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample

DIVISOR = 1000
"""Instance ids are class id * this + number."""

STEM = re.compile(r"[^_]+_\d{6}_\d{6}")
"""An image's name: city, sequence, frame."""

_VOID_WITH_INSTANCES = ("caravan", "trailer")
"""Classes that are not evaluated but have instances; source: cityscapesScripts, labels.py."""

_PICTURE, _TRUTH = "_leftImg8bit.png", "_instanceIds.png"


def open_cityscapes(source: Source, truth: str = "") -> FileSet:
    """Open a split.

    Args:
        source: its root holds `leftImg8bit` and `gtFine` or `gtCoarse`, as they are or inside the
            folders that the downloads unpack to, such as `leftImg8bit_trainvaltest`.
        truth: "gtFine" or "gtCoarse"; empty: fine where the split has it, else coarse.

    Raises:
        FileNotFoundError: if a folder is missing, or a picture's truth, or a truth's picture.
    """
    pictures = _folder(source, "leftImg8bit")
    if pictures is None:
        raise FileNotFoundError(_missing(source, "leftImg8bit"))
    kinds = (truth,) if truth else ("gtFine", "gtCoarse")
    for kind in kinds:
        labels = _folder(source, kind)
        if labels is not None:
            break
    else:
        raise FileNotFoundError(_missing(source, " or ".join(kinds)))
    found = {p.name.removesuffix(_PICTURE): p for p in sorted(pictures.glob(f"*/*{_PICTURE}"))}
    ending = f"_{kind}{_TRUTH}"
    truths = {p.name.removesuffix(ending): p for p in sorted(labels.glob(f"*/*{ending}"))}
    for stem in sorted(set(truths) - set(found)):
        source.refuse(
            MissingPictureError(
                f"{truths[stem]}: expected its picture {stem}{_PICTURE} below {pictures}, "
                "found none. Restore it, or remove the labels."
            )
        )
    without = sorted(set(found) - set(truths)) if truths else []
    for stem in without:
        source.refuse(
            MissingLabelsError(
                f"{found[stem]}: expected its labels {stem}{ending} below {labels}, found none, "
                f"as for {len(without)} pictures in all. Restore them, or remove the pictures."
            )
        )
    entries = [
        Entry(stem, str(found[stem]), str(truths[stem]))
        for stem in sorted(set(truths) & set(found))
    ]
    return FileSet(read_table("cityscapes").labels, entries, InstanceIds(), origin=labels)


@dataclass(frozen=True)
class InstanceIds:
    """Decodes `_instanceIds.png`; see `ValueDecoder`."""

    divisor = DIVISOR
    classes_alone = True

    def __call__(self, entry: Entry, size: Size) -> PanopticMap:
        """Read one.

        Raises:
            ValueError: naming the file and the value, if it is of no class.
        """
        return map_from_values(self.values(entry), partial(self.identify, entry.truth))

    def values(self, entry: Entry) -> NDArray[np.int32]:
        """What the file holds."""
        return read_numbers(entry.truth)

    def identify(self, name: str, value: int) -> tuple[int, int, bool] | None:
        """(segment id, class_id, is_crowd) of a value; None if it is void."""
        table = read_table("cityscapes")
        number = value // DIVISOR if value >= DIVISOR else value
        if number in table.void:
            return None
        try:
            class_id = table.labels.class_id(number)
        except ValueError as error:
            raise ValueError(f"{name} (segment {value}): {error}") from error
        is_thing = table.labels.is_thing(class_id)
        if not is_thing:
            return number, class_id, False
        return value, class_id, value < DIVISOR

    def explains(self, value: int) -> bool:
        """Whether a value is of a known class, and of an instance only where its class has any."""
        table = read_table("cityscapes")
        number = value // DIVISOR if value >= DIVISOR else value
        if number in table.void:
            return value < DIVISOR or table.void[number] in _VOID_WITH_INSTANCES
        known = {c.dataset_id: c.is_thing for c in table.labels.classes}
        return number in known and (known[number] or value < DIVISOR)


class CityscapesWriter:
    """Writes pictures, `_instanceIds` and `_labelIds` of a split.

    Args:
        root: of the data set.
        split: such as "train".
        labels: the classes of Cityscapes.
        truth: "gtFine" or "gtCoarse".
    """

    def __init__(
        self, root: Path, split: str, labels: LabelSpace, *, truth: str = "gtFine"
    ) -> None:
        self._root, self._split, self._labels, self._truth = root, split, labels, truth
        self._count = 0

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image; one whose name is not CITY_SEQUENCE_FRAME is numbered in order."""
        assert sample.panoptic is not None
        stem = cityscapes_name(sample.image_id, self._count)
        self._count += 1
        values, classes = instance_values(sample.panoptic, self._labels, sample.image_id)
        city = stem.split("_")[0]
        image = self._root / "leftImg8bit" / self._split / city / f"{stem}{_PICTURE}"
        base = self._root / self._truth / self._split / city / f"{stem}_{self._truth}"
        write_whole(image, picture.as_png(sample))
        ids = paint_values(sample.panoptic, classes, 0)
        write_whole(base.with_name(f"{base.name}_labelIds.png"), encode_numbers(ids))
        instances = paint_values(sample.panoptic, values, 0)
        write_whole(base.with_name(base.name + _TRUTH), encode_numbers(instances, bits=16))
        return stem

    def close(self) -> None:
        """Nothing comes last."""


def cityscapes_name(image_id: str, index: int) -> str:
    """The image's name if it has the form CITY_SEQUENCE_FRAME, else one made of its number."""
    return image_id if STEM.fullmatch(image_id) else f"converted_{index:06d}_000000"


def instance_values(
    panoptic: PanopticMap, labels: LabelSpace, name: str
) -> tuple[dict[int, int], dict[int, int]]:
    """Segment id -> value in instanceIds, and -> value in labelIds.

    Raises:
        ValueError: if a class has more instances than the numbering has room for.
    """
    values, classes = {}, {}
    for segment, number in number_instances(panoptic, labels):
        dataset_id = labels.classes[segment.class_id].dataset_id
        if number is not None and number >= DIVISOR:
            raise ValueError(
                f"{name}: expected at most {DIVISOR} instances of "
                f"{labels.names[segment.class_id]!r}, which Cityscapes can number, got more. "
                "Leave the image out, or use another format."
            )
        classes[segment.id] = dataset_id
        values[segment.id] = dataset_id if number is None else dataset_id * DIVISOR + number
    return values, classes


def detect_cityscapes(root: Path, truth: str = "gtFine") -> str | None:
    """Know Cityscapes by pictures in leftImg8bit and instance ids in gtFine or gtCoarse."""
    pictures = next(iter(_places(root, "leftImg8bit")), None)
    labels = next(iter(_places(root, truth)), None)
    if pictures is None or labels is None:
        return None
    example = next(labels.glob(f"*/*/*{_TRUTH}"), None)
    return f"{example.relative_to(root)} and {pictures.relative_to(root)}" if example else None


def _places(root: Path, name: str) -> list[Path]:
    places = [root / name, *sorted(root.glob(f"{name}_*/{name}"))]
    return [place for place in places if place.is_dir()]


def _folder(source: Source, name: str) -> Path | None:
    """Folder of the split; there may be several downloads side by side, such as trainextra."""
    for place in _places(source.root, name):
        for split in source.split_names:
            if (place / split).is_dir():
                return place / split
    return None


def _missing(source: Source, what: str) -> str:
    return (
        f"{source.root}: expected the folder {what} with the split {source.split!r}, found none. "
        "Unpack the downloads of Cityscapes side by side there, or correct the split."
    )


def _write_example(truth: str, root: str | Path) -> None:
    labels = read_table("cityscapes").labels
    for seed, split in enumerate(("train", "val")):
        names = (f"example_00000{seed}_000000", f"example_00000{seed}_000001")
        writer = CityscapesWriter(Path(root), split, labels, truth=truth)
        write_samples(Examples(labels, seed, names), writer)


FINE = Format(
    title="Cityscapes",
    open=partial(open_cityscapes, truth="gtFine"),
    detect=detect_cityscapes,
    writer=CityscapesWriter,
    write_example=partial(_write_example, "gtFine"),
    table="cityscapes",
)
COARSE = Format(
    title="Cityscapes with coarse labels",
    open=partial(open_cityscapes, truth="gtCoarse"),
    detect=partial(detect_cityscapes, truth="gtCoarse"),
    writer=partial(CityscapesWriter, truth="gtCoarse"),
    write_example=partial(_write_example, "gtCoarse"),
    table="cityscapes",
)
