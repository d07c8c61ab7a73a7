"""The table of formats, and how a folder is told to be one of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import (
    cityscapes,
    coco_format,
    coco_instances,
    cvat,
    id_pngs,
    instance_images,
    label_pngs,
    labelme,
    mapillary,
    mask_files,
    synthetic,
    tar_shards,
    yolo,
)
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.format import Format, Overlap, Source
from panoptic_deeplab.data.resized import Resized
from panoptic_deeplab.labels import near_names

Role = Literal["train", "val"]

TRAIN_SEED, VAL_SEED = 0, 1
"""Of the drawn scenes; different seeds never draw the same scene."""

AUTO, DRAWN = "auto", "synthetic"
"""Values of `DataConfig.format` beside the names of `DATASETS`."""

DATASETS: dict[str, Format] = {
    "cityscapes": cityscapes.FINE,
    "cityscapes_coarse": cityscapes.COARSE,
    "cityscapes_panoptic": coco_format.CITYSCAPES_PANOPTIC,
    "mapillary_v1_2": mapillary.V1_2,
    "mapillary_v2_0": mapillary.V2_0,
    "ade20k": coco_format.ADE20K,
    "tar_shards": tar_shards.TAR_SHARDS,
    "coco_panoptic": coco_format.COCO_PANOPTIC,
    "coco_instances": coco_instances.COCO_INSTANCES,
    "cvat": cvat.CVAT,
    "yolo_seg": yolo.YOLO,
    "labelme": labelme.LABELME,
    "id_pngs": id_pngs.ID_PNGS,
    "instance_masks": mask_files.MASK_FILES,
    "instance_tiffs": instance_images.INSTANCE_IMAGES,
    "label_pngs": label_pngs.LABEL_PNGS,
}
"""Formats by the name used in `DataConfig.format`; a folder is the first one that knows it."""


@dataclass(frozen=True)
class Recognised:
    """What a folder was taken for.

    Attributes:
        name: in `DATASETS`.
        evidence: what in the folder speaks for it.
        also: names of further formats that would fit.
    """

    name: str
    evidence: str
    also: tuple[str, ...] = ()

    def sentence(self, root: str | Path) -> str:
        """For people: what it is, why, and what else it could be read as."""
        text = f"{root}: taken for {DATASETS[self.name].title} (found {self.evidence})."
        if self.also:
            text += f" It can also be read as {', '.join(self.also)}: choose with the format."
        return text


def recognise(root: str | Path) -> Recognised:
    """Tell the format of a folder or tar from what lies in it.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is no format that is known; the message lists them.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(
            f"{root}: expected a folder or a tar, found nothing. Check the path."
        )
    found = list(_fitting(root))
    if not found:
        known = ", ".join(format_.title for format_ in DATASETS.values())
        raise ValueError(
            f"{root}: expected a data set of a known format, recognised none. Known are: {known}. "
            "docs/datasets.md shows how each lies on disk; name the folder that holds the splits."
        )
    (name, evidence), *others = found
    return Recognised(name, evidence, tuple(other for other, _ in others))


def _fitting(root: Path) -> Iterator[tuple[str, str]]:
    for name, format_ in DATASETS.items():
        if root.is_file() and name != "coco_panoptic":
            continue
        evidence = format_.detect(root)
        if evidence is not None:
            yield name, evidence


def build_dataset(config: DataConfig, role: Role) -> PanopticDataset:
    """Open the training or the validation split that the settings describe.

    Raises:
        ValueError: if format or role is unknown (the message lists near names), or the data are
            faulty.
        FileNotFoundError: if files are missing.
    """
    if role not in ("train", "val"):
        raise ValueError(f"The role of a data set is 'train' or 'val', got {role!r}.")
    if config.format == DRAWN:
        if role == "train":
            return synthetic.SyntheticStreets(config.size, config.train_images, TRAIN_SEED)
        return synthetic.SyntheticStreets(config.size, config.val_images, VAL_SEED)
    known = [AUTO, DRAWN, *DATASETS]
    if config.format not in known:
        raise ValueError(
            f"Unknown data format {config.format!r}. {near_names(config.format, known)}"
        )
    if not config.root:
        raise ValueError(
            f"Data in the format {config.format!r} need their folder, got none. Name it: --data "
            "FOLDER."
        )
    name = recognise(config.root).name if config.format == AUTO else config.format
    dataset = DATASETS[name].open(source_of(config, role))
    # In training the factor goes into the random scale instead, see `transforms.augment`.
    return Resized(dataset, config.long_side) if config.long_side and role == "val" else dataset


def source_of(config: DataConfig, role: Role) -> Source:
    """Where the images of a role lie, for readers."""
    return Source(
        root=Path(config.root),
        split=config.train_split if role == "train" else config.val_split,
        val_fraction=config.val_fraction,
        split_seed=config.split_seed,
        overlap=Overlap(config.overlap, config.overlap_priority),
    )
