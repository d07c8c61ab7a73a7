"""What a data set's format is to the rest of the package: a reader, a writer, a way to know it.

Each format has one `Format`, made in its own file; the table `DATASETS` in `data/__init__.py`
lists them. Readers get a `Source`: where the data lie and which part is wanted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Sample

ALIASES = {
    "train": ("train", "training", "Train"),
    "val": ("val", "validation", "valid", "Val"),
    "test": ("test", "testing", "Test"),
}
"""What folders of a split are called; the first one is what writers use."""


@dataclass(frozen=True)
class Overlap:
    """Which of several instances that claim a pixel gets it.

    Attributes:
        order: "smaller": the one of fewer pixels lies over the larger; "file": the later entry of
            the file lies over the earlier.
        priority: names of classes; an earlier one lies over a later, and all of them over classes
            that are not named. `order` decides among equals.
    """

    order: Literal["smaller", "file"] = "smaller"
    priority: tuple[str, ...] = ()


class MissingPictureError(FileNotFoundError):
    """Labels whose picture is not there."""


class MissingLabelsError(FileNotFoundError):
    """A picture whose labels are not there."""


@dataclass(frozen=True)
class Source:
    """Where a data set lies, and which part of it is wanted.

    Attributes:
        root: its folder.
        split: "train", "val" or another name.
        val_fraction: share held out as "val" where the data come without splits.
        split_seed: which images these are.
        overlap: who gets pixels that several instances claim.
        faults: None: the first picture or label file without its counterpart is an error. A
            list: such errors are collected there, and those files left out.
    """

    root: Path
    split: str
    val_fraction: float = 0.2
    split_seed: int = 0
    overlap: Overlap = field(default_factory=Overlap)
    faults: list[Exception] | None = None

    def refuse(self, error: Exception) -> None:
        """Raise an error, or collect it where errors are collected."""
        if self.faults is None:
            raise error
        self.faults.append(error)

    @property
    def split_names(self) -> tuple[str, ...]:
        """What the split's folder may be called."""
        for names in ALIASES.values():
            if self.split in names:
                return tuple(dict.fromkeys((self.split, *names)))
        return (self.split,)


class Writer(Protocol):
    """Writes one split, image by image, and what lists them at the end."""

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image with its truth; gives the name it got in this format."""
        ...

    def close(self) -> None:
        """Write what must come last; called only if all went well."""
        ...


@dataclass(frozen=True)
class Format:
    """One way in which data sets lie on disk.

    Attributes:
        title: what people call it.
        open: gives the images of a source.
        detect: looks into a folder, or a tar if the format allows one, and says by what it knows
            the format; None if it is another.
        writer: makes a writer of (root, split, labels).
        write_example: writes a tiny valid copy into a folder, with the splits "train" and "val".
        table: name of the format's own classes in `class_tables`; empty: it takes any.
        has_things: whether it can hold instances at all.
    """

    title: str
    open: Callable[[Source], PanopticDataset]
    detect: Callable[[Path], str | None]
    writer: Callable[[Path, str, LabelSpace], Writer]
    write_example: Callable[[str | Path], None]
    table: str = ""
    has_things: bool = True
