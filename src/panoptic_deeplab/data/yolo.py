"""YOLO's segmentation format: a text file per picture, one object per line.

A line is the place of the class in `data.yaml`'s names and the corners x y x y ... as shares of
width and height. An object of several parts is one polygon with seams, as Ultralytics writes it.
All classes are things unless `labels.json` says otherwise. Crowd regions do not exist.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from panoptic_deeplab.data.examples import write_examples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size
from panoptic_deeplab.data.format import Format, Source
from panoptic_deeplab.data.label_file import (
    FILE,
    LabelFile,
    read_label_file,
    with_rest,
    write_label_file,
)
from panoptic_deeplab.data.overlaps import Flattened, Region, in_order
from panoptic_deeplab.data.own_folders import find_layout, layouts, pair, pictures_by_name
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.data.polygons import join_rings
from panoptic_deeplab.data.shapes import points, polygons_of, region_of_polygons
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import ClassInfo, LabelSpace, distinct_colors
from panoptic_deeplab.structures import Sample

LISTS = ("data.yaml", "dataset.yaml", "data.yml")
"""What the file with the names of the classes is called."""


def open_yolo(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if the list of names, folders, or pictures of labels are missing.
        ValueError: if the list of names is faulty.
    """
    layout = find_layout(source, ("labels",), (".txt",), "text files in labels/")
    names = read_names(source.root)
    truths = {p.stem: p for p in sorted(layout.truths.glob("*.txt")) if p.stem != "classes"}
    pairs = pair(source, layout, pictures_by_name(layout), truths)
    entries = [Entry(name, str(picture), str(truth)) for name, picture, truth in pairs]
    found = read_label_file(source.root)
    if found is None:
        colors = distinct_colors(len(names))
        classes = (ClassInfo(n, i, True, colors[i]) for i, n in enumerate(names))
        found = LabelFile(LabelSpace(source.root.resolve().name, tuple(classes)))
    unknown = [name for name in names if name not in found.labels.names]
    if unknown:
        raise ValueError(
            f"{source.root / FILE}: expected every class of the list of names, {unknown[0]!r} is "
            "missing. Add it."
        )
    labels, rest = with_rest(found, name=source.root / FILE)
    read = partial(_regions, names)
    return FileSet(
        labels, entries, Flattened(read, labels, rest, source.overlap), origin=layout.truths
    )


def read_names(root: Path) -> tuple[str, ...]:
    """Names of the classes from `data.yaml`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no names.
    """
    path = next((root / n for n in LISTS if (root / n).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{root}: expected data.yaml with the names of the classes, found none. Write it: "
            "names: [car, person]."
        )
    try:
        whole = yaml.safe_load(path.read_bytes())
        names: Any = whole["names"]
        if isinstance(names, dict):
            names = [names[i] for i in range(len(names))]
        if not names or not all(isinstance(n, str) for n in names):
            raise TypeError("names are no text")
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected 'names' with the name of each class, as in names: [car, person], "
            f"reading it failed at {' '.join(str(error).split())!r}. Correct it."
        ) from error
    return tuple(names)


def _regions(names: tuple[str, ...], entry: Entry, size: Size, labels: LabelSpace) -> list[Region]:
    height, width = size
    try:
        lines = Path(entry.truth).read_text("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{entry.truth}: expected lines of numbers, got something else. Restore the file."
        ) from error
    regions: list[Region] = []
    for i, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        where = f"{entry.truth}: line {i + 1}"
        if len(words) == 5:
            raise ValueError(
                f"{where}: expected corners of a polygon, got four numbers, a box. Boxes alone "
                "cannot be trained on; export polygons."
            )
        try:
            number, *shares = int(words[0]), *map(float, words[1:])
            name = names[number] if number >= 0 else names[len(names)]
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{where}: expected the place of a class, 0 to {len(names) - 1}, and corners x y "
                f"as shares of width and height, got {line[:40]!r}. Correct the line."
            ) from error
        corners = points(list(zip(shares[::2], shares[1::2], strict=False)), where)
        if len(shares) % 2 or corners.max() > 1.01 or corners.min() < -0.01:
            raise ValueError(
                f"{where}: expected pairs of shares from 0 to 1, got {len(shares)} numbers from "
                f"{min(shares)} to {max(shares)}. Divide by width and height."
            )
        pixels = [corners * (width, height)]
        region = region_of_polygons(labels.names.index(name), pixels, size, name=where)
        regions.append(replace(region, number=len(regions) + 1))
    return regions


class YoloWriter:
    """Writes `images/SPLIT/`, `labels/SPLIT/`, `data.yaml` and `labels.json`; no crowd regions.

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
        height, width = sample.panoptic.size
        lines = []
        polygons = polygons_of(sample.panoptic)
        for segment in in_order(sample.panoptic, self._labels):
            if segment.is_crowd:
                continue
            corners = join_rings(polygons[segment.id])
            shares = (corners / (width, height)).reshape(-1).tolist()
            lines.append(" ".join([str(segment.class_id), *(f"{s:.9g}" for s in shares)]))
        name = sample.image_id
        file_name = f"{name}{picture.ending}"
        text = "".join(f"{line}\n" for line in lines)
        write_whole(self._root / "images" / self._split / file_name, picture.content)
        write_whole(self._root / "labels" / self._split / f"{name}.txt", text.encode())
        return name

    def close(self) -> None:
        """Write the names."""
        whole = {
            "train": "images/train",
            "val": "images/val",
            "names": dict(enumerate(self._labels.names)),
        }
        write_whole(self._root / LISTS[0], yaml.safe_dump(whole, sort_keys=False).encode())
        write_label_file(self._root, self._labels)


def detect_yolo(root: Path) -> str | None:
    """Know it by data.yaml and text files in labels."""
    listed = next((n for n in LISTS if (root / n).is_file()), None)
    if listed is None:
        return None
    for layout in layouts(root, ("train", "val", "valid", "training", "validation"), ("labels",)):
        if next(layout.truths.glob("*.txt"), None) is not None:
            return f"{listed} and text files in {layout.truths.relative_to(root)}"
    return None


YOLO = Format(
    title="polygons of YOLO's segmentation format",
    open=open_yolo,
    detect=detect_yolo,
    writer=YoloWriter,
    write_example=partial(write_examples, YoloWriter),
)
