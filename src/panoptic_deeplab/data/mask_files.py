"""One mask file per instance: `masks/NAME/CLASS/0001.png` beside `images/NAME.jpg`.

Also without folders of classes: then the file's name up to its number is the class, if
`labels.json` has one of that name, else the only thing class, else "object". The 2018 Data Science
Bowl's `NAME/images` and `NAME/masks` are the same thing per picture. A pixel that is not black is
inside; names that end in `_crowd` are crowd regions. Masks may overlap.
"""

import re
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from panoptic_deeplab.data.examples import write_examples
from panoptic_deeplab.data.file_set import Entry, FileSet, Size, size_mismatch
from panoptic_deeplab.data.format import ALIASES, Format, Source
from panoptic_deeplab.data.id_images import encode_numbers
from panoptic_deeplab.data.label_file import (
    FILE,
    read_label_file,
    things_named,
    with_rest,
    write_label_file,
)
from panoptic_deeplab.data.overlaps import Flattened, Mask, Region, in_order, region_of
from panoptic_deeplab.data.own_folders import (
    find_layout,
    layouts,
    names_of_split,
    pair,
    pictures_by_name,
)
from panoptic_deeplab.data.pictures import ENDINGS, PictureFile
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Sample

FOLDERS = ("masks", "instances", "annotations")
OBJECT = "object"
"""The class of masks that do not say."""

_CROWD = "_crowd"
_NUMBER = re.compile(r"[-_ ]?\d+$")
_ODD = re.compile(r'[/\\:*?"<>|]|^\.')


def open_mask_files(source: Source) -> FileSet:
    """Open a split.

    Raises:
        FileNotFoundError: if folders, or pictures of masks, are missing.
        ValueError: if `labels.json` is faulty.
    """
    bowls = _bowls(source)
    if bowls:
        entries = [_bowl_entry(folder) for folder in bowls]
    else:
        layout = find_layout(source, FOLDERS, ("/",), "folders of masks in masks/")
        truths = {p.name: p for p in sorted(layout.truths.iterdir()) if p.is_dir()}
        pairs = pair(source, layout, pictures_by_name(layout), truths)
        entries = [Entry(name, str(picture), str(truth)) for name, picture, truth in pairs]
    found = read_label_file(source.root)
    if found is None:
        found = things_named(_class_folders(source.root) or {OBJECT}, source.root.resolve().name)
    labels, rest = with_rest(found, name=source.root / FILE)
    return FileSet(
        labels, entries, Flattened(_regions, labels, rest, source.overlap), origin=source.root
    )


def _bowls(source: Source) -> list[Path]:
    """Folders with `images` and `masks` of one picture each, of this split."""
    for split in (*source.split_names, ""):
        folders = _bowls_in(source.root / split)
        if folders and not split:
            chosen = set(names_of_split([f.name for f in folders], source))
            known = (*ALIASES["train"], *ALIASES["val"])
            return [f for f in folders if f.name in chosen and source.split in known]
        if folders:
            return folders
    return []


def _bowls_in(base: Path) -> list[Path]:
    if not base.is_dir():
        return []
    splits = {name for names in ALIASES.values() for name in names}
    return [
        folder
        for folder in sorted(base.iterdir())
        if folder.name not in splits
        and (folder / "images").is_dir()
        and (folder / "masks").is_dir()
    ]


def _bowl_entry(folder: Path) -> Entry:
    pictures = [p for p in sorted((folder / "images").iterdir()) if p.suffix.lower() in ENDINGS]
    if len(pictures) != 1:
        raise FileNotFoundError(
            f"{folder / 'images'}: expected one picture, got {len(pictures)}. Restore it, or "
            "remove the folder."
        )
    return Entry(folder.name, str(pictures[0]), str(folder / "masks"))


def _class_folders(root: Path) -> set[str]:
    """Names of the folders of classes below those of the pictures, in all splits."""
    splits = tuple(name for names in ALIASES.values() for name in names)
    return {
        folder.name
        for layout in layouts(root, splits, FOLDERS)
        for picture in layout.truths.iterdir()
        if picture.is_dir() and picture.name not in splits
        for folder in picture.iterdir()
        if folder.is_dir()
    }


def _regions(entry: Entry, size: Size, labels: LabelSpace) -> list[Region]:
    regions: list[Region] = []
    for path in _mask_files(Path(entry.truth)):
        mask = read_mask(path)
        if mask.shape != size:
            raise size_mismatch(str(path), (mask.shape[0], mask.shape[1]), entry.image, size)
        name = path.parent.name if path.parent != Path(entry.truth) else ""
        class_id = _class_id(path, name, labels)
        region = region_of(class_id, mask, is_crowd=path.stem.endswith(_CROWD))
        if not region.mask.size:
            raise ValueError(f"{path}: expected pixels of an object, got none. Remove the file.")
        regions.append(replace(region, number=len(regions) + 1))
    return regions


def _mask_files(folder: Path) -> list[Path]:
    """In the order of their names, whatever the folder of their class."""
    files = [p for p in (*folder.iterdir(), *folder.glob("*/*")) if p.suffix.lower() in ENDINGS]
    return sorted(files, key=lambda p: (p.name, p.parent.name))


def _class_id(path: Path, folder: str, labels: LabelSpace) -> int:
    stem = _NUMBER.sub("", path.stem.removesuffix(_CROWD))
    if folder:
        if folder not in labels.names:
            raise ValueError(
                f"{path}: expected the name of a class as its folder, got {folder!r}; {FILE} has "
                f"{', '.join(labels.names)}. Rename the folder, or add the class."
            )
        return labels.names.index(folder)
    if stem in labels.names:
        return labels.names.index(stem)
    if len(labels.thing_ids) == 1:
        return labels.thing_ids[0]
    raise ValueError(
        f"{path}: expected the name of a class before the number, as in "
        f"{labels.names[labels.thing_ids[0]] if labels.thing_ids else 'car'}_001.png, got "
        f"{stem!r}. Rename it, or put masks into folders named after their class."
    )


def read_mask(path: Path) -> Mask:
    """Where a picture is not black; (H, W) bool.

    Raises:
        ValueError: naming the file that is no picture, or damaged.
    """
    try:
        with Image.open(BytesIO(path.read_bytes())) as image:
            values = np.asarray(image.convert("RGB") if image.mode in ("RGBA", "CMYK") else image)
            if image.mode in ("LA", "PA"):
                values = values[..., 0]
    except Exception as error:  # on damaged files decoders raise nearly anything
        raise ValueError(
            f"{path}: expected a picture of one mask, reading it failed "
            f"({str(error) or type(error).__name__}). Copy or download the file again."
        ) from error
    return np.asarray(values.any(axis=2) if values.ndim == 3 else values != 0, bool)


class MaskFileWriter:
    """Writes `images/SPLIT/`, `masks/SPLIT/NAME/CLASS/` and `labels.json`.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments, whose names can be folders.

    Raises:
        ValueError: if the name of a class cannot be a folder.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._root, self._split, self._labels = root, split, labels
        odd = [name for name in labels.names if _ODD.search(name)]
        if odd:
            raise ValueError(
                f"Masks lie in folders named after their class, which {odd[0]!r} cannot be. "
                "Rename the class, or choose another format."
            )

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image."""
        assert sample.panoptic is not None
        name = sample.image_id
        folder = self._root / "masks" / self._split / name
        for i, segment in enumerate(in_order(sample.panoptic, self._labels)):
            mask = (sample.panoptic.segment_map == segment.id).astype(np.int32) * 255
            crowd = _CROWD if segment.is_crowd else ""
            target = folder / self._labels.names[segment.class_id] / f"{i + 1:04d}{crowd}.png"
            write_whole(target, encode_numbers(mask))
        folder.mkdir(parents=True, exist_ok=True)
        file_name = f"{name}{picture.ending}"
        write_whole(self._root / "images" / self._split / file_name, picture.content)
        return name

    def close(self) -> None:
        """Write `labels.json`."""
        write_label_file(self._root, self._labels)


def detect_mask_files(root: Path) -> str | None:
    """Know it by a folder of masks with the name of a picture, or by NAME/images and NAME/masks."""
    if not root.is_dir():
        return None
    for base in (root, *(root / s for names in ALIASES.values() for s in names)):
        bowls = _bowls_in(base)
        if bowls:
            return f"{bowls[0].relative_to(root)}/images and /masks"
    for layout in layouts(root, ("train", "val", "training", "validation"), FOLDERS):
        for folder in sorted(p for p in layout.truths.iterdir() if p.is_dir()):
            if any(layout.pictures.glob(f"{folder.name}.*")):
                return f"masks in {folder.relative_to(root)}/"
    return None


MASK_FILES = Format(
    title="pictures with one mask file per instance",
    open=open_mask_files,
    detect=detect_mask_files,
    writer=MaskFileWriter,
    write_example=partial(write_examples, MaskFileWriter),
)
