"""Mapillary Vistas in its own folders: v1.2, the same labels in the older v1.1 layout, and v2.0.

The truth is read from `SPLIT/VERSION/instances/*.png`, 16 bits: label * 256 + instance number. A
label is a place in the list of `config_VERSION.json`; labels that the list does not evaluate are
void, those that have instances are things. Inside, a class's dataset_id is its place plus 1 and a
segment's id is dataset_id * 256 + number, so that no id is 0. There are no crowd regions.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.class_tables import ClassTable, read_table
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
from panoptic_deeplab.data.pictures import ENDINGS, PictureFile
from panoptic_deeplab.files import as_json, write_whole
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample

DIVISOR = 256
"""Instance values are label * this + number."""

TABLES = {"v1.2": "mapillary_v1_2", "v2.0": "mapillary_v2_0"}
"""Version of the labels -> table of classes."""

_SPLITS = {"train": "training", "val": "validation", "test": "testing"}


def open_mapillary(source: Source, version: str) -> FileSet:
    """Open a split.

    Args:
        source: its root holds `training`, `validation` and the list of labels.
        version: "v1.2" or "v2.0".

    Raises:
        FileNotFoundError: if a folder is missing, or a picture's truth, or a truth's picture.
        ValueError: if the list of labels cannot be read.
    """
    split = next((s for s in source.split_names if (source.root / s / "images").is_dir()), None)
    if split is None:
        raise FileNotFoundError(
            f"{source.root}: expected {_SPLITS.get(source.split, source.split)}/images, found "
            "none. Name the folder that holds it, or correct the split."
        )
    folder = _truth_folder(source.root / split, version)
    if folder is None:
        raise FileNotFoundError(
            f"{source.root / split}: expected the labels in {version}/instances, found no such "
            "folder. Unpack the labels there."
        )
    pictures = {
        p.stem: p
        for p in sorted((source.root / split / "images").iterdir())
        if p.suffix.lower() in ENDINGS
    }
    truths = {p.stem: p for p in sorted(folder.glob("*.png"))}
    for some, others, what, kind in (
        (truths, pictures, "picture", MissingPictureError),
        (pictures, truths, "labels", MissingLabelsError),
    ):
        for key in sorted(set(some) - set(others)):
            source.refuse(
                kind(
                    f"{some[key]}: expected its {what} of the same name below "
                    f"{source.root / split}, found none. Restore it, or remove this file."
                )
            )
    both = sorted(set(truths) & set(pictures))
    entries = [Entry(key, str(pictures[key]), str(truths[key])) for key in both]
    classes = read_config(source.root, version)
    return FileSet(classes.table.labels, entries, classes, origin=folder)


@dataclass(frozen=True)
class Instances:
    """Decodes the instance maps of one version.

    Attributes:
        table: classes, dataset_id being the label's place plus 1.
    """

    table: ClassTable
    divisor = DIVISOR
    classes_alone = False

    def __call__(self, entry: Entry, size: Size) -> PanopticMap:
        """Read an instance map.

        Raises:
            ValueError: naming the file and the value, if it is of no label.
        """
        return map_from_values(self.values(entry), partial(self.identify, entry.truth))

    def values(self, entry: Entry) -> NDArray[np.int32]:
        """What the file holds."""
        return read_numbers(entry.truth)

    def explains(self, value: int) -> bool:
        """Whether a value is of a known label, and of an instance only where its label has any."""
        number = value // DIVISOR + 1
        if number in self.table.void:
            return True
        things = {c.dataset_id: c.is_thing for c in self.table.labels.classes}
        return number in things and (things[number] or value % DIVISOR == 0)

    def identify(self, name: str, value: int) -> tuple[int, int, bool] | None:
        """(segment id, class_id, is_crowd) of a value; None if it is void."""
        number = value // DIVISOR + 1
        if number in self.table.void:
            return None
        try:
            class_id = self.table.labels.class_id(number)
        except ValueError as error:
            raise ValueError(f"{name} (value {value}): {error}") from error
        if self.table.labels.is_thing(class_id):
            return value + DIVISOR, class_id, False
        return number * DIVISOR, class_id, False


def read_config(root: Path, version: str) -> Instances:
    """The labels of a data set: its own list if there is one, else the package's.

    Raises:
        ValueError: naming the file, if it is not such a list.
    """
    names = (f"config_{version}.json", *(("config.json",) if version == "v1.2" else ()))
    path = next((root / n for n in names if (root / n).is_file()), None)
    if path is None:
        return Instances(read_table(TABLES[version]))
    try:
        records = json.loads(path.read_bytes())["labels"]
        classes = [_class_from(i, r) for i, r in enumerate(records)]
        evaluated = [bool(r.get("evaluate", True)) for r in records]
        labels = LabelSpace(
            read_table(TABLES[version]).labels.name,
            tuple(c for c, counts in zip(classes, evaluated, strict=True) if counts),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a list 'labels' whose entries have name, color, instances and "
            f"evaluate, reading it failed at {error!r}. Restore the file from the download."
        ) from error
    void = {
        c.dataset_id: c.name for c, counts in zip(classes, evaluated, strict=True) if not counts
    }
    return Instances(ClassTable(labels, void, {c.dataset_id: c.color for c in classes}))


def _class_from(place: int, record: Mapping[str, Any]) -> ClassInfo:
    red, green, blue = (int(c) for c in record["color"])
    return ClassInfo(str(record["name"]), place + 1, bool(record["instances"]), (red, green, blue))


class MapillaryWriter:
    """Writes pictures, class and instance maps of a split, and the list of labels.

    Pictures that are no JPEG stay PNG; crowd regions become void.

    Args:
        root: of the data set.
        split: such as "train", whose folder is "training".
        labels: the classes of that version.
        version: "v1.2" or "v2.0".
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace, *, version: str) -> None:
        self._root, self._labels, self._version = root, labels, version
        self._folder = root / _SPLITS.get(split, split)
        self._table = read_table(TABLES[version])

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image.

        Raises:
            ValueError: if a class has more than 256 instances.
        """
        assert sample.panoptic is not None
        void = min(n for n, name in self._table.void.items() if name == "void--unlabeled") - 1
        instances, classes = {}, {}
        for segment, number in number_instances(sample.panoptic, self._labels):
            label = self._labels.classes[segment.class_id].dataset_id - 1
            if segment.is_crowd:
                continue
            if number is not None and number >= DIVISOR:
                raise ValueError(
                    f"{sample.image_id}: expected at most {DIVISOR} instances of "
                    f"{self._labels.names[segment.class_id]!r}, which Mapillary Vistas can "
                    "number, got more. Leave the image out, or use another format."
                )
            classes[segment.id] = label
            instances[segment.id] = label * DIVISOR + (number or 0)
        key = sample.image_id
        write_whole(self._folder / "images" / f"{key}{picture.ending}", picture.content)
        palette = {number - 1: color for number, color in self._table.colors.items()}
        labels = paint_values(sample.panoptic, classes, void)
        base = self._folder / self._version
        write_whole(base / "labels" / f"{key}.png", encode_numbers(labels, palette=palette))
        values = paint_values(sample.panoptic, instances, void * DIVISOR)
        write_whole(base / "instances" / f"{key}.png", encode_numbers(values, bits=16))
        return key

    def close(self) -> None:
        """Write the list of labels."""
        things = {c.dataset_id for c in self._labels.classes if c.is_thing}
        names = {c.dataset_id: c.name for c in self._labels.classes} | self._table.void
        records = [
            {
                "name": names[number],
                "color": list(self._table.colors[number]),
                "instances": number in things,
                "evaluate": number not in self._table.void,
            }
            for number in sorted(names)
        ]
        whole = {"labels": records, "version": self._version.removeprefix("v")}
        write_whole(self._root / f"config_{self._version}.json", as_json(whole))


def detect_mapillary(root: Path, version: str) -> str | None:
    """Know Mapillary Vistas by pictures in training/images and maps in its instances folder."""
    for split in ("training", "validation", "train", "val"):
        folder = _truth_folder(root / split, version)
        if folder is not None and (root / split / "images").is_dir():
            if next(folder.glob("*.png"), None) is None:
                continue
            older = folder.parent.name != version
            if older and not (root / "config.json").is_file() and split not in _SPLITS.values():
                continue  # train/images and train/instances alone say too little
            return f"{folder.relative_to(root)} and {split}/images"
    return None


def _truth_folder(folder: Path, version: str) -> Path | None:
    names = (f"{version}/instances", *(("instances",) if version == "v1.2" else ()))
    return next((folder / n for n in names if (folder / n).is_dir()), None)


def _write_example(version: str, root: str | Path) -> None:
    labels = read_table(TABLES[version]).labels
    for seed, split in enumerate(("train", "val")):
        examples = Examples(labels, seed, crowd=False)
        write_samples(examples, MapillaryWriter(Path(root), split, labels, version=version))


def _format(version: str) -> Format:
    return Format(
        title=f"Mapillary Vistas {version}",
        open=partial(open_mapillary, version=version),
        detect=partial(detect_mapillary, version=version),
        writer=partial(MapillaryWriter, version=version),
        write_example=partial(_write_example, version),
        table=TABLES[version],
    )


V1_2, V2_0 = _format("v1.2"), _format("v2.0")
