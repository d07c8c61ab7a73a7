"""CVAT for images: one `annotations.xml` with polygons, masks, boxes and ellipses.

`z_order` says what lies above what; shapes of one label with one `group_id` are parts of one thing;
an attribute "crowd" of "true" marks a crowd region. Images are told apart by their `subset`, by
folders of splits, or by the seeded rule. XML with a document type is refused, so nothing outside
the file is ever read. Format: docs.cvat.ai, "XML annotation format", version 1.1.
"""

import xml.etree.ElementTree as Xml
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from xml.parsers import expat

import numpy as np

from panoptic_deeplab.data.examples import write_examples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size
from panoptic_deeplab.data.format import ALIASES, Format, MissingPictureError, Source
from panoptic_deeplab.data.label_file import (
    FILE,
    LabelFile,
    read_label_file,
    with_rest,
    write_label_file,
)
from panoptic_deeplab.data.overlaps import Flattened, Region, in_order, region_of
from panoptic_deeplab.data.own_folders import PICTURES, names_of_split
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.data.shapes import (
    box,
    check_listed_size,
    ellipse,
    group,
    points,
    polygons_of,
    region_of_polygons,
)
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import ClassInfo, LabelSpace, distinct_colors, near_names
from panoptic_deeplab.structures import Sample

NAME = "annotations.xml"
_CROWD = "crowd"


@dataclass(frozen=True)
class Listed:
    """One image of the list.

    Attributes:
        name: of the picture, as it stands there.
        where: the list and the image, for messages.
        size: what the list states.
        shapes: (kind, attributes) of each shape, with its own attributes under "crowd".
    """

    name: str
    where: str
    size: Mapping[str, str]
    shapes: tuple[tuple[str, Mapping[str, str]], ...]


def open_cvat(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if the list, or a picture, is missing.
        ValueError: if the list is damaged or no list of CVAT.
    """
    path, by_folder = _find(source)
    root, labels_listed = _parse(path)
    images = [_listed(element, path) for element in root.iter("image")]
    subsets = {e.get("name", ""): e.get("subset", "") for e in root.iter("image")}
    if any(subsets[i.name] for i in images):
        folded = {s.lower() for s in source.split_names}
        images = [i for i in images if subsets[i.name].lower() in folded]
    elif not by_folder:
        if source.split not in (*ALIASES["train"], *ALIASES["val"]):
            images = []
        else:
            chosen = set(names_of_split([i.name for i in images], source))
            images = [i for i in images if i.name in chosen]
    if not images:
        raise FileNotFoundError(
            f"{path}: expected images of the split {source.split!r}, found none. Check the split."
        )
    found = read_label_file(source.root) or LabelFile(
        LabelSpace(source.root.resolve().name, labels_listed)
    )
    labels, rest = with_rest(found, name=source.root / FILE)
    entries = []
    for i, image in enumerate(images):
        try:
            entries.append(_entry(image, path, i))
        except MissingPictureError as error:
            source.refuse(error)
    decode = Flattened(_Shapes(tuple(images)), labels, rest, source.overlap)
    return FileSet(labels, entries, decode, origin=path)


def _find(source: Source) -> tuple[Path, bool]:
    for split in source.split_names:
        for folder in (source.root / split, source.root / "annotations" / split):
            if (folder / NAME).is_file():
                return folder / NAME, True
    for path in (source.root / NAME, source.root / "annotations" / NAME):
        if path.is_file():
            return path, False
    raise FileNotFoundError(
        f"{source.root}: expected {NAME}, there or in the folder {source.split}, found none. "
        "Export the task as 'CVAT for images 1.1' and unpack it there."
    )


def _parse(path: Path) -> tuple[Xml.Element, tuple[ClassInfo, ...]]:
    content = path.read_bytes()
    try:
        _refuse_document_type(content)
        root = Xml.fromstring(content)
    except (Xml.ParseError, expat.ExpatError, ValueError) as error:
        raise ValueError(
            f"{path}: expected XML of CVAT without a document type, reading it failed: {error}. "
            "The file may be cut short; export it again."
        ) from error
    if root.tag != "annotations":
        raise ValueError(
            f"{path}: expected CVAT's <annotations>, got <{root.tag}>. Export the task as 'CVAT "
            "for images 1.1'."
        )
    if next(root.iter("track"), None) is not None:
        raise ValueError(
            f"{path}: expected 'CVAT for images', got tracks of a video. Export the task as 'CVAT "
            "for images 1.1'."
        )
    listed = {e.findtext("name", ""): e.findtext("color") or "" for e in root.iter("label")}
    drawn = {shape.get("label", "") for image in root.iter("image") for shape in image} - {
        "",
        *listed,
    }
    names = [*listed, *sorted(drawn)]
    if not names:
        raise ValueError(f"{path}: expected labels or shapes, found none. Export the task again.")
    colors = distinct_colors(len(names))
    return root, tuple(
        ClassInfo(name, i + 1, True, _color(listed.get(name, "")) or colors[i])
        for i, name in enumerate(names)
    )


def _refuse_document_type(content: bytes) -> None:
    """Entities, which can name other files or grow without end, stand in a document type."""

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _color(text: str) -> tuple[int, int, int] | None:
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue


def _listed(element: Xml.Element, path: Path) -> Listed:
    name = element.get("name", "")
    shapes = []
    for shape in element:
        if shape.tag == "tag":
            continue
        crowd = next((a.text or "" for a in shape.iter("attribute") if a.get("name") == _CROWD), "")
        shapes.append((shape.tag, {**shape.attrib, _CROWD: crowd}))
    return Listed(name, f"{path}: image {name!r}", dict(element.attrib), tuple(shapes))


def _entry(image: Listed, path: Path, place: int) -> Entry:
    parts = PurePosixPath(image.name)
    if not image.name or parts.is_absolute() or ".." in parts.parts:
        raise ValueError(
            f"{image.where}: expected a file name relative to the list, got {image.name!r}. "
            "Correct the list."
        )
    bases = (path.parent, path.parent.parent)
    tried = [b / folder / parts for b in bases for folder in (*PICTURES, "")]
    found = next((p for p in tried if p.is_file()), None)
    if found is None:
        raise MissingPictureError(
            f"{image.where}: expected the picture in {path.parent}/images or beside the list, "
            "found none. Export the task with its images, or put them there."
        )
    return Entry(str(parts.with_suffix("")), str(found), str(place))


@dataclass(frozen=True)
class _Shapes:
    images: tuple[Listed, ...]

    def __call__(self, entry: Entry, size: Size, labels: LabelSpace) -> list[Region]:
        image = self.images[int(entry.truth)]
        check_listed_size(image.size, ("height", "width"), size, image.where, entry.image)
        parts = []
        for i, (kind, shape) in enumerate(image.shapes):
            where = f"{image.where}, shape {i + 1}"
            label = shape.get("label", "")
            if label not in labels.names:
                raise ValueError(
                    f"{where}: unknown label {label!r}. {near_names(label, labels.names)} Correct "
                    f"it, or add the class to {FILE}."
                )
            region = _region(kind, shape, labels.names.index(label), size, where)
            layer, number = int(shape.get("z_order") or 0), shape.get("group_id")
            key = (label, number) if number and number != "0" else None
            parts.append((key, replace(region, layer=layer)))
        return [replace(r, number=i + 1) for i, r in enumerate(group(parts))]


def _region(kind: str, shape: Mapping[str, str], class_id: int, size: Size, where: str) -> Region:
    is_crowd = shape[_CROWD].lower() in ("true", "1")
    try:
        if kind == "mask":
            return _mask(shape, class_id, size, is_crowd)
        if kind == "polygon":
            corners = points([p.split(",") for p in shape["points"].split(";")], where)
        elif kind == "box":
            corners = box(*(float(shape[key]) for key in ("xtl", "ytl", "xbr", "ybr")))
        elif kind == "ellipse":
            corners = ellipse(*(float(shape[key]) for key in ("cx", "cy", "rx", "ry")))
        else:
            raise ValueError(
                f"{where}: expected a polygon, mask, box or ellipse, got {kind!r}. Only areas can "
                "be trained on; remove it in CVAT."
            )
    except (KeyError, OverflowError) as error:
        raise ValueError(
            f"{where}: expected a whole {kind}, {error} is missing. Export the task again."
        ) from error
    return region_of_polygons(class_id, [corners], size, name=where, is_crowd=is_crowd)


def _mask(shape: Mapping[str, str], class_id: int, size: Size, is_crowd: bool) -> Region:
    """Run lengths along the rows of the mask's box, zeros first."""
    left, top, width, height = (int(shape[key]) for key in ("left", "top", "width", "height"))
    runs = np.array([int(n) for n in shape["rle"].split(",")], np.int64)
    inside = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if not inside or runs.min(initial=0) < 0 or int(runs.sum()) != width * height:
        raise ValueError(
            f"expected a mask in the picture whose runs fill its box of {height}x{width} (height "
            f"x width), got runs of {int(runs.sum())}. Export the task again."
        )
    values = (np.arange(len(runs)) % 2).astype(bool)
    mask = np.repeat(values, runs).reshape(height, width)
    region = region_of(class_id, mask, is_crowd=is_crowd)
    return replace(region, top=region.top + top, left=region.left + left)


class CvatWriter:
    """Writes `SPLIT/images/`, `SPLIT/annotations.xml` and `labels.json`.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._folder, self._labels = root, root / split, labels
        self._list = Xml.Element("annotations")
        Xml.SubElement(self._list, "version").text = "1.1"
        meta = Xml.SubElement(Xml.SubElement(self._list, "meta"), "task")
        listed = Xml.SubElement(meta, "labels")
        for info in labels.classes:
            label = Xml.SubElement(listed, "label")
            Xml.SubElement(label, "name").text = info.name
            Xml.SubElement(label, "color").text = "#" + bytes(info.color).hex()
        self._count = 0

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image's picture and note its shapes."""
        assert sample.panoptic is not None
        name = f"{sample.image_id}{picture.ending}"
        height, width = sample.panoptic.size
        image = Xml.SubElement(
            self._list,
            "image",
            {"id": str(self._count), "name": name, "width": str(width), "height": str(height)},
        )
        self._count += 1
        polygons = polygons_of(sample.panoptic)
        for i, segment in enumerate(in_order(sample.panoptic, self._labels)):
            parts = polygons[segment.id]
            for corners in parts:
                text = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners.tolist())
                attributes = {
                    "label": self._labels.names[segment.class_id],
                    "source": "manual",
                    "occluded": "0",
                    "points": text,
                    "z_order": "0",
                }
                if len(parts) > 1:
                    attributes["group_id"] = str(i + 1)
                shape = Xml.SubElement(image, "polygon", attributes)
                if segment.is_crowd:
                    Xml.SubElement(shape, "attribute", {"name": _CROWD}).text = "true"
        write_whole(self._folder / "images" / name, picture.content)
        return sample.image_id

    def close(self) -> None:
        """Write the list."""
        Xml.indent(self._list)
        content = Xml.tostring(self._list, encoding="utf-8", xml_declaration=True)
        write_whole(self._folder / NAME, content + b"\n")
        write_label_file(self._root, self._labels)


def detect_cvat(root: Path) -> str | None:
    """Know it by its list."""
    if not root.is_dir():
        return None
    for path in (root / NAME, *sorted(root.glob(f"*/{NAME}")), *sorted(root.glob(f"*/*/{NAME}"))):
        if path.is_file():
            return str(path.relative_to(root))
    return None


CVAT = Format(
    title="polygons and masks from CVAT",
    open=open_cvat,
    detect=detect_cvat,
    writer=CvatWriter,
    write_example=partial(write_examples, CvatWriter),
)
