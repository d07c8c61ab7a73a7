"""What the classes of a data set are called, and which of them are countable things.

A `LabelSpace` goes with every data set and every trained model. Inside the package a class is
always a `class_id` 0..K-1, its place in the label space; the number that stands in a data set's
files is a `dataset_id` and is translated at the border, by the readers and writers in `data/`.
"""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

IGNORED = 255
"""Class id of pixels without a label in every semantic map (the value all public codes use)."""

MAX_CLASSES = 255
"""Class ids travel as uint8 and `IGNORED` takes one value."""


class UnknownClassError(ValueError):
    """A number in a data set's files that is of no class."""


def near_names(name: str, known: Sequence[str]) -> str:
    """Say which known names resemble an unknown one, as the end of an error message.

    Example:
        >>> near_names("resnet5", ["resnet50", "xception71"])
        "Did you mean 'resnet50'?"
    """
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "Known are: " + ", ".join(sorted(known)) + "."


@dataclass(frozen=True)
class ClassInfo:
    """One class of a label space.

    Attributes:
        name: what people call it.
        dataset_id: its number in the data set's files; any integer >= 0.
        is_thing: True if its instances are counted one by one.
        color: (red, green, blue), each 0-255, for pictures.
    """

    name: str
    dataset_id: int
    is_thing: bool
    color: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Refuse values that no file or picture could hold."""
        if self.dataset_id < 0:
            raise ValueError(
                f"dataset_id of class {self.name!r} must be 0 or more, got {self.dataset_id}."
            )
        if len(self.color) != 3 or not all(0 <= c <= 255 for c in self.color):
            raise ValueError(
                f"color of class {self.name!r} must be three numbers 0-255, got {self.color}."
            )


@dataclass(frozen=True)
class LabelSpace:
    """The ordered classes of a data set; the position of a class is its `class_id`.

    Attributes:
        name: of the data set or project.
        classes: one entry per class, at most `MAX_CLASSES`; names and data-set ids are unique.

    Example:
        >>> space = LabelSpace("toy", (ClassInfo("road", 7, False, (128, 64, 128)),
        ...                            ClassInfo("car", 26, True, (0, 0, 142))))
        >>> space.class_id(26), space.thing_ids, space.names
        (1, (1,), ('road', 'car'))
    """

    name: str
    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        """Check what every later stage relies on."""
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise ValueError(
                f"Label space {self.name!r} must have 1 to {MAX_CLASSES} classes, "
                f"got {len(self.classes)}."
            )
        for field in ("name", "dataset_id"):
            values = [getattr(c, field) for c in self.classes]
            double = {v for v in values if values.count(v) > 1}
            if double:
                raise ValueError(
                    f"Each class of label space {self.name!r} needs its own {field}, "
                    f"got twice: {sorted(double)}."
                )

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The class names in the order of the class ids."""
        return tuple(c.name for c in self.classes)

    @cached_property
    def thing_ids(self) -> tuple[int, ...]:
        """Class ids of the things, ascending."""
        return tuple(i for i, c in enumerate(self.classes) if c.is_thing)

    @cached_property
    def stuff_ids(self) -> tuple[int, ...]:
        """Class ids of the stuff, ascending."""
        return tuple(i for i, c in enumerate(self.classes) if not c.is_thing)

    @cached_property
    def _class_ids(self) -> dict[int, int]:
        return {c.dataset_id: i for i, c in enumerate(self.classes)}

    def is_thing(self, class_id: int) -> bool:
        """Whether a class is countable."""
        return self.classes[class_id].is_thing

    def class_id(self, dataset_id: int) -> int:
        """Translate the number used in a data set's files.

        Raises:
            UnknownClassError: a ValueError, if the label space has no class with that number.
        """
        try:
            return self._class_ids[dataset_id]
        except KeyError:
            known = ", ".join(f"{c.dataset_id} {c.name}" for c in self.classes[:12])
            more = ", ..." if self.num_classes > 12 else ""
            raise UnknownClassError(
                f"Unknown class id {dataset_id}: label space {self.name!r} has {known}{more}. "
                "Add the class to the data set's categories or correct the annotation."
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as stored in checkpoints and tables."""
        return {
            "name": self.name,
            "classes": [
                {
                    "name": c.name,
                    "dataset_id": c.dataset_id,
                    "is_thing": c.is_thing,
                    "color": list(c.color),
                }
                for c in self.classes
            ],
        }

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "LabelSpace":
        """Read back what `to_dict` gave.

        Raises:
            ValueError: if a field is missing, unknown or of the wrong kind.
        """
        try:
            classes = tuple(_class_from_dict(c) for c in plain["classes"])
            return LabelSpace(str(plain["name"]), classes)
        except (KeyError, TypeError) as error:
            raise ValueError(
                "A label space needs 'name' and 'classes', each class with 'name', 'dataset_id', "
                f"'is_thing' and 'color'; reading it failed at {error}."
            ) from error


def _class_from_dict(plain: Mapping[str, Any]) -> ClassInfo:
    unknown = set(plain) - {"name", "dataset_id", "is_thing", "color"}
    if unknown:
        raise ValueError(f"Unknown field of a class: {sorted(unknown)}.")
    red, green, blue = (int(c) for c in plain["color"])
    return ClassInfo(
        name=str(plain["name"]),
        dataset_id=int(plain["dataset_id"]),
        is_thing=bool(plain["is_thing"]),
        color=(red, green, blue),
    )


def distinct_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours for classes whose data set names none.

    Hues follow the golden angle, so neighbours in the list lie far apart however many there are.

    Example:
        >>> len(set(distinct_colors(40)))
        40
    """
    colors = []
    for i in range(count):
        hue = (0.61803398875 * i) % 1.0  # golden ratio conjugate: even spread for any count
        saturation = (0.75, 0.5, 0.95)[i % 3]
        value = (0.95, 0.8, 0.65)[(i // 3) % 3]
        red, green, blue = hsv_to_rgb(hue, saturation, value)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)
