"""`evaluate`: predictions against a labelled data set."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_deeplab.commands.sources import data_config, drawn_split, format_name
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import as_json, make_folder, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show, show_progress

if TYPE_CHECKING:
    from panoptic_deeplab.evaluate import Report


@dataclass(frozen=True)
class Evaluate:
    """Compare predictions with a labelled data set: PQ, AP and mIoU."""

    data: str
    """Folder of a data set, whose format is recognised, or 'synthetic' for drawn scenes."""
    split: str = "val"
    """Which part of it."""
    format: str = "auto"
    """What the folder is, if it could be several things: a name of docs/datasets.md."""
    weights: str = "default"
    """A name (see weights list), a file such as runs/mine/model.safetensors, a web address, or
    hf://ORG/REPO."""
    limit: int = 0
    """Use at most this many images, spread evenly over the split; 0: all."""
    by: str | None = None
    """Report each kind of image on its own; the kind stands in this field of the list's images."""
    save: Path | None = None
    """Folder for the report and the predictions in COCO's panoptic format."""
    json: Flag = False
    """Print the report as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def run_evaluate(options: Evaluate) -> int:
    """Evaluate; print the report, and save it with the predictions where asked."""
    from panoptic_deeplab.data import build_dataset
    from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
    from panoptic_deeplab.evaluate import evaluate
    from panoptic_deeplab.predict import load

    named = DataConfig(val_split=options.split, format=format_name(options.format))
    config = data_config(named, options.data)
    dataset = build_dataset(
        config, drawn_split(options.split) if config.format == "synthetic" else "val"
    )
    kinds = _kinds(dataset, options.by) if options.by else None
    predictor = load(options.weights)
    with ExitStack() as stack:
        progress = stack.enter_context(show_progress())
        keep = None
        if options.save is not None:
            writer = CocoPanopticWriter(
                make_folder(options.save), dataset.labels, name="predictions"
            )
            stack.enter_context(writer)
            keep = lambda sample, found: writer.add(sample.image_id, found.panoptic)  # noqa: E731
        report = evaluate(
            predictor,
            dataset,
            limit=options.limit,
            progress=progress,
            kinds=kinds,
            on_prediction=keep,
        )
    if options.save is not None:
        write_whole(options.save / "report.json", as_json(report.to_dict()))
    print_report(report, options.json)
    return 0


def print_report(report: "Report", in_json: bool) -> None:
    """As tables, or as JSON and nothing else."""
    from panoptic_deeplab.evaluate import tables

    if in_json:
        print(as_json(report.to_dict()).decode())
        return
    show(tables(report))
    seconds = report.seconds / max(report.num_images, 1)
    print(f"{report.num_images} images, {seconds:.3f} seconds per image")


def _kinds(dataset: Any, field: str) -> dict[str, str]:
    if not hasattr(dataset, "image_field"):
        raise ValueError("--by needs a data set from files; drawn scenes are all of one kind.")
    kinds: dict[str, str] = dataset.image_field(field)
    return kinds
