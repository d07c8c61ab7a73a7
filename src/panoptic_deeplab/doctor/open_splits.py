"""Opens the splits of a data set for examination: faults are collected, not raised."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from panoptic_deeplab.data.coco import find_panoptic_list, picture_folders
from panoptic_deeplab.data.coco_format import (
    ADE_FOLDERS,
    cityscapes_lists,
    completed,
    find_ade_list,
    naming_in,
    picture_places,
)
from panoptic_deeplab.data.file_set import FileSet
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.formats import DATASETS
from panoptic_deeplab.data.shard_store import ShardStore
from panoptic_deeplab.data.store import Place, TarStore, open_place
from panoptic_deeplab.data.tar_shards import find_shards
from panoptic_deeplab.doctor.coco_split import CocoSplit, Places, as_place, choose, names_of
from panoptic_deeplab.doctor.examined import Split
from panoptic_deeplab.doctor.faults import Finding
from panoptic_deeplab.doctor.file_split import FileSplit, finding_of


def open_split(format_name: str, source: Source) -> Split | list[Finding]:
    """Open one split of a format.

    Returns:
        The split, or, if it cannot be opened, why.

    Raises:
        FileNotFoundError: if there is no such split.
    """
    faults: list[Exception] = []
    tolerant = replace(source, faults=faults)
    try:
        if format_name in _COCO:
            places, labels_name = _COCO[format_name](tolerant)
            return CocoSplit(source.split, places, labels_name)
        dataset = DATASETS[format_name].open(tolerant)
    except FileNotFoundError:
        if not faults:
            raise
        return [finding_of(error, source.split) for error in faults]
    except ValueError as error:
        return [finding_of(each, source.split) for each in (*faults, error)]
    assert isinstance(dataset, FileSet), "every other format is a set of files"
    return FileSplit(source.split, dataset, faults)


def _coco(source: Source) -> tuple[Places, str]:
    store, listing = find_panoptic_list(source.root, source.split)
    place = Place(store, listing)
    content, base, stem = place.content(), place.parent.parent, PurePosixPath(listing).stem
    pngs = choose([place.parent.below(stem), base.below(stem)], names_of(content, "annotations"))
    names = names_of(content, "images")
    folders = picture_folders(tuple(dict.fromkeys((stem.removeprefix("panoptic_"), source.split))))
    found = [base.below(name) for name in folders]
    if not isinstance(base.store, TarStore):
        tars = [base.store.root / base.full(f"{name}.tar") for name in folders]
        example = names[0] if names else ""
        found += [open_place(tar, example) for tar in tars if tar.is_file()]
    name = base.name.removesuffix(".tar").removesuffix(f"_{source.split}")
    return Places(str(place), content, pngs, choose(found, names)), name


def _cityscapes(source: Source) -> tuple[Places, str]:
    lists = cityscapes_lists(source.root, source.split_names)
    if not lists:
        raise FileNotFoundError(
            f"{source.root}: expected gtFine/cityscapes_panoptic_{source.split}.json, found none."
        )
    content = completed("_trainId" in lists[0].stem, lists[0].read_bytes())
    folders = picture_places(source, lists[0])
    for pictures in folders:
        name_of = naming_in(pictures)
        if name_of is not None:
            pngs = as_place(lists[0].with_suffix(""))
            places = Places(str(lists[0]), content, pngs, as_place(pictures), name_of)
            return places, "cityscapes"
    raise ValueError(
        f"{source.root}: expected pictures in leftImg8bit/{source.split}/CITY, found none. Unpack "
        "the download of Cityscapes there."
    )


def _shards(source: Source) -> tuple[Places, str]:
    folder, listing = find_shards(source)
    place = Place(ShardStore(folder, source.split))
    return Places(str(listing), listing.content(), place, place), source.root.resolve().name


def _ade20k(source: Source) -> tuple[Places, str]:
    listed, split = find_ade_list(source)
    folder = listed.parent / "images" / ADE_FOLDERS.get(split, split)
    pngs = as_place(listed.with_suffix(""))
    return Places(str(listed), listed.read_bytes(), pngs, as_place(folder)), "ade20k"


_COCO: dict[str, Callable[[Source], tuple[Places, str]]] = {
    "coco_panoptic": _coco,
    "cityscapes_panoptic": _cityscapes,
    "ade20k": _ade20k,
    "tar_shards": _shards,
}
