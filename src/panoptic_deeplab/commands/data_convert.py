"""`data convert`: a data set of any format into another, with an account of what is lost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from panoptic_deeplab.commands.sources import data_config, drawn_split, format_name
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import as_json
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show_progress


@dataclass(frozen=True)
class DataConvert:
    """Write a data set in another format; what that cannot hold is counted and said."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """Folder of a data set, whose format is recognised, or 'synthetic' for drawn scenes."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """New folder for the result; it appears when all is done."""
    to: str
    """Format to write, such as coco-panoptic, cityscapes or mapillary; docs/datasets.md has all."""
    format: str = "auto"
    """Format to read, if the folder could be several things."""
    splits: tuple[str, ...] = ()
    """Which parts; default: those of train and val that are there."""
    rename: tuple[str, ...] = ()
    """Classes under other names, as OLD=NEW."""
    drop: tuple[str, ...] = ()
    """Classes that become void; '*' for all that the format does not have."""
    overlap: Literal["smaller", "file"] = "smaller"
    """Where instances overlap: the smaller lies above, or the later one of the file."""
    priority: tuple[str, ...] = ()
    """Classes that lie above others whatever their size, the first above all."""
    val_fraction: float = 0.2
    """Share held out as val where the data come without splits."""
    split_seed: int = 0
    """Which images these are."""
    json: Flag = False
    """Print the account as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def convert_data(options: DataConvert) -> int:
    """Convert; exit code 0 also if something was lost, since that was asked for."""
    from panoptic_deeplab.data.convert import convert, sentences
    from panoptic_deeplab.data.formats import DATASETS, DRAWN, build_dataset

    target = format_name(options.to)
    if target not in DATASETS:
        raise ValueError("--to needs the name of a format, such as coco-panoptic.")
    config = data_config(
        DataConfig(
            format=format_name(options.format),
            val_fraction=options.val_fraction,
            split_seed=options.split_seed,
            overlap=options.overlap,
            overlap_priority=options.priority,
            train_images=20,
            val_images=20,
        ),
        options.source,
    )
    datasets, left_out = {}, {}
    for split in options.splits or ("train", "val"):
        role = drawn_split(split) if config.format == DRAWN else "val"
        try:
            chosen = config.model_copy(update={"val_split": split})
            datasets[split] = build_dataset(chosen, role)
        except FileNotFoundError as error:
            if options.splits or (split == "val" and not datasets):
                raise
            left_out[split] = str(error)
    with show_progress() as progress:
        result = convert(
            datasets,
            options.target,
            DATASETS[target],
            rename=pairs_of(options.rename),
            drop=options.drop,
            progress=progress,
        )
    result.left_out = left_out
    if options.json:
        print(as_json(result.to_dict()).decode())
        return 0
    Console().print(f"{options.target}: {DATASETS[target].title}", highlight=False)
    for line in sentences(result):
        print(f"  {line}")
    return 0


def pairs_of(words: tuple[str, ...]) -> dict[str, str]:
    """OLD=NEW words as a dict.

    Raises:
        ValueError: if a word has another form.
    """
    pairs = {}
    for word in words:
        old, equals, new = word.partition("=")
        if not (old and equals and new):
            raise ValueError(f"--rename takes OLD=NEW, got {word!r}. Write, say, facade=building.")
        pairs[old] = new
    return pairs
