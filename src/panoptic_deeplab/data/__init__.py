"""Data sets by name, and the stream of training batches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import synthetic
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.coco import open_coco_panoptic
from panoptic_deeplab.data.loading import TrainingSet, build_loader
from panoptic_deeplab.labels import near_names

__all__ = ["DATASETS", "Format", "PanopticDataset", "TrainingSet", "build_dataset", "build_loader"]

Role = Literal["train", "val"]

TRAIN_SEED, VAL_SEED = 0, 1
"""Of the drawn scenes; different seeds never draw the same scene."""


@dataclass(frozen=True)
class Format:
    """A kind of data set.

    Attributes:
        open: gives the images of a role.
        write_example: writes a tiny valid copy of the format into a folder, with the splits
            "train" and "val".
    """

    open: Callable[[DataConfig, Role], PanopticDataset]
    write_example: Callable[[str | Path], None]


def _coco_panoptic(config: DataConfig, role: Role) -> PanopticDataset:
    if not config.root:
        raise ValueError(
            "Data in the format 'coco_panoptic' needs its folder, got none. Name it: --data FOLDER."
        )
    split = config.train_split if role == "train" else config.val_split
    return open_coco_panoptic(config.root, split)


def _synthetic(config: DataConfig, role: Role) -> PanopticDataset:
    if role == "train":
        return synthetic.SyntheticStreets(config.size, config.train_images, TRAIN_SEED)
    return synthetic.SyntheticStreets(config.size, config.val_images, VAL_SEED)


DATASETS: dict[str, Format] = {
    "coco_panoptic": Format(_coco_panoptic, synthetic.write_example),
    "synthetic": Format(_synthetic, synthetic.write_example),
}
"""Formats by the name used in `DataConfig.format`."""


def build_dataset(config: DataConfig, role: Role) -> PanopticDataset:
    """Open the training or the validation split that the settings describe.

    Raises:
        ValueError: if format or role is unknown (the message lists near names), or the data are
            faulty.
        FileNotFoundError: if files are missing.
    """
    if config.format not in DATASETS:
        raise ValueError(
            f"Unknown data format {config.format!r}. {near_names(config.format, list(DATASETS))}"
        )
    if role not in ("train", "val"):
        raise ValueError(f"The role of a data set is 'train' or 'val', got {role!r}.")
    return DATASETS[config.format].open(config, role)
