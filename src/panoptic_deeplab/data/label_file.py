"""`labels.json`: the classes of one's own data, as people write them down.

    {"name": "yard", "classes": [{"name": "car", "id": 4, "is_thing": true, "color": [0, 0, 142]}]}

`is_thing` may be missing, and so may colours; COCO's `isthing` and a bare list of classes are
understood as well. Further keys: "rest", the class of what is not annotated, and what single
formats need ("divisor", "void").
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import ClassInfo, LabelSpace, distinct_colors

FILE = "labels.json"
BACKGROUND = ClassInfo("background", 0, False, (64, 64, 64))
"""What no instance covers, where the data know nothing but instances."""


@dataclass(frozen=True)
class LabelFile:
    """What the file says.

    Attributes:
        labels: the classes, by their ids.
        extras: every other key.
    """

    labels: LabelSpace
    extras: dict[str, Any] = field(default_factory=dict)


def read_label_file(root: Path, *, is_thing: bool = True) -> LabelFile | None:
    """Read `labels.json` of a folder; None if there is none.

    Args:
        root: the folder.
        is_thing: of classes that do not say.

    Raises:
        ValueError: naming the file and the class that is not as it should be.
    """
    path = root / FILE
    return read_labels(path, is_thing=is_thing) if path.is_file() else None


def read_labels(path: Path, *, is_thing: bool = True) -> LabelFile:
    """Read a file with classes.

    Args:
        path: of the file, whatever its name.
        is_thing: of classes that do not say.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and the class that is not as it should be.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file with classes at {path}, there is none.")
    try:
        whole = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path}: expected JSON, reading it failed: {error}. The file may be cut short."
        ) from error
    if isinstance(whole, list):
        whole = {"classes": whole}
    records = whole.get("classes", whole.get("categories")) if isinstance(whole, dict) else None
    if not isinstance(records, list) or not records:
        raise ValueError(
            f"{path}: expected a list of classes under 'classes', got none. Write one entry per "
            'class: {"name": "car", "id": 4, "is_thing": true}.'
        )
    colors = distinct_colors(len(records))
    classes = []
    for i, record in enumerate(records):
        classes.append(_read_class(record, i, colors[i], is_thing, f"{path}: classes[{i}]"))
    try:
        space = LabelSpace(
            str(whole.get("name", path.resolve().parent.name)),
            tuple(sorted(classes, key=lambda c: c.dataset_id)),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    extras = {k: v for k, v in whole.items() if k not in ("name", "classes", "categories")}
    return LabelFile(space, extras)


def write_label_file(root: Path, labels: LabelSpace, **extras: Any) -> None:
    """Write `labels.json` into a folder."""
    classes = [
        {"name": c.name, "id": c.dataset_id, "is_thing": c.is_thing, "color": list(c.color)}
        for c in labels.classes
    ]
    lines = ",\n".join(f"    {json.dumps(c)}" for c in classes)
    more = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in extras.items())
    head = f'{{\n  "name": {json.dumps(labels.name)},\n{more}'
    write_whole(root / FILE, f'{head}  "classes": [\n{lines}\n  ]\n}}\n'.encode())


def _read_class(
    record: Any, place: int, color: tuple[int, int, int], is_thing: bool, where: str
) -> ClassInfo:
    if isinstance(record, str):
        record = {"name": record}
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise ValueError(f"{where} needs a 'name', got {record!r}. Correct this entry.")
    number = record.get("id", record.get("dataset_id", place))
    thing = record.get("is_thing", record.get("isthing", is_thing))
    shown = record.get("color", list(color))
    if type(number) is not int or thing not in (0, 1):
        raise ValueError(
            f"{where} ({record['name']}) needs 'id' as a whole number and 'is_thing' as true or "
            f"false, got {number!r} and {thing!r}. Correct this entry."
        )
    if not isinstance(shown, list) or [type(c) for c in shown] != [int] * 3:
        raise ValueError(
            f"{where} ({record['name']}) needs 'color' as three whole numbers 0-255, got "
            f"{shown!r}. Correct it, or leave it out."
        )
    try:
        return ClassInfo(record["name"], number, bool(thing), (shown[0], shown[1], shown[2]))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def with_rest(file: LabelFile, *, name: str | Path = FILE) -> tuple[LabelSpace, int | None]:
    """The classes, and which of them covers what is not annotated.

    That is the class named by "rest" in `labels.json`. Data that name no stuff at all get a class
    for it; else what is not annotated is void.

    Returns:
        The classes, and a class_id or None.

    Raises:
        ValueError: if "rest" is no stuff class.
    """
    labels, rest = file.labels, file.extras.get("rest")
    if rest is not None:
        if rest not in labels.names or labels.classes[labels.names.index(rest)].is_thing:
            raise ValueError(
                f"{name}: expected 'rest' to name a class of stuff, got {rest!r}. Correct it, or "
                "leave it out to make void what is not annotated."
            )
        return labels, labels.names.index(rest)
    if labels.stuff_ids:
        return labels, None
    taken = {c.dataset_id for c in labels.classes}
    number = 0 if 0 not in taken else max(taken) + 1
    added = replace(BACKGROUND, dataset_id=number)
    classes = sorted((added, *labels.classes), key=lambda c: c.dataset_id)
    return LabelSpace(labels.name, tuple(classes)), classes.index(added)


def things_named(names: Iterable[str], name: str) -> LabelFile:
    """Classes known by name only: all are things, numbered from 1 in the order of their names."""
    ordered = sorted(set(names))
    colors = distinct_colors(len(ordered))
    classes = (ClassInfo(n, i + 1, True, colors[i]) for i, n in enumerate(ordered))
    return LabelFile(LabelSpace(name, tuple(classes)))
