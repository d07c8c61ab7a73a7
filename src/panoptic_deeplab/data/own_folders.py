"""Where people put their own pictures and labels, and which of them are held out.

Pictures lie in `images/` or beside their labels; labels in a folder with one of the usual names.
Splits are folders above or below these (`train/images`, `images/train`); without any, a share of
the images, drawn by a seed, is "val" and the rest is "train". A picture and its labels share the
name without ending. `labels.json`, where there is one, lies in the root.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from panoptic_deeplab.data.format import (
    ALIASES,
    MissingLabelsError,
    MissingPictureError,
    Source,
)
from panoptic_deeplab.data.pictures import ENDINGS

logger = logging.getLogger(__name__)

PICTURES = ("images", "img", "imgs", "JPEGImages")
"""What a folder of pictures is called."""


@dataclass(frozen=True)
class Layout:
    """Where the pictures and the labels of a split, or of all splits, lie.

    Attributes:
        pictures: folder.
        truths: folder; may be the same.
        by_rule: the folders hold all images; the seeded rule decides.
    """

    pictures: Path
    truths: Path
    by_rule: bool


def layouts(root: Path, splits: Sequence[str], truths: Sequence[str]) -> list[Layout]:
    """The folders that exist, those of a split first.

    Args:
        root: of the data set.
        splits: what the split's folder may be called.
        truths: what the folder of labels may be called; "" for the pictures' own.
    """
    found = []
    for split in (*splits, ""):
        for picture in (*PICTURES, ""):
            for truth in truths:
                pairs = [(root / picture / split, root / truth / split)]
                if split:
                    pairs.append((root / split / picture, root / split / truth))
                for pictures, labels in pairs:
                    layout = Layout(pictures, labels, not split)
                    if pictures.is_dir() and labels.is_dir() and layout not in found:
                        found.append(layout)
    return found


def find_layout(source: Source, truths: Sequence[str], endings: Sequence[str], what: str) -> Layout:
    """The folders of a source: the first in which there are pictures and labels.

    Args:
        source: root and split.
        truths: as for `layouts`.
        endings: of the files with labels; "/" stands for a folder per picture.
        what: the files with labels, for messages.

    Raises:
        FileNotFoundError: if there are none.
    """
    if not source.root.is_dir():
        raise FileNotFoundError(f"{source.root}: expected a folder, found none. Check the path.")
    known = tuple(name for names in ALIASES.values() for name in names)
    for layout in layouts(source.root, source.split_names, truths):
        if not _has(layout.truths, endings) or not any(_pictures(layout.pictures)):
            continue
        if layout.by_rule and source.split not in known:
            break
        if layout.by_rule and source.split not in (*ALIASES["train"], *ALIASES["val"]):
            break
        return layout
    raise FileNotFoundError(
        f"{source.root}: expected pictures and {what} of the split {source.split!r}, in folders "
        f"named {source.split} or, for train and val, without splits; found none. See "
        "docs/datasets.md for the layouts."
    )


def _has(folder: Path, endings: Sequence[str]) -> bool:
    for path in folder.iterdir():
        if ("/" in endings and path.is_dir()) or path.suffix.lower() in endings:
            return True
    return False


def _pictures(folder: Path) -> Iterable[Path]:
    return (p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())


def pictures_by_name(layout: Layout, *, besides: Sequence[str] = ()) -> dict[str, Path]:
    """Picture by its name without ending.

    Args:
        layout: where.
        besides: ends of names, without ending, that mark labels lying among the pictures.

    Raises:
        ValueError: if two pictures differ in their ending only.
    """
    found: dict[str, Path] = {}
    for path in sorted(_pictures(layout.pictures)):
        if any(path.stem.endswith(mark) for mark in besides if mark):
            continue
        other = found.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(
                f"{path}: expected one picture per name, {other.name} has it too. Rename one, "
                "and its labels."
            )
    return found


def pair(
    source: Source, layout: Layout, pictures: dict[str, Path], truths: dict[str, Path]
) -> list[tuple[str, Path, Path]]:
    """(name, picture, labels) of the split's images, by name.

    Pictures without labels are left out with a warning.

    Raises:
        FileNotFoundError: if labels have no picture, or no picture has labels.
    """
    for name in sorted(set(truths) - set(pictures)):
        source.refuse(
            MissingPictureError(
                f"{truths[name]}: expected its picture {name}.* in {layout.pictures}, found "
                "none. Restore it, or remove the labels."
            )
        )
    without = sorted(set(pictures) - set(truths))
    if source.faults is not None:
        source.faults.extend(
            MissingLabelsError(
                f"{pictures[name]}: expected labels, found none. Label the picture, or remove it."
            )
            for name in without
        )
    elif without:
        logger.warning(
            "%s: expected labels, found none; pictures left out: %d. Label or remove them.",
            *(pictures[without[0]], len(without)),
        )
    names = sorted(set(truths) & set(pictures))
    if layout.by_rule:
        names = names_of_split(names, source)
    if not names:
        raise FileNotFoundError(
            f"{layout.truths}: expected labels of the split {source.split!r}, found none. Check "
            "the folder and the split."
        )
    return [(name, pictures[name], truths[name]) for name in names]


def names_of_split(names: Sequence[str], source: Source) -> list[str]:
    """Which names the seeded rule gives to the split.

    Names are put in the order of a hash of seed and name; the first `val_fraction` of them, at
    least one and never all, are "val". So an image changes sides only when many are added.
    """

    def place(name: str) -> bytes:
        return hashlib.blake2b(f"{source.split_seed}/{name}".encode(), digest_size=8).digest()

    ordered = sorted(names, key=place)
    count = min(max(1, round(len(names) * source.val_fraction)), max(1, len(names) - 1))
    if source.split in ALIASES["val"]:
        return sorted(ordered[:count])
    return sorted(ordered[count:])
