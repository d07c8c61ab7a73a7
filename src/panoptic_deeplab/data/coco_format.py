"""COCO's panoptic format as one of the formats, and two that are COCO lists in other folders.

`cityscapes_panoptic_SPLIT.json` is what cityscapesScripts generates in `gtFine`; its pictures lie
in `leftImg8bit`, under names that the list gives wrongly (`_gtFine_leftImg8bit.png`). ADE20K's
panoptic list, `ade20k_panoptic_SPLIT.json`, lies beside `images`.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from panoptic_deeplab.data.cityscapes import cityscapes_name, instance_values
from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.coco import CocoPanoptic, open_coco_panoptic
from panoptic_deeplab.data.coco_list import ImageEntry
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.data.examples import Examples, coco_names, write_examples, write_samples
from panoptic_deeplab.data.file_set import paint_values
from panoptic_deeplab.data.format import Format, Source
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment

ADE_FOLDERS = {"train": "training", "val": "validation"}


class CocoSplitWriter:
    """Writes pictures into `SPLIT/` and the rest into `annotations/`; the list comes last.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._folder = root / split
        self._writer = CocoPanopticWriter(root / "annotations", labels, name=f"panoptic_{split}")

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image."""
        assert sample.panoptic is not None
        file_name = f"{sample.image_id}{picture.ending}"
        self._writer.add(sample.image_id, sample.panoptic, file_name=file_name)
        write_whole(self._folder / file_name, picture.content)
        return sample.image_id

    def close(self) -> None:
        """Write the list."""
        self._writer.close()


class CityscapesPanopticWriter:
    """Writes pictures as Cityscapes has them, and PNGs and list as cityscapesScripts makes them.

    Args:
        root: of the data set.
        split: such as "train".
        labels: the classes of Cityscapes.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._pictures, self._labels = root / "leftImg8bit" / split, labels
        name = f"cityscapes_panoptic_{split}"
        self._writer = CocoPanopticWriter(root / "gtFine", labels, name=name)
        self._count = 0

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image; one whose name is not CITY_SEQUENCE_FRAME is numbered in order."""
        assert sample.panoptic is not None
        stem = cityscapes_name(sample.image_id, self._count)
        self._count += 1
        values, _ = instance_values(sample.panoptic, self._labels, sample.image_id)
        panoptic = _renumbered(sample.panoptic, values)
        file_name, png_name = f"{stem}_gtFine_leftImg8bit.png", f"{stem}_gtFine_panoptic.png"
        self._writer.add(stem, panoptic, file_name=file_name, png_name=png_name)
        target = self._pictures / stem.split("_")[0] / f"{stem}_leftImg8bit.png"
        write_whole(target, picture.as_png(sample))
        return stem

    def close(self) -> None:
        """Write the list."""
        self._writer.close()


class AdePanopticWriter:
    """Writes pictures into `images/training/` or `/validation/`, list and PNGs beside `images`.

    Args:
        root: of the data set.
        split: such as "train".
        labels: the classes of ADE20K.
    """

    def __init__(self, root: Path, split: str, labels: LabelSpace) -> None:
        self._folder = root / "images" / ADE_FOLDERS.get(split, split)
        self._writer = CocoPanopticWriter(root, labels, name=f"ade20k_panoptic_{split}")

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image."""
        assert sample.panoptic is not None
        file_name = f"{sample.image_id}{picture.ending}"
        self._writer.add(sample.image_id, sample.panoptic, file_name=file_name)
        write_whole(self._folder / file_name, picture.content)
        return sample.image_id

    def close(self) -> None:
        """Write the list."""
        self._writer.close()


def open_cityscapes_panoptic(source: Source) -> CocoPanoptic:
    """Open a generated list, with label ids or with train ids, label ids first.

    Raises:
        FileNotFoundError: if list, PNGs or pictures are missing.
        ValueError: if the list is faulty.
    """
    lists = cityscapes_lists(source.root, source.split_names)
    if not lists:
        raise FileNotFoundError(
            f"{source.root}: expected gtFine/cityscapes_panoptic_{source.split}.json, found none. "
            "Make it with cityscapesScripts, or read the data as 'cityscapes'."
        )
    for pictures in picture_places(source, lists[0]):
        name_of = naming_in(pictures)
        if name_of is not None:
            break
    else:
        raise FileNotFoundError(
            f"{source.root}: expected pictures in leftImg8bit/{source.split}/CITY, found none. "
            "Unpack the download of Cityscapes there."
        )
    pngs = lists[0].with_suffix("")
    prepare = partial(completed, "_trainId" in lists[0].stem)
    return CocoPanoptic(
        pictures, lists[0], pngs, name="cityscapes", picture_name=name_of, prepare=prepare
    )


def picture_places(source: Source, listed: Path) -> list[Path]:
    """Folders in which the pictures of a generated list may lie, in the order to look."""
    above = listed.parent.parent
    folders = [
        base / split
        for base in (source.root / "leftImg8bit", above / "leftImg8bit", listed.parent)
        for split in (*source.split_names, "")
    ]
    return [f for f in folders if f.is_dir()]


def completed(with_train_ids: bool, content: bytes) -> bytes:
    """Add images and categories where a list has annotations alone, as deeplab2's test data do."""
    try:
        whole = json.loads(content)
        named = [(a["image_id"], a["file_name"]) for a in whole["annotations"]]
    except (ValueError, KeyError, TypeError):
        return content  # the reader of lists says what is wrong
    whole.setdefault("images", [{"id": n, "file_name": f} for n, f in named])
    whole.setdefault(
        "categories",
        [
            {
                "id": i if with_train_ids else c.dataset_id,
                "name": c.name,
                "isthing": int(c.is_thing),
                "color": list(c.color),
            }
            for i, c in enumerate(read_table("cityscapes").labels.classes)
        ],
    )
    return json.dumps(whole).encode()


def open_ade20k(source: Source) -> CocoPanoptic:
    """Open ADE20K's panoptic list.

    Raises:
        FileNotFoundError: if list, PNGs or pictures are missing.
        ValueError: if the list is faulty.
    """
    listed, split = find_ade_list(source)
    folder = listed.parent / "images" / ADE_FOLDERS.get(split, split)
    return CocoPanoptic(folder, listed, listed.with_suffix(""), name="ade20k")


def find_ade_list(source: Source) -> tuple[Path, str]:
    """The panoptic list of a split, and what the split is called in its name.

    Raises:
        FileNotFoundError: if there is none.
    """
    for base in (source.root, source.root / "ADEChallengeData2016"):
        for split in source.split_names:
            listed = base / f"ade20k_panoptic_{split}.json"
            if listed.is_file():
                return listed, split
    raise FileNotFoundError(
        f"{source.root}: expected ade20k_panoptic_{source.split}.json beside the folder images, "
        "found none. Make it with the preparation script of your ADE20K download, or check the "
        "split."
    )


def detect_coco_panoptic(root: Path) -> str | None:
    """Know COCO's panoptic format by its list, or a data set in a tar by its ending.

    A list whose pictures lie in tar shards is another format.
    """
    if root.is_file():
        return root.name if root.suffix == ".tar" else None
    if next(root.glob("shards/*-000000.tar"), None) is not None:
        return None
    for pattern in ("panoptic_*.json", "*/panoptic_*.json", "*/*/panoptic_*.json", "*_*.tar"):
        for path in sorted(root.glob(pattern)):
            if path.suffix == ".tar" or path.with_suffix("").name not in _OTHERS:
                return str(path.relative_to(root))
    return None


_OTHERS = ("panoptic_2018", "panoptic_2020", "panoptic_coco_categories")
"""Mapillary's own lists and the list of categories, which stand for no split."""


def detect_cityscapes_panoptic(root: Path) -> str | None:
    """Know it by the name that cityscapesScripts gives the list."""
    found = cityscapes_lists(root, ("*",))
    return str(found[0].relative_to(root)) if found else None


def detect_ade20k(root: Path) -> str | None:
    """Know it by the list's name."""
    for pattern in ("ade20k_panoptic_*.json", "ADEChallengeData2016/ade20k_panoptic_*.json"):
        for path in sorted(root.glob(pattern)):
            return str(path.relative_to(root))
    return None


def cityscapes_lists(root: Path, splits: tuple[str, ...]) -> list[Path]:
    """Generated lists of any of the splits, those with label ids first."""
    return [
        path
        for split in splits
        for kind in ("", "_trainId")
        for folder in ("gtFine/", "gtFine_*/gtFine/", "")
        for path in sorted(root.glob(f"{folder}cityscapes_panoptic_{split}{kind}.json"))
    ]


def naming_in(folder: Path) -> Callable[[ImageEntry], str] | None:
    """How pictures lie in a folder: below their cities, or directly; None if not at all."""
    if next(folder.glob("*/*_leftImg8bit.png"), None) is not None:
        return _picture_in_city
    return _picture_name if next(folder.glob("*_leftImg8bit.png"), None) is not None else None


def _picture_in_city(entry: ImageEntry) -> str:
    return f"{entry.image_id.split('_')[0]}/{entry.image_id}_leftImg8bit.png"


def _picture_name(entry: ImageEntry) -> str:
    return f"{entry.image_id}_leftImg8bit.png"


def _renumbered(panoptic: PanopticMap, numbers: dict[int, int]) -> PanopticMap:
    """The same map with other segment ids; segments of one number become one."""
    merged: dict[int, Segment] = {}
    for segment in panoptic.segments:
        number = numbers[segment.id]
        area = segment.area_px + (merged[number].area_px if number in merged else 0)
        merged[number] = replace(segment, id=number, area_px=area)
    ids = paint_values(panoptic, numbers, VOID)
    return PanopticMap(ids, tuple(merged[n] for n in sorted(merged)))


def _open_coco(source: Source) -> CocoPanoptic:
    return open_coco_panoptic(source.root, source.split)


def _write_cityscapes_example(root: str | Path) -> None:
    labels = read_table("cityscapes").labels
    for seed, split in enumerate(("train", "val")):
        names = (f"example_00000{seed}_000000", f"example_00000{seed}_000001")
        writer = CityscapesPanopticWriter(Path(root), split, labels)
        write_samples(Examples(labels, seed, names), writer)


def _write_ade_example(root: str | Path) -> None:
    labels = read_table("ade20k").labels
    for seed, split in enumerate(("train", "val")):
        names = (f"ADE_{split}_00000001", f"ADE_{split}_00000002")
        write_samples(Examples(labels, seed, names), AdePanopticWriter(Path(root), split, labels))


COCO_PANOPTIC = Format(
    title="COCO panoptic",
    open=_open_coco,
    detect=detect_coco_panoptic,
    writer=CocoSplitWriter,
    write_example=partial(write_examples, CocoSplitWriter, names=coco_names),
)
CITYSCAPES_PANOPTIC = Format(
    title="Cityscapes in its generated panoptic form",
    open=open_cityscapes_panoptic,
    detect=detect_cityscapes_panoptic,
    writer=CityscapesPanopticWriter,
    write_example=_write_cityscapes_example,
    table="cityscapes",
)
ADE20K = Format(
    title="ADE20K panoptic",
    open=open_ade20k,
    detect=detect_ade20k,
    writer=AdePanopticWriter,
    write_example=_write_ade_example,
    table="ade20k",
)
