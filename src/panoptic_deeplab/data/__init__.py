"""Data sets by name, and the stream of training batches."""

from collections.abc import Callable
from typing import Literal

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.coco import open_coco_panoptic
from panoptic_deeplab.data.loading import TrainingSet, build_loader
from panoptic_deeplab.data.synthetic import SyntheticStreets
from panoptic_deeplab.labels import near_names

__all__ = ["DATASETS", "PanopticDataset", "TrainingSet", "build_dataset", "build_loader"]

Role = Literal["train", "val"]

TRAIN_SEED, VAL_SEED = 0, 1
"""Of the drawn scenes; different seeds never draw the same scene."""


def _coco_panoptic(config: DataConfig, role: Role) -> PanopticDataset:
    if not config.root:
        raise ValueError(
            "Data in the format 'coco_panoptic' needs its folder, got none. Name it: --data FOLDER."
        )
    split = config.train_split if role == "train" else config.val_split
    return open_coco_panoptic(config.root, split)


def _synthetic(config: DataConfig, role: Role) -> PanopticDataset:
    if role == "train":
        return SyntheticStreets(config.size, config.train_images, TRAIN_SEED)
    return SyntheticStreets(config.size, config.val_images, VAL_SEED)


DATASETS: dict[str, Callable[[DataConfig, Role], PanopticDataset]] = {
    "coco_panoptic": _coco_panoptic,
    "synthetic": _synthetic,
}


def build_dataset(config: DataConfig, role: Role) -> PanopticDataset:
    """Open the training or the validation split that the settings describe.

    Raises:
        ValueError: if the format is unknown (the message lists near names) or the data are faulty.
        FileNotFoundError: if files are missing.
    """
    if config.format not in DATASETS:
        raise ValueError(
            f"Unknown data format {config.format!r}. {near_names(config.format, list(DATASETS))}"
        )
    return DATASETS[config.format](config, role)
