"""`data`: drawn scenes written as files."""

from dataclasses import dataclass
from pathlib import Path

from panoptic_deeplab.commands.sources import drawn_split
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import make_folder
from panoptic_deeplab.options import Flag


@dataclass(frozen=True)
class DataSynthetic:
    """Draw street scenes and write them as a data set in COCO's panoptic format."""

    out: Path
    """Folder for pictures and labels; made if missing."""
    images: int = 20
    """Number of scenes."""
    split: str = "train"
    """'train', or 'val' for the held-out scenes."""
    size: tuple[int, int] = DataConfig().size
    """Height and width in pixels."""
    debug: Flag = False
    """Show the traceback of an error."""


def synthetic(options: DataSynthetic) -> int:
    """Write drawn scenes."""
    from panoptic_deeplab.data import build_dataset
    from panoptic_deeplab.data.coco_writer import write_dataset

    config = DataConfig(size=options.size, train_images=options.images, val_images=options.images)
    dataset = build_dataset(config, drawn_split(options.split))
    write_dataset(dataset, make_folder(options.out), options.split)
    print(f"{options.images} scenes in {options.out}, split {options.split!r}")
    return 0
