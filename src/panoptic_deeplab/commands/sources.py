"""Where `--data` points to, for all commands that read a data set."""

from typing import Literal

from rich.console import Console

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.labels import near_names


def data_config(config: DataConfig, source: str) -> DataConfig:
    """Where `--data` points: drawn scenes, or a folder or tar of any format.

    What the format is taken for is said on stderr, unless the settings name it. A recipe's
    "coco_panoptic" counts as not named, since a folder of that format is recognised anyway.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        ValueError: if it is of no known format.
    """
    from panoptic_deeplab.data.formats import AUTO, DRAWN, recognise

    if source == DRAWN:
        return config.model_copy(update={"format": DRAWN, "root": ""})
    name = config.format
    if name in (DRAWN, AUTO, "coco_panoptic"):
        found = recognise(source)
        messages = Console(stderr=True)
        messages.print(found.sentence(source), markup=False, highlight=False, soft_wrap=True)
        name = found.name
    return config.model_copy(update={"format": name, "root": source})


def format_name(typed: str) -> str:
    """A format as typed: hyphens for underscores, "mapillary" for the newest common version.

    Raises:
        ValueError: if there is none of that name; the message lists near ones.
    """
    from panoptic_deeplab.data.formats import AUTO, DATASETS

    name = typed.replace("-", "_").replace(".", "_").lower()
    name = {"mapillary": "mapillary_v1_2", "yolo": "yolo_seg"}.get(name, name)
    if name not in (AUTO, *DATASETS):
        raise ValueError(f"Unknown data format {typed!r}. {near_names(name, list(DATASETS))}")
    return name


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
