"""COCO's instance format: one JSON of objects with polygons or RLE, which may overlap.

`annotations/instances_SPLIT.json` lists things. Stuff, where there is any, stands in
`annotations/stuff_SPLIT.json` of the same form (as COCO-Stuff has it), or in the same file with
`isthing` 0 in its category. Without stuff, what no thing covers is a class "background".
Format: cocodataset.org/#format-data, "Object Detection".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_deeplab.data.coco_list import image_name
from panoptic_deeplab.data.examples import coco_names, write_examples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size
from panoptic_deeplab.data.format import Format, Overlap, Source
from panoptic_deeplab.data.label_file import LabelFile, with_rest
from panoptic_deeplab.data.overlaps import Flattened, Region, in_order, region_of
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.data.rle import decode_rle, encode_rle
from panoptic_deeplab.data.shapes import region_of_polygons
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import ClassInfo, LabelSpace, distinct_colors
from panoptic_deeplab.structures import Sample


@dataclass(frozen=True)
class InstanceList:
    """A checked list of objects.

    Attributes:
        name: of the file, for messages.
        categories: the file's categories as classes.
        images: image id -> (file name, (height, width) or None).
        objects: image id -> its annotations as they stand in the file.
    """

    name: str
    categories: tuple[ClassInfo, ...]
    images: dict[int | str, tuple[str, Size | None]]
    objects: dict[int | str, list[Mapping[str, Any]]]


class CocoInstances(FileSet):
    """Images whose truth is made from objects by the rule of overlaps.

    Args:
        pictures: folder of the pictures.
        things: the list of objects.
        stuff: a list of stuff of the same images, or None.
        overlap: who gets pixels that several objects claim.

    Raises:
        ValueError: if a list is faulty, or two contradict each other.
    """

    def __init__(
        self,
        pictures: Path,
        things: InstanceList,
        stuff: InstanceList | None = None,
        overlap: Overlap | None = None,
    ) -> None:
        lists = [things] if stuff is None else [things, stuff]
        classes = {c.dataset_id: c for c in things.categories}
        if stuff is not None:
            classes |= {c.dataset_id: replace(c, is_thing=False) for c in stuff.categories}
            classes |= {c.dataset_id: c for c in things.categories}
        ordered = tuple(classes[n] for n in sorted(classes))
        labels, rest = with_rest(LabelFile(LabelSpace(pictures.parent.name or "coco", ordered)))
        keys = {str(number): number for number in things.images}
        decode = Flattened(ObjectLists(tuple(lists), keys), labels, rest, overlap or Overlap())
        entries = [
            Entry(image_name(number, name), str(pictures / name), str(number))
            for number, (name, _) in things.images.items()
        ]
        super().__init__(labels, entries, decode, origin=things.name)


@dataclass(frozen=True)
class ObjectLists:
    """Regions of an entry, from one list or two."""

    lists: tuple[InstanceList, ...]
    keys: dict[str, int | str]

    def __call__(self, entry: Entry, size: Size, labels: LabelSpace) -> list[Region]:
        """Read those of an image of (height, width)."""
        number = self.keys[entry.truth]
        regions = []
        for source in self.lists:
            _, listed = source.images.get(number, ("", None))
            if listed is not None and listed != size:
                raise ValueError(
                    f"{entry.image}: expected {listed[0]}x{listed[1]} (height x width), as "
                    f"{source.name} lists it, got {size[0]}x{size[1]}. Check that both belong "
                    "together and that the picture is not meant to be turned."
                )
            for record in source.objects.get(number, ()):
                regions.append(read_object(record, size, labels, source.name))
        return regions


def read_object(record: Mapping[str, Any], size: Size, labels: LabelSpace, name: str) -> Region:
    """The region of one annotation: polygons, compressed or plain RLE.

    Raises:
        ValueError: naming file and annotation, if it is faulty.
    """
    where = f"{name}: annotation {record.get('id')!r} of image {record.get('image_id')!r}"
    try:
        class_id = labels.class_id(record.get("category_id", -1))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
    shape = record.get("segmentation")
    is_crowd = bool(record.get("iscrowd", 0))
    if isinstance(shape, Mapping):
        mask = decode_rle(shape, name=where)
        if mask.shape != size:
            raise ValueError(
                f"{where}: expected RLE of size {size[0]}x{size[1]} (height x width), got "
                f"{mask.shape[0]}x{mask.shape[1]}. The entry belongs to another picture."
            )
        return region_of(class_id, mask, is_crowd=is_crowd)
    if not isinstance(shape, list) or not all(isinstance(p, list) for p in shape):
        raise ValueError(
            f"{where}: expected 'segmentation' as polygons or RLE, got {str(shape)[:40]!r}. "
            "Boxes alone cannot be trained on; remove the entry."
        )
    try:
        polygons = [np.array(p, np.float64).reshape(-1, 2) for p in shape]
    except ValueError as error:
        raise ValueError(
            f"{where}: expected polygons as x, y, x, y, ..., got an odd number or no numbers. "
            "Correct this entry."
        ) from error
    return region_of_polygons(class_id, polygons, size, name=where, is_crowd=is_crowd)


def read_instances(path: Path) -> InstanceList:
    """Read and check a list.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and what is wrong with it.
    """
    try:
        whole = json.loads(path.read_bytes())
        categories = [_category(c, i) for i, c in enumerate(whole["categories"])]
        images = {r["id"]: (str(r["file_name"]), _size(r)) for r in whole["images"]}
        objects: dict[int | str, list[Mapping[str, Any]]] = {number: [] for number in images}
        for record in whole["annotations"]:
            objects[record["image_id"]].append(record)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: expected the JSON that lists the objects, found no such file. Check the path."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a list of objects with 'images', 'annotations' and 'categories' as "
            f"in COCO's instances_val2017.json, reading it failed at {error!r}. Restore the file."
        ) from error
    if not categories or len({c.dataset_id for c in categories}) < len(categories):
        raise ValueError(
            f"{path}: expected at least one category, each with an id of its own. Correct "
            "'categories'."
        )
    return InstanceList(str(path), tuple(categories), images, objects)


def _category(record: Mapping[str, Any], place: int) -> ClassInfo:
    color = record.get("color") or distinct_colors(place + 1)[place]
    red, green, blue = color
    is_thing = bool(record.get("isthing", 1))
    return ClassInfo(str(record["name"]), int(record["id"]), is_thing, (red, green, blue))


def _size(record: Mapping[str, Any]) -> Size | None:
    return (record["height"], record["width"]) if "height" in record else None


def open_coco_instances(source: Source) -> CocoInstances:
    """Find the lists and the pictures of a split.

    Raises:
        FileNotFoundError: if list or pictures are missing.
        ValueError: if a list is faulty.
    """
    path = find_list(source)
    things = read_instances(path)
    beside = path.with_name(path.name.replace("instances_", "stuff_", 1))
    stuff = (
        read_instances(beside) if path.name.startswith("instances_") and beside.is_file() else None
    )
    folder = _folder_of_first(source, path, [name for name, _ in things.images.values()])
    return CocoInstances(folder, things, stuff, source.overlap)


def _folder_of_first(source: Source, path: Path, names: list[str]) -> Path:
    """The folder of the first picture; where faults are collected, of the first that is there."""
    for name in names[: 50 if source.faults is not None else 0]:
        try:
            return picture_folder(source, path, name)
        except FileNotFoundError:
            continue
    return picture_folder(source, path, names[0] if names else "")


def find_list(source: Source) -> Path:
    """The list of objects of a split.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = next(iter(_lists(source.root, source.split_names)), None)
    if path is None:
        raise FileNotFoundError(
            f"{source.root}: expected annotations/instances_{source.split}.json, found none. "
            "Check the folder and the split."
        )
    return path


def picture_folder(source: Source, path: Path, example: str) -> Path:
    """Where the pictures of a list lie.

    Raises:
        FileNotFoundError: if they lie in none of the usual places.
    """
    named = path.stem.rpartition("_")[2]  # with the year, as in instances_val2017
    splits = dict.fromkeys((named, *source.split_names))
    bases = dict.fromkeys((path.parent.parent, path.parent, source.root))
    tried = [
        folder
        for base in bases
        for folder in (
            *(base / s for s in splits),
            *(base / "images" / s for s in splits),
            base / "images",
            base,
        )
    ]
    for folder in tried:
        if example and (folder / example).is_file():
            return folder
    raise FileNotFoundError(
        f"{source.root}: expected the pictures that {path} lists, such as {example}, in "
        f"{source.split}/ or images/, found none. Move them there."
    )


class CocoInstancesWriter:
    """Writes pictures into `SPLIT/` and the list of objects, stuff among them, at the end.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._split, self._labels = root, split, labels
        self._images: list[dict[str, Any]] = []
        self._objects: list[dict[str, Any]] = []

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image's picture and note its objects as RLE."""
        assert sample.panoptic is not None
        name = sample.image_id
        digits = name.isascii() and name.isdigit()
        number: int | str = int(name) if digits else name
        height, width = sample.panoptic.size
        file_name = f"{name}{picture.ending}"
        self._images.append(
            {"id": number, "file_name": file_name, "height": height, "width": width}
        )
        for segment in in_order(sample.panoptic, self._labels):
            mask = sample.panoptic.segment_map == segment.id
            region = region_of(segment.class_id, mask)
            box = [region.left, region.top, region.mask.shape[1], region.mask.shape[0]]
            self._objects.append(
                {
                    "id": len(self._objects) + 1,
                    "image_id": number,
                    "category_id": self._labels.classes[segment.class_id].dataset_id,
                    "segmentation": encode_rle(mask),
                    "area": segment.area_px,
                    "bbox": box,
                    "iscrowd": int(segment.is_crowd),
                }
            )
        write_whole(self._root / self._split / file_name, picture.content)
        return name

    def close(self) -> None:
        """Write the list."""
        categories = [
            {"id": c.dataset_id, "name": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
            for c in self._labels.classes
        ]
        whole = {"images": self._images, "annotations": self._objects, "categories": categories}
        path = self._root / "annotations" / f"instances_{self._split}.json"
        write_whole(path, json.dumps(whole).encode())


def detect_coco_instances(root: Path) -> str | None:
    """Know it by the list's name."""
    found = _lists(root, ("*",)) if root.is_dir() else []
    return str(found[0].relative_to(root)) if found else None


def _lists(root: Path, splits: tuple[str, ...]) -> list[Path]:
    """Lists of the splits: instances_SPLIT.json, or SPLIT/_annotations.coco.json."""
    found = []
    for split in splits:
        years = ("",) if split == "*" else ("", "[0-9][0-9][0-9][0-9]")
        for year in years:
            for folder in ("annotations/", "", "*/annotations/"):
                found += sorted(root.glob(f"{folder}instances_{split}{year}.json"))
        found += sorted(root.glob(f"{split}/_annotations.coco.json"))
    return found


COCO_INSTANCES = Format(
    title="COCO instances",
    open=open_coco_instances,
    detect=detect_coco_instances,
    writer=CocoInstancesWriter,
    write_example=partial(write_examples, CocoInstancesWriter, names=coco_names),
)
