"""`compare`: two models on the same images, side by side, with intervals."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from panoptic_deeplab.commands.sources import data_config, drawn_split, format_name
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import as_json, check_place, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show, show_progress

if TYPE_CHECKING:
    from panoptic_deeplab.labels import LabelSpace
    from panoptic_deeplab.metrics.counts import ImageCounts


@dataclass(frozen=True)
class Compare:
    """Put two evaluations side by side: what differs, and how sure that is."""

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Folder of evaluate --save; with --data, weights as for evaluate."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Likewise."""
    data: str | None = None
    """Evaluate A and B, which are weights, on this data set."""
    split: str = "val"
    """Which part of it."""
    format: str = "auto"
    """What the folder is; see evaluate."""
    limit: int = 0
    """Use at most this many images of it; 0: all."""
    draws: int = 1000
    """How often images are drawn for the intervals."""
    seed: int = 0
    """Of the draws."""
    html: Path | None = None
    """Write a page with all classes and images."""
    json: Flag = False
    """Print the numbers as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def compare(options: Compare) -> int:
    """Compare; print a table, and write a page where asked."""
    from panoptic_deeplab.comparison import comparison_page, comparison_table
    from panoptic_deeplab.metrics.bootstrap import compare_counts

    if options.draws < 0:
        raise ValueError(f"--draws must be 0 or more, got {options.draws}.")
    if options.html is not None:
        check_place(options.html)
    read = _from_folder if options.data is None else _from_weights
    labels, first = read(options, options.first)
    others, second = read(options, options.second)
    if [c.name for c in labels.classes] != [c.name for c in others.classes]:
        raise ValueError(
            f"A and B need the same classes, got {', '.join(labels.names[:5])} and "
            f"{', '.join(others.names[:5])}. Compare models of one data set."
        )
    differences = compare_counts(first, second, labels, draws=options.draws, seed=options.seed)
    names = options.first, options.second
    if options.html is not None:
        write_whole(options.html, comparison_page(differences, (first, second), labels, names))
    if options.json:
        plain = {name: d.to_dict() for name, d in differences.items()}
        print(as_json({"num_images": len(first), "differences": plain}).decode())
        return 0
    show([comparison_table(differences, names, num_images=len(first))])
    return 0


def _from_folder(options: Compare, source: str) -> "tuple[LabelSpace, list[ImageCounts]]":
    from panoptic_deeplab.counts_file import read_counts

    labels, counts, _ = read_counts(Path(source))
    return labels, counts


def _from_weights(options: Compare, source: str) -> "tuple[LabelSpace, list[ImageCounts]]":
    from panoptic_deeplab.data import build_dataset
    from panoptic_deeplab.evaluate import evaluate
    from panoptic_deeplab.predict import load

    assert options.data is not None
    named = DataConfig(val_split=options.split, format=format_name(options.format))
    config = data_config(named, options.data)
    is_drawn = config.format == "synthetic"
    dataset = build_dataset(config, drawn_split(options.split) if is_drawn else "val")
    kept = Kept()
    with show_progress() as progress:
        evaluate(load(source), dataset, limit=options.limit, progress=progress, keep=kept)
    return dataset.labels, kept.counts


class Kept:
    """Counts in memory, where `evaluate` would keep them in a file."""

    def __init__(self) -> None:
        self.counts: list[ImageCounts] = []

    def read(self) -> "list[ImageCounts]":
        """What was counted before: nothing."""
        return []

    def add(self, counts: "ImageCounts") -> None:
        """Keep one more."""
        self.counts.append(counts)
