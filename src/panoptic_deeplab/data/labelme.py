"""LabelMe: one JSON of drawn shapes beside each picture.

Polygons, rectangles and circles; shapes of one label with one `group_id` are parts of one thing; a
flag "crowd" marks a crowd region. The classes are those of `labels.json`, else every label that
occurs, as a thing. Format: wkentaro/labelme, `label_file.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_deeplab.data.examples import write_examples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size
from panoptic_deeplab.data.format import ALIASES, Format, Source
from panoptic_deeplab.data.label_file import (
    FILE,
    read_label_file,
    things_named,
    with_rest,
    write_label_file,
)
from panoptic_deeplab.data.overlaps import Flattened, Region, in_order
from panoptic_deeplab.data.own_folders import find_layout, layouts, pair, pictures_by_name
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.data.polygons import Corners
from panoptic_deeplab.data.shapes import (
    box,
    check_listed_size,
    ellipse,
    group,
    numbers_of,
    points,
    polygons_of,
    region_of_polygons,
)
from panoptic_deeplab.files import as_json, write_whole
from panoptic_deeplab.labels import LabelSpace, near_names
from panoptic_deeplab.structures import Sample

FOLDERS = ("annotations", "labels", "json", "")


def open_labelme(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if folders, or pictures of JSONs, are missing.
        ValueError: if a JSON is damaged, where all are read to learn the classes.
    """
    layout = find_layout(source, FOLDERS, (".json",), "JSONs of LabelMe")
    truths = {p.stem: p for p in sorted(layout.truths.glob("*.json")) if p.name != FILE}
    pairs = pair(source, layout, pictures_by_name(layout), truths)
    entries = [Entry(name, str(picture), str(truth)) for name, picture, truth in pairs]
    found = read_label_file(source.root)
    if found is None:
        splits = tuple(name for names in ALIASES.values() for name in names)
        files = {
            path
            for place in layouts(source.root, splits, FOLDERS)
            for path in place.truths.glob("*.json")
        }
        names = {str(s.get("label")) for path in sorted(files) for s in _read(path)["shapes"]}
        if not names:
            raise ValueError(f"{layout.truths}: expected shapes in the JSONs, got none. Draw some.")
        found = things_named(names, source.root.resolve().name)
    labels, rest = with_rest(found, name=source.root / FILE)
    decode = Flattened(_regions, labels, rest, source.overlap)
    return FileSet(labels, entries, decode, origin=layout.truths)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        whole = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path}: expected JSON, reading it failed: {error}. The file may be cut short."
        ) from error
    shapes = whole.get("shapes") if isinstance(whole, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(s, dict) for s in shapes):
        raise ValueError(
            f"{path}: expected LabelMe's JSON with 'shapes', got something else. Save the picture "
            "again in LabelMe, or remove the file."
        )
    return whole  # type: ignore[no-any-return]


def _regions(entry: Entry, size: Size, labels: LabelSpace) -> list[Region]:
    whole = _read(Path(entry.truth))
    check_listed_size(whole, ("imageHeight", "imageWidth"), size, entry.truth, entry.image)
    parts = []
    for i, shape in enumerate(whole["shapes"]):
        where = f"{entry.truth}: shapes[{i}]"
        label = shape.get("label")
        if label not in labels.names:
            raise ValueError(
                f"{where}: unknown label {label!r}. {near_names(str(label), labels.names)} Correct "
                f"it, or add the class to {FILE}."
            )
        flags = shape.get("flags") or {}
        region = region_of_polygons(
            labels.names.index(label),
            [_corners(shape, where)],
            size,
            name=where,
            is_crowd=bool(flags.get("crowd", False)),
        )
        number = shape.get("group_id")
        parts.append((None if number is None else (label, number), region))
    return [replace(r, number=i + 1) for i, r in enumerate(group(parts))]


def _corners(shape: Mapping[str, Any], where: str) -> Corners:
    kind = shape.get("shape_type", "polygon")
    corners = points(shape.get("points"), where)
    if kind == "polygon":
        return corners
    if kind == "rectangle" and len(corners) == 2:
        return box(*corners.min(axis=0), *corners.max(axis=0))
    if kind == "circle" and len(corners) == 2:
        radius = float(np.hypot(*(corners[1] - corners[0])))
        x, y = corners[0].tolist()
        return ellipse(x, y, radius, radius)
    raise ValueError(
        f"{where}: expected a polygon, or a rectangle or circle of two points, got {kind!r} of "
        f"{len(corners)}. Only areas can be trained on; draw a polygon, or remove the shape."
    )


class LabelmeWriter:
    """Writes `SPLIT/NAME.png`, `SPLIT/NAME.json` and `labels.json`.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._split, self._labels = root, split, labels

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image."""
        assert sample.panoptic is not None
        shapes = []
        polygons = polygons_of(sample.panoptic)
        for i, segment in enumerate(in_order(sample.panoptic, self._labels)):
            parts = polygons[segment.id]
            for corners in parts:
                shapes.append(
                    {
                        "label": self._labels.names[segment.class_id],
                        "points": numbers_of(corners),
                        "group_id": i + 1 if len(parts) > 1 else None,
                        "shape_type": "polygon",
                        "flags": {"crowd": True} if segment.is_crowd else {},
                    }
                )
        name = f"{sample.image_id}{picture.ending}"
        height, width = sample.panoptic.size
        whole: dict[str, Any] = {
            "version": "5.0.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_whole(self._root / self._split / name, picture.content)
        write_whole(self._root / self._split / f"{sample.image_id}.json", as_json(whole))
        return sample.image_id

    def close(self) -> None:
        """Write `labels.json`."""
        write_label_file(self._root, self._labels)


def detect_labelme(root: Path) -> str | None:
    """Know it by a JSON with "shapes" that has the name of a picture."""
    if not root.is_dir():
        return None
    for layout in layouts(root, ("train", "val", "training", "validation"), FOLDERS):
        for path in sorted(layout.truths.glob("*.json"))[:3]:
            has_picture = any(p.suffix != ".json" for p in layout.pictures.glob(f"{path.stem}.*"))
            if has_picture and b'"shapes"' in path.read_bytes():
                return f"{path.relative_to(root)} with shapes"
    return None


LABELME = Format(
    title="polygons from LabelMe",
    open=open_labelme,
    detect=detect_labelme,
    writer=LabelmeWriter,
    write_example=partial(write_examples, LabelmeWriter),
)
