"""Pictures beside label images of instances, as in microscopy: 0 is background, n is thing n.

TIFFs of 8 to 32 bits (Cellpose, StarDist, ImageJ): `masks/NAME.tif`, or `NAME_masks.tif` beside
`NAME.tif`. There is one class of things, "object" unless `labels.json` names another, and one of
stuff for the background.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from panoptic_deeplab.data.examples import Examples, write_samples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size, map_from_values
from panoptic_deeplab.data.format import ALIASES, Format, Source
from panoptic_deeplab.data.id_images import read_numbers
from panoptic_deeplab.data.label_file import (
    FILE,
    read_label_file,
    things_named,
    with_rest,
    write_label_file,
)
from panoptic_deeplab.data.own_folders import (
    Layout,
    find_layout,
    layouts,
    pair,
    pictures_by_name,
)
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample

FOLDERS = ("masks", "labels", "instances", "annotations", "")
MARKS = ("_masks", "_mask", "_label", "_labels", "_instances", "")
"""What follows the picture's name in the label image's."""

_ENDINGS = (".tif", ".tiff")


@dataclass(frozen=True)
class InstanceImages:
    """Decodes label images.

    Attributes:
        thing: class_id of the objects.
        rest: class_id of the background; None: void.
    """

    thing: int
    rest: int | None

    def __call__(self, entry: Entry, size: Size) -> PanopticMap:
        """Read one.

        Raises:
            ValueError: naming the file that is damaged.
        """
        values = read_numbers(entry.truth)
        background = int(values.max(initial=0)) + 1

        def identify(value: int) -> tuple[int, int, bool] | None:
            if value:
                return value, self.thing, False
            return None if self.rest is None else (background, self.rest, False)

        return map_from_values(values, identify)


def open_instance_images(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if folders, or pictures of label images, are missing.
        ValueError: if `labels.json` does not have exactly one class of things.
    """
    layout = find_layout(source, FOLDERS, _ENDINGS, "TIFFs of instances in masks/")
    for other in layouts(source.root, source.split_names, FOLDERS):
        if other.by_rule == layout.by_rule and any(_truths(other)):
            layout = other
            break
    found = read_label_file(source.root) or things_named(("object",), source.root.resolve().name)
    labels, rest = with_rest(found, name=source.root / FILE)
    if len(labels.thing_ids) != 1 or len(labels.stuff_ids) > 1:
        raise ValueError(
            f"{source.root / FILE}: expected one class of things and at most one of stuff, since "
            f"label images of instances have no classes, got {', '.join(labels.names)}. Bring "
            "PNGs of ids, or one mask per instance."
        )
    rest = rest if rest is not None else labels.stuff_ids[0]
    truths = dict(_truths(layout))
    besides = [mark for mark in MARKS if mark] if layout.pictures == layout.truths else []
    pairs = pair(source, layout, pictures_by_name(layout, besides=besides), truths)
    entries = [Entry(name, str(picture), str(truth)) for name, picture, truth in pairs]
    decode = InstanceImages(labels.thing_ids[0], rest)
    return FileSet(labels, entries, decode, origin=layout.truths)


def _truths(layout: Layout) -> Iterator[tuple[str, Path]]:
    """(name of the picture, label image) of a folder."""
    same = layout.pictures == layout.truths
    for path in sorted(layout.truths.iterdir()):
        if path.suffix.lower() not in _ENDINGS:
            continue
        mark = next(m for m in MARKS if path.stem.endswith(m))
        if mark or not same:
            yield path.stem.removesuffix(mark), path


class InstanceImageWriter:
    """Writes `images/SPLIT/`, `masks/SPLIT/` as 16-bit TIFF and `labels.json`.

    Only the things of the label space's first thing class are kept.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.

    Raises:
        ValueError: if there is no class of things.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._split, self._labels = root, split, labels
        if not labels.thing_ids:
            raise ValueError(
                f"Label images of instances hold things, {labels.name!r} has none. Choose "
                "another format."
            )
        self._thing = labels.thing_ids[0]

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image.

        Raises:
            ValueError: if an id does not fit into 16 bits.
        """
        assert sample.panoptic is not None
        kept = [s for s in sample.panoptic.segments if s.class_id == self._thing and not s.is_crowd]
        if len(kept) >= 2**16:
            raise ValueError(
                f"{sample.image_id}: expected at most 65535 instances, which 16 bits can number, "
                f"got {len(kept)}. Use another format."
            )
        table = {s.id: i + 1 for i, s in enumerate(sorted(kept, key=lambda s: s.id))}
        ids, place = np.unique(sample.panoptic.segment_map, return_inverse=True)
        numbers = np.array([table.get(int(i), 0) for i in ids], np.uint16)[place]
        buffer = BytesIO()
        image = Image.fromarray(numbers.reshape(sample.panoptic.size))
        image.save(buffer, "TIFF", compression="tiff_deflate")
        name = sample.image_id
        file_name = f"{name}{picture.ending}"
        write_whole(self._root / "images" / self._split / file_name, picture.content)
        write_whole(self._root / "masks" / self._split / f"{name}.tif", buffer.getvalue())
        return name

    def close(self) -> None:
        """Write `labels.json`."""
        thing = self._labels.classes[self._thing]
        write_label_file(self._root, LabelSpace(self._labels.name, (thing,)))


def detect_instance_images(root: Path) -> str | None:
    """Know it by TIFFs in masks or labels, or named NAME_masks.tif."""
    if not root.is_dir():
        return None
    splits = tuple(name for names in ALIASES.values() for name in names)
    for layout in layouts(root, splits, FOLDERS):
        for name, path in _truths(layout):
            if any(layout.pictures.glob(f"{name}.*")):
                return f"{path.relative_to(root)} with the name of a picture"
    return None


def _write_example(root: str | Path) -> None:
    labels = LabelSpace(
        "example",
        (
            ClassInfo("background", 0, False, (64, 64, 64)),
            ClassInfo("sky", 2, False, (70, 130, 180)),
            ClassInfo("cell", 3, True, (242, 61, 61)),
            ClassInfo("other", 4, True, (0, 0, 142)),
        ),
    )
    for seed, split in enumerate(("train", "val")):
        examples = Examples(labels, seed, (f"{split}1", f"{split}2"))
        write_samples(examples, InstanceImageWriter(Path(root), split, labels))


INSTANCE_IMAGES = Format(
    title="pictures with label images of instances (16-bit TIFF)",
    open=open_instance_images,
    detect=detect_instance_images,
    writer=InstanceImageWriter,
    write_example=_write_example,
)
