"""Where `--data` points to, for all commands that read a data set."""

from typing import Literal

from panoptic_deeplab.config import DataConfig


def data_config(config: DataConfig, source: str) -> DataConfig:
    """Where `--data` points: drawn scenes, or a folder or tar in COCO's panoptic format."""
    if source == "synthetic":
        return config.model_copy(update={"format": "synthetic", "root": ""})
    format_ = "coco_panoptic" if config.format == "synthetic" else config.format
    return config.model_copy(update={"format": format_, "root": source})


def drawn_split(split: str) -> Literal["train", "val"]:
    """A split of the drawn scenes.

    Raises:
        ValueError: if they have none of that name.
    """
    if split not in ("train", "val"):
        raise ValueError(
            f"Drawn scenes have the splits 'train' and 'val', got {split!r}. Choose one."
        )
    return "train" if split == "train" else "val"
