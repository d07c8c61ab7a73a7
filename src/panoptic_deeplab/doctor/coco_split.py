"""A split that is a COCO panoptic list, read entry by entry whatever is wrong with it."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.coco import decode_ids
from panoptic_deeplab.data.coco_list import MAX_SEGMENT_ID, ImageEntry, image_name
from panoptic_deeplab.data.coco_writer import measure_boxes
from panoptic_deeplab.data.file_set import exchange_numbers
from panoptic_deeplab.data.store import FolderStore, Place
from panoptic_deeplab.doctor.examined import (
    Examined,
    Facts,
    Notes,
    listing,
    look_at_picture,
    measure,
    note_sizes,
)
from panoptic_deeplab.doctor.faults import Finding
from panoptic_deeplab.labels import ClassInfo, LabelSpace, distinct_colors
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment, count_ids

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Row:
    """One annotation of the list.

    Attributes:
        image_id: the image's name.
        file_name: of the picture.
        png_name: of the segment ids.
        size: (H, W) as the list states it, or None.
        segments: as they stand in the list.
        image: the list's entry of the image.
    """

    image_id: str
    file_name: str
    png_name: str
    size: tuple[int, int] | None
    segments: list[Any]
    image: Mapping[str, Any]


@dataclass(frozen=True)
class Places:
    """Where the parts of a split lie.

    Attributes:
        listing: the JSON's path, for messages.
        content: of the JSON.
        pngs: folder of the segment ids.
        pictures: folder of the pictures.
        picture_name: where an entry's picture lies in it; None: where the list says.
    """

    listing: str
    content: bytes
    pngs: Place
    pictures: Place
    picture_name: Callable[[ImageEntry], str] | None = None


class CocoSplit:
    """See `examined.Split`.

    Args:
        name: of the split.
        places: where it lies.
        labels_name: name of the label space.

    Raises:
        ValueError: if the list is no JSON with images, annotations and categories.
    """

    def __init__(self, name: str, places: Places, labels_name: str) -> None:
        self.name, self._places = name, places
        self.findings: list[Finding] = []
        whole = _parse(places)
        self._labels = self._read_labels(whole["categories"], labels_name)
        self._rows = self._read_rows(whole)
        self._other = {k: v for k, v in whole.items() if k not in ("images", "annotations")}
        self._find_unlisted()

    @property
    def labels(self) -> LabelSpace:
        """The categories."""
        return self._labels

    @property
    def other_fields(self) -> dict[str, Any]:
        """What the list holds beside images and annotations."""
        return self._other

    def __len__(self) -> int:
        """Annotations that can be examined."""
        return len(self._rows)

    def row(self, index: int) -> Row:
        """An annotation."""
        return self._rows[index]

    def picture(self, index: int) -> bytes:
        """Content of the picture file."""
        return self._places.pictures.read(self._rows[index].file_name)

    def examine(self, index: int) -> Examined:
        """Read picture and PNG, compare them with the list, and repair the map."""
        row, places = self._rows[index], self._places
        facts = Facts(index, row.image_id)
        notes = Notes(self.name, facts)
        picture_name, png_name = (
            f"{place}/{name}"
            for place, name in ((places.pictures, row.file_name), (places.pngs, row.png_name))
        )
        image = look_at_picture(facts, notes, picture_name, lambda: self.picture(index))
        ids = self._read_ids(row, notes, png_name)
        done = Examined(facts, image, ids)
        if facts.size is not None and row.size not in (None, facts.size):
            notes.add(
                "listed-size",
                places.listing,
                f"{picture_name}: the list states {row.size[0]}x{row.size[1]} (height x width), "
                f"the file has {facts.size[0]}x{facts.size[1]}.",
            )
        if ids is None:
            return done
        fits = image is None or note_sizes(notes, png_name, ids, picture_name, image)
        panoptic = self._repair(row, ids, notes, png_name)
        if image is not None and fits:
            done.sample = Sample(image, panoptic, row.image_id)
            measure(done.sample, self._labels, facts, notes, png_name)
        return done

    def _read_ids(self, row: Row, notes: Notes, name: str) -> Ids | None:
        try:
            return decode_ids(self._places.pngs.read(row.png_name), name=name)
        except OSError:
            what = (
                f"{name}: expected the PNG that {self._places.listing} lists, found no such file."
            )
            notes.add("missing-labels", name, what)
        except ValueError as error:
            notes.add("unreadable-labels", name, str(error))
        return None

    def _repair(self, row: Row, ids: Ids, notes: Notes, png: str) -> PanopticMap:
        """The map as the list and the PNG agree on it; notes where they do not."""
        areas = count_ids(ids)
        areas.pop(VOID, None)
        left, kept, stuff = dict(areas), dict[int, Segment](), dict[tuple[int, bool], int]()
        numbers: dict[int, int] = {}
        lost: dict[str, list[int]] = {}
        for record in row.segments:
            number, segment = self._segment(record, areas, notes)
            left.pop(number, None)
            if segment is None:
                continue
            if number in numbers:
                lost.setdefault("faulty-list", []).append(number)
            elif not segment.area_px:
                lost.setdefault("segment-without-pixels", []).append(number)
            elif self._labels.is_thing(segment.class_id):
                numbers[number], kept[number] = number, segment
            else:
                key = segment.class_id, segment.is_crowd
                first = stuff.setdefault(key, number)
                numbers[number] = first
                area = segment.area_px + (kept[first].area_px if first in kept else 0)
                kept[first] = Segment(first, segment.class_id, area, None, segment.is_crowd)
                if first != number:
                    lost.setdefault("stuff-twice", []).append(number)
        if left:
            lost["id-not-listed"] = sorted(left)
        for kind, found in lost.items():
            what = f"{png}: {_WORDS[kind]}: {listing(found)}."
            notes.add(kind, png, what, ids=tuple(found), count=len(found))
        clean = PanopticMap(exchange_numbers(ids, numbers, VOID), tuple(kept.values()))
        self._compare(row, ids, areas, notes)
        return clean

    def _segment(
        self, record: Any, areas: Mapping[int, int], notes: Notes
    ) -> tuple[int, Segment | None]:
        """(id, segment) of a record; None with a note if it is faulty."""
        where = self._places.listing
        number = record.get("id") if isinstance(record, dict) else None
        if type(number) is not int or not 1 <= number <= MAX_SEGMENT_ID:
            what = f"{where}: expected an id from 1 to {MAX_SEGMENT_ID}, got {number!r}."
            notes.add("faulty-list", where, what)
            return -1, None
        dataset_id = record.get("category_id")
        try:
            class_id = self._labels.class_id(dataset_id)
        except (ValueError, TypeError):
            what = f"{where}: segment {number} has the class {dataset_id!r}, which does not exist."
            notes.add("unknown-class", where, what, ids=(number,))
            return number, None
        crowd = bool(record.get("iscrowd", 0))
        return number, Segment(number, class_id, areas.get(number, 0), None, crowd)

    def _compare(self, row: Row, ids: Ids, areas: Mapping[int, int], notes: Notes) -> None:
        """Note listed areas and boxes that are not the pixels'."""
        records = {
            r["id"]: r for r in row.segments if isinstance(r, dict) and areas.get(r.get("id", -1))
        }
        segments = tuple(Segment(n, 0, area) for n, area in areas.items())
        boxes = measure_boxes(PanopticMap(ids, segments))
        where = self._places.listing
        wrong: dict[str, list[int]] = {"wrong-area": [], "wrong-box": []}
        examples: dict[str, str] = {}
        for number, record in records.items():
            area, box = record.get("area"), record.get("bbox")
            if area is not None and area != areas[number]:
                wrong["wrong-area"].append(number)
                examples.setdefault(
                    "wrong-area", f"{number} has {areas[number]} pixels, listed {area}"
                )
            if box is not None and not _is_near(box, boxes[number]):
                wrong["wrong-box"].append(number)
                examples.setdefault(
                    "wrong-box", f"{number} has {list(boxes[number])}, listed {box}"
                )
        for kind, found in wrong.items():
            if found:
                what = (
                    f"{where}: image {row.image_id}: {examples[kind]}; {len(found)} such segments."
                )
                notes.add(kind, where, what, ids=tuple(found), count=len(found))

    def _note(self, kind: str, what: str, image_id: str = "", where: str = "") -> None:
        where = where or self._places.listing
        self.findings.append(Finding(kind, self.name, where, f"{where}: {what}", image_id))

    def _read_labels(self, records: list[Any], name: str) -> LabelSpace:
        colors = distinct_colors(len(records))
        classes: dict[int, ClassInfo] = {}
        names: set[str] = set()
        for i, record in enumerate(records):
            number = record.get("id") if isinstance(record, dict) else None
            if type(number) is not int or number < 0 or not isinstance(record.get("name"), str):
                self._note("faulty-list", f"categories[{i}] needs 'id' and 'name', got {record!r}.")
                continue
            if number in classes or record["name"] in names:
                self._note("faulty-list", f"categories[{i}] comes twice: {record!r}.")
                continue
            if record.get("isthing") not in (0, 1):
                self._note("faulty-list", f"categories[{i}] needs 'isthing' as 0 or 1.")
            color = record.get("color", colors[i])
            rgb = (color[0], color[1], color[2]) if _is_color(color) else colors[i]
            names.add(record["name"])
            classes[number] = ClassInfo(record["name"], number, bool(record.get("isthing")), rgb)
        return LabelSpace(name, tuple(classes[n] for n in sorted(classes)))

    def _read_rows(self, whole: Mapping[str, list[Any]]) -> list[Row]:
        images = self._read_images(whole["images"])
        rows, seen = [], set()
        for i, record in enumerate(whole["annotations"]):
            where = f"annotations[{i}]"
            fields = record if isinstance(record, dict) else {}
            number, png = fields.get("image_id"), fields.get("file_name")
            segments = fields.get("segments_info")
            if not isinstance(png, str) or not isinstance(segments, list):
                self._note("faulty-list", f"{where} needs 'file_name' and 'segments_info'.")
                continue
            if not isinstance(number, int | str) or number not in images:
                self._note(
                    "missing-picture", f"{where} is of image {number!r}, which is not listed."
                )
                continue
            image = images[number]
            image_id = image_name(number, image["file_name"])
            if number in seen:
                self._note("faulty-list", f"image {number!r} has several annotations.", image_id)
                continue
            seen.add(number)
            entry = ImageEntry(image_id, image["file_name"], png, (0, 0))
            name_of = self._places.picture_name
            name = name_of(entry) if name_of is not None else entry.file_name
            rows.append(Row(image_id, name, png, _size(image), segments, image))
        for number, image in images.items():
            if number not in seen:
                what = f"image {number!r} ({image['file_name']}) has no annotation."
                self._note("unlabelled-picture", what, image_name(number, image["file_name"]))
        return rows

    def _read_images(self, records: list[Any]) -> dict[int | str, Mapping[str, Any]]:
        images: dict[int | str, Mapping[str, Any]] = {}
        for i, record in enumerate(records):
            fields = record if isinstance(record, dict) else {}
            number = fields.get("id")
            if not isinstance(number, int | str) or not isinstance(fields.get("file_name"), str):
                self._note(
                    "faulty-list", f"images[{i}] needs 'id' and 'file_name', got {record!r}."
                )
            elif number in images:
                self._note("faulty-list", f"images[{i}] has the id {number!r} of another image.")
            else:
                images[number] = fields
        return images

    def _find_unlisted(self) -> None:
        """PNGs beside the listed ones; in folders only, and without reading them."""
        place = self._places.pngs
        if not isinstance(place.store, FolderStore):
            return
        folder = place.store.root / place.path
        listed = {PurePosixPath(row.png_name) for row in self._rows}
        found = {PurePosixPath(p.relative_to(folder).as_posix()) for p in folder.rglob("*.png")}
        for name in sorted(found - listed):
            self._note("unlisted-file", "no annotation names this PNG.", where=f"{folder}/{name}")


_WORDS = {
    "faulty-list": "segment ids that are listed twice",
    "segment-without-pixels": "listed segments that have no pixel",
    "stuff-twice": "further segments of a stuff class that the image has already",
    "id-not-listed": "ids that the list does not have",
}


def choose(places: list[Place], names: list[str]) -> Place:
    """The place that has most of some names; the first of them if none has any."""
    step = max(1, len(names) // 50)
    counts = [sum(_has(place, name) for name in names[::step][:50]) for place in places]
    return places[int(np.argmax(counts))]


def _has(place: Place, name: str) -> bool:
    try:
        return place.has(name)
    except ValueError:  # a name that climbs out of the folder
        return False


def names_of(content: bytes, kind: str) -> list[str]:
    """File names of the list's "images" or "annotations", as far as it has any."""
    try:
        records = json.loads(content)[kind]
        return [r["file_name"] for r in records if isinstance(r, dict) and "file_name" in r]
    except (ValueError, KeyError, TypeError):
        return []


def as_place(folder: Path) -> Place:
    """A folder, which may be missing."""
    return Place(FolderStore(folder))


def _parse(places: Places) -> Mapping[str, list[Any]]:
    try:
        whole = json.loads(places.content)
    except ValueError as error:
        raise ValueError(
            f"{places.listing}: expected JSON, reading it failed: {error}. The file may be cut "
            "short; restore it."
        ) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(whole, dict) or not isinstance(whole.get(key), list):
            raise ValueError(
                f"{places.listing}: expected a list under {key!r}, got none. Name the JSON of the "
                "panoptic labels, as in COCO's panoptic_val2017.json."
            )
        if not whole[key]:
            raise ValueError(
                f"{places.listing}: expected at least one entry in {key!r}, got an empty list. "
                "Remove the list, or restore its entries."
            )
    return whole  # type: ignore[no-any-return]


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _is_color(color: Any) -> bool:
    return (
        isinstance(color, list | tuple)
        and len(color) == 3
        and all(type(c) is int and 0 <= c <= 255 for c in color)
    )


def _is_near(box: Any, true: tuple[int, int, int, int]) -> bool:
    """Within a pixel: some tools count the last column, some do not."""
    if not isinstance(box, list) or len(box) != 4:
        return False
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
        return False
    return all(abs(a - b) <= 1.001 for a, b in zip(box, true, strict=True))
