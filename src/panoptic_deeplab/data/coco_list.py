"""The list file of COCO's panoptic format, read and checked before anything else is.

In: the JSON with `images`, `annotations` and `categories`. Out: `CocoList`: the label space, one
entry per image, and all segments in flat arrays, which stay small for a hundred thousand images.
Format: cocodataset.org/#format-data, "Panoptic Segmentation".
"""

import logging
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.coco_quick import QuickList, read_quickly, segment_rows
from panoptic_deeplab.data.json_members import Elements, read_members, text_of
from panoptic_deeplab.labels import ClassInfo, LabelSpace, distinct_colors, near_names
from panoptic_deeplab.structures import Segment

logger = logging.getLogger(__name__)

MAX_SEGMENT_ID = 2**24 - 1
"""Largest id that red + 256 green + 65536 blue can express."""

SCORES = ("score", "objectness", "class_probability")
"""What may stand beside a predicted segment; the last two are this package's own fields."""

_OWN_FIELDS = ("id", "file_name", "height", "width")

MAX_AREA = 2**62
"""Larger areas are listed by mistake; this one still fits into 64 bits."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One labelled image of the list.

    Attributes:
        image_id: its name, unique; see `image_name`.
        file_name: of the picture, relative to the images' folder.
        png_name: of the segment ids, relative to the PNG folder.
        rows: which segments of the list are its own: first and one past the last.
    """

    image_id: str
    file_name: str
    png_name: str
    rows: tuple[int, int]


@dataclass(frozen=True)
class CocoList:
    """A checked list file.

    Attributes:
        name: of the file, for messages.
        labels: classes in the order of their data-set ids.
        entries: in the file's order.
        segments: (S, 4) int64: id, class_id, area in pixels or -1 where none is listed, 1 if crowd.
        scores: (S, 3) float64, score, objectness and class probability; NaN where there is none.
    """

    name: str
    labels: LabelSpace
    entries: tuple[ImageEntry, ...]
    segments: NDArray[np.int64]
    scores: NDArray[np.float64]

    def segments_of(self, entry: ImageEntry) -> tuple[Segment, ...]:
        """The listed segments of one image, in the file's order."""
        first, last = entry.rows
        return tuple(
            Segment(number, class_id, area, score, bool(crowd), objectness, probability)
            for (number, class_id, area, crowd), (score, objectness, probability) in zip(
                self.segments[first:last].tolist(), self._plain_scores(first, last), strict=True
            )
        )

    def _plain_scores(self, first: int, last: int) -> list[list[float | None]]:
        rows = self.scores[first:last].tolist()
        return [[None if isnan(value) else value for value in row] for row in rows]


def read_list(content: bytes, *, name: str, labels_name: str) -> CocoList:
    """Read and check a list file.

    Args:
        content: of the JSON file.
        name: of the file, for messages.
        labels_name: name of the label space.

    Raises:
        ValueError: naming the file and the entry, if it is no JSON, a part is missing or of the
            wrong kind, an id occurs twice or is unknown, or nothing is annotated.
    """
    text = _text(content, name)
    del content  # as large as all that follows
    quick = read_quickly(text)
    done = None if quick is None else _from_quick(quick, name, labels_name)
    return done or _read_carefully(text, name, labels_name)


def _from_quick(quick: QuickList, name: str, labels_name: str) -> CocoList | None:
    """The list, if nothing in it is faulty."""
    try:
        labels = _labels_of(quick.categories, name, labels_name)
    except ValueError:
        return None
    class_ids = {c.dataset_id: i for i, c in enumerate(labels.classes)}
    rows = segment_rows(quick, class_ids, MAX_SEGMENT_ID, MAX_AREA)
    numbers = {number for number, _ in quick.annotated}
    if rows is None or not numbers or len(numbers) != len(quick.annotated):
        return None
    if not numbers <= quick.images.keys():
        return None
    _report_unlabelled(len(quick.images) - len(numbers), name)
    starts = [0, *quick.ends]
    entries = tuple(
        ImageEntry(
            image_name(number, quick.images[number]),
            quick.images[number],
            png_name,
            (starts[i], starts[i + 1]),
        )
        for i, (number, png_name) in enumerate(quick.annotated)
    )
    no_scores = np.broadcast_to(np.float64(nan), (len(rows), 3))  # takes no memory
    return CocoList(name, labels, entries, rows, no_scores)


def _report_unlabelled(count: int, name: str) -> None:
    if count:
        logger.warning("%s: %d images have no annotation and are left out.", name, count)


def _read_carefully(text: str, name: str, labels_name: str) -> CocoList:
    """The list entry by entry, so that each fault is said with its place."""
    whole = _parse(text, name)
    labels = _read_labels(whole, name, labels_name)
    images = _read_images(whole, name)
    entries: list[ImageEntry] = []
    rows, scores = array("q"), array("d")  # a fifth of what lists of numbers take
    for i, annotation in enumerate(_records(whole, "annotations", name)):
        where = f"{name}: annotations[{i}]"
        number = _field(annotation, "image_id", (int, str), where)
        try:
            file_name = images.pop(number)
        except KeyError:
            raise ValueError(
                f"{where} has image_id {number!r}: expected the id of an image in 'images' that "
                "has no annotation yet. Remove the double, or add the image."
            ) from None
        first = len(rows) // 4
        for row, score in _read_segments(annotation, labels, where):
            rows.extend(row)
            scores.extend(score)
        png_name = _field(annotation, "file_name", str, where)
        image_id = image_name(number, file_name)
        entries.append(ImageEntry(image_id, file_name, png_name, (first, len(rows) // 4)))
    if not entries:
        raise ValueError(
            f"{name}: expected one annotation per image, got an empty list. Images without labels "
            "can be predicted, but neither trained on nor evaluated."
        )
    _report_unlabelled(len(images), name)
    segments = np.array(rows, np.int64).reshape(-1, 4)
    return CocoList(
        name, labels, tuple(entries), segments, np.array(scores, np.float64).reshape(-1, 3)
    )


def read_image_field(content: bytes, field: str, *, name: str) -> dict[str, str]:
    """One field of the listed images, as text, by image id.

    Args:
        content: of the JSON file.
        field: such as "image_type".
        name: of the file, for messages.

    Raises:
        ValueError: if an image has no such field.
    """
    found = {}
    for i, record in enumerate(_records(_parse(_text(content, name), name), "images", name)):
        if field not in record:
            others = near_names(field, sorted(set(record) - {"id", "file_name"}) or ["none"])
            raise ValueError(f"{name}: images[{i}] has no field {field!r}. {others}")
        found[image_name(record["id"], record["file_name"])] = str(record[field])
    return found


def read_image_fields(content: bytes, *, name: str) -> Counter[str]:
    """What the list says of its images beyond what a data set needs: field -> number of images.

    Args:
        content: of the JSON file.
        name: of the file, for messages.
    """
    records = _records(_parse(_text(content, name), name), "images", name)
    return Counter(field for record in records for field in record if field not in _OWN_FIELDS)


def image_name(number: int | str, file_name: str) -> str:
    """Name an image so that its number in the list can be told from the name.

    Example:
        >>> image_name(42, "000000000042.jpg"), image_name(7, "a.jpg"), image_name("x", "b.png")
        ('000000000042', '7', 'x')
    """
    stem = PurePosixPath(file_name).stem
    return stem if image_number(stem) == number else str(number)


def image_number(image_id: str) -> int | str:
    """The `image_id` to write for an image of that name: a number where it is one.

    Example:
        >>> image_number("000000000042"), image_number("dusk")
        (42, 'dusk')
    """
    return int(image_id) if image_id.isascii() and image_id.isdigit() else image_id


def _text(content: bytes, name: str) -> str:
    try:
        return text_of(content)
    except ValueError as error:
        raise _no_json(name, error) from error


def _no_json(name: str, error: ValueError) -> ValueError:
    return ValueError(
        f"{name}: expected JSON, reading it failed: {error}. The file may be cut short."
    )


def _parse(text: str, name: str) -> Mapping[str, Any]:
    try:
        whole = read_members(text)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise _no_json(name, error) from error
    if not isinstance(whole, dict):
        raise ValueError(
            f"{name}: expected an object with 'images', 'annotations' and 'categories', got "
            f"{type(whole).__name__}. Name the JSON of the panoptic labels."
        )
    return whole


def _records(whole: Mapping[str, Any], key: str, name: str) -> Iterator[Mapping[str, Any]]:
    records = whole.get(key)
    got = "nothing" if key not in whole else type(records).__name__
    for record in records if isinstance(records, Elements) else (None,):
        if not isinstance(record, dict):
            got = "list" if isinstance(records, Elements) else got
            raise ValueError(
                f"{name}: expected a list of objects under {key!r}, got {got}. Name the JSON of "
                "the panoptic labels, as in COCO's panoptic_val2017.json."
            )
        yield record


def _field(
    record: Any, key: str, kind: type | tuple[type, ...], where: str
) -> Any:  # what JSON holds may be of any type until it has been looked at
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected an object, got {record!r}. Correct this entry.")
    value = record.get(key)
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(k.__name__ for k in kinds)
        got = repr(value) if key in record else "nothing"
        hint = _HINTS.get(key, "Correct this entry")
        raise ValueError(f"{where} needs {key!r} ({wanted}), got {got}. {hint}.")
    return value


_HINTS = {
    "isthing": "Files of the detection task have no such field; the panoptic task needs 0 or 1",
    "segments_info": "Files of the detection task list one annotation per object; the panoptic "
    "task lists one per image",
    "file_name": "Give it relative to its folder",
}


def _number(record: Mapping[str, Any], key: str, where: str) -> float:
    """A finite number; NaN if there is none."""
    if record.get(key) is None:
        return nan
    value = float(_field(record, key, (int, float), where))
    if not isfinite(value):
        raise ValueError(f"{where} needs {key!r} as a finite number, got {value}. Correct it.")
    return value


def _unique(values: Sequence[Any], what: str, name: str) -> None:
    if len(set(values)) == len(values):
        return
    seen: set[Any] = set()
    double = next(v for v in values if v in seen or seen.add(v))  # type: ignore[func-returns-value]
    raise ValueError(f"{name}: expected each {what} once, got {double!r} twice. Rename one.")


def _read_labels(whole: Mapping[str, Any], name: str, labels_name: str) -> LabelSpace:
    return _labels_of(list(_records(whole, "categories", name)), name, labels_name)


def _labels_of(records: Sequence[Any], name: str, labels_name: str) -> LabelSpace:
    colors = distinct_colors(len(records))
    classes = []
    for i, record in enumerate(records):
        where = f"{name}: categories[{i}]"
        if not isinstance(record, dict):
            raise ValueError(f"{where}: expected an object, got {record!r}. Correct this entry.")
        color = record.get("color", colors[i])
        if not isinstance(color, list | tuple) or [type(c) for c in color] != [int] * 3:
            raise ValueError(
                f"{where} needs 'color' as three whole numbers 0-255, got {color!r}. Correct it, "
                "or leave the colors out."
            )
        classes.append(
            ClassInfo(
                name=_field(record, "name", str, where),
                dataset_id=_field(record, "id", int, where),
                is_thing=bool(_field(record, "isthing", (int, bool), where)),
                color=(color[0], color[1], color[2]),
            )
        )
    _unique([c.dataset_id for c in classes], "category id", name)
    # By id, so that two files of one data set agree whatever order they list.
    return LabelSpace(labels_name, tuple(sorted(classes, key=lambda c: c.dataset_id)))


def _read_images(whole: Mapping[str, Any], name: str) -> dict[int | str, str]:
    """Picture's file name by image id."""
    pairs = [
        (
            _field(record, "id", (int, str), f"{name}: images[{i}]"),
            _field(record, "file_name", str, f"{name}: images[{i}]"),
        )
        for i, record in enumerate(_records(whole, "images", name))
    ]
    _unique([number for number, _ in pairs], "image id", name)
    return dict(pairs)


def _read_segments(
    annotation: Mapping[str, Any], labels: LabelSpace, where: str
) -> list[tuple[tuple[int, int, int, int], list[float]]]:
    """((id, class_id, area, crowd), scores) per segment."""
    found = []
    for j, record in enumerate(_field(annotation, "segments_info", list, where)):
        here = f"{where}.segments_info[{j}]"
        number = _field(record, "id", int, here)
        if not 1 <= number <= MAX_SEGMENT_ID:
            raise ValueError(
                f"{here}: expected an id from 1 to {MAX_SEGMENT_ID}, what an RGB pixel can hold "
                f"(0 is void), got {number}. Number the segments anew."
            )
        try:
            class_id = labels.class_id(_field(record, "category_id", int, here))
        except ValueError as error:
            raise ValueError(f"{here} (segment {number}): {error}") from error
        area = _number(record, "area", here)
        crowd = int(bool(record.get("iscrowd", 0)))
        row = (number, class_id, -1 if isnan(area) else round(min(area, MAX_AREA)), crowd)
        found.append((row, [_number(record, key, here) for key in SCORES]))
    _unique([row[0] for row, _ in found], "segment id", where)
    return found
