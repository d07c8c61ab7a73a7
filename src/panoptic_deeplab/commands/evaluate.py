"""`evaluate`: predictions against a labelled data set."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from panoptic_deeplab.commands.networks import Networks, load_predictor
from panoptic_deeplab.commands.sources import data_config, drawn_split, format_name
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import as_json, check_place, make_folder, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show, show_progress

if TYPE_CHECKING:
    from panoptic_deeplab.assessment import Report, Wanted
    from panoptic_deeplab.counts_file import CountsFile
    from panoptic_deeplab.data.base import PanopticDataset
    from panoptic_deeplab.evaluation_page import Source
    from panoptic_deeplab.predict import Predictor
    from panoptic_deeplab.processes import Processes


@dataclass(frozen=True)
class Evaluate(Networks):
    """Compare predictions with a labelled data set: PQ, AP, mIoU, and what went wrong."""

    data: str
    """Folder of a data set, whose format is recognised, or 'synthetic' for drawn scenes."""
    split: str = "val"
    """Which part of it."""
    format: str = "auto"
    """What the folder is, if it could be several things: a name of docs/datasets.md."""
    predictions: Path | None = None
    """Compare these instead of running a network: a list in COCO's panoptic form, its PNGs in the
    folder of the same name beside it, or the folder of both."""
    workers: int = 0
    """Processes that decode and count saved predictions; 0: one per core, where that pays."""
    limit: int = 0
    """Use at most this many images, spread evenly over the split; 0: all."""
    by: str | None = None
    """Report each kind of image on its own; the kind stands in this field of the list's images."""
    ap: Literal["auto", "coco", "cityscapes"] = "auto"
    """Whose definition of AP; auto: Cityscapes' own on its data, else COCO's."""
    scores: Literal["own", "all"] = "own"
    """all: AP with instances rated by objectness, by class and by their product."""
    boundary: Flag = False
    """Measure the quality of boundaries too (boundary PQ)."""
    oracle: tuple[Literal["semantic", "center", "offset"], ...] = ()
    """Put the truth in the place of these heads, to see what better ones would bring."""
    save: Path | None = None
    """Folder for the report, the counts of each image (for --resume and compare), and the
    predictions in COCO's panoptic format, unless several processes (torchrun) make them."""
    resume: Flag = False
    """Go on with what is in --save already; the predictions of a network are not saved then."""
    html: Path | None = None
    """Write a page with tables, errors and the worst and best images."""
    json: Flag = False
    """Print the report as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def run_evaluate(options: Evaluate) -> int:
    """Evaluate; print the report, and save it with the predictions where asked."""
    _check(options)
    if options.predictions:  # one command's own processes, and no torch, whose import takes seconds
        from panoptic_deeplab.processes import ALONE

        return _run(options, ALONE)
    from panoptic_deeplab.distributed import joined

    with joined() as processes:
        return _run(options, processes)


def _run(options: Evaluate, processes: "Processes") -> int:
    from panoptic_deeplab.data import build_dataset

    named = DataConfig(val_split=options.split, format=format_name(options.format))
    config = data_config(named, options.data)
    dataset = build_dataset(
        config, drawn_split(options.split) if config.format == "synthetic" else "val"
    )
    task = _Task(
        dataset,
        _kinds(dataset, options.by) if options.by else None,
        _wanted(options, config.format),
        processes,
    )
    report, source = (
        _from_files(options, task) if options.predictions else _from_network(options, task)
    )
    if not processes.is_first:
        return 0
    if options.save is not None:
        write_whole(options.save / "report.json", as_json(report.to_dict()))
    if options.html is not None:
        from panoptic_deeplab.evaluation_page import evaluation_page

        source_name = Path(options.predictions or options.weights).name
        title = f"{source_name} on {Path(options.data).name}, {options.split}"
        with show_progress() as progress:
            page = evaluation_page(report, dataset, source, title=title, progress=progress)
        write_whole(options.html, page)
    print_report(report, options.json)
    if options.html is not None and not options.json:
        print(f"page in {options.html}")
    return 0


@dataclass(frozen=True)
class _Task:
    """What is evaluated, whatever predicts it."""

    dataset: "PanopticDataset"
    kinds: dict[str, str] | None
    wanted: "Wanted"
    processes: "Processes"


def _from_files(options: Evaluate, task: _Task) -> tuple["Report", "Source"]:
    """From saved predictions; gives also what shows them again."""
    from panoptic_deeplab.data.predictions import Predictions
    from panoptic_deeplab.evaluate import evaluate_saved

    assert options.predictions is not None
    predictions = Predictions(options.predictions, task.dataset.labels)
    about = {"predictions": str(options.predictions), "digest": predictions.digest}
    with ExitStack() as stack:
        keep = _counts_file(options, task, about, stack)
        progress = stack.enter_context(show_progress())
        report = evaluate_saved(
            predictions,
            task.dataset,
            workers=options.workers,
            limit=options.limit,
            progress=progress,
            kinds=task.kinds,
            wanted=task.wanted,
            keep=keep,
        )
    return report, lambda sample: predictions[sample.image_id]


def _from_network(options: Evaluate, task: _Task) -> tuple["Report", "Source"]:
    """From weights; gives also what predicts an image again."""
    from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
    from panoptic_deeplab.evaluate import evaluate
    from panoptic_deeplab.oracle import Oracle

    predictor = load_predictor(options)
    if task.wanted.with_all_scores:
        predictor.grouping = predictor.grouping.model_copy(update={"score": "product"})
    oracle = Oracle(predictor, options.oracle) if options.oracle else None
    about = {"predictions": options.weights, "digest": _digest(predictor)}
    with ExitStack() as stack:
        progress = stack.enter_context(show_progress())
        on_prediction = None
        if options.save is not None and not options.resume and task.processes.world == 1:
            writer = CocoPanopticWriter(
                make_folder(options.save), predictor.labels, name="predictions"
            )
            stack.enter_context(writer)
            on_prediction = lambda sample, found: writer.add(sample.image_id, found.panoptic)  # noqa: E731
        report = evaluate(
            oracle or predictor,
            task.dataset,
            limit=options.limit,
            progress=progress if task.processes.is_first else None,
            kinds=task.kinds,
            on_prediction=on_prediction,
            wanted=task.wanted,
            keep=_counts_file(options, task, about, stack) if task.processes.is_first else None,
            processes=task.processes,
        )
    if oracle is not None:
        return report, lambda sample: oracle.find(sample).panoptic
    return report, lambda sample: predictor.predict(sample.image).panoptic


def _digest(predictor: "Predictor") -> str:
    """What tells a model from another in the same place: of its weights and settings."""
    import torch

    whole = hashlib.sha256(predictor.settings().encode())
    for name, values in predictor.state_dict().items():
        whole.update(name.encode())
        whole.update(values.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{whole.hexdigest()}"


def _counts_file(
    options: Evaluate, task: _Task, source: dict[str, str], stack: ExitStack
) -> "CountsFile | None":
    from panoptic_deeplab.counts_file import CountsFile

    if options.save is None:
        return None
    about = {
        "data": options.data,
        "split": options.split,
        **source,
        "oracle": list(options.oracle),
        "band_share": task.wanted.band_share,
    }
    folder = make_folder(options.save)
    kept = CountsFile(folder, task.dataset.labels, about, resume=options.resume)
    return stack.enter_context(kept)


def _check(options: Evaluate) -> None:
    from panoptic_deeplab.processes import from_environment

    if options.resume and options.save is None:
        raise ValueError("--resume goes on with what --save has kept; name that folder too.")
    if options.html is not None:
        check_place(options.html)
    if options.oracle and options.predictions:
        raise ValueError(
            "--oracle replaces heads of a network, --predictions has none. Use --weights."
        )
    if options.predictions and from_environment().world > 1:
        raise ValueError(
            "Saved predictions are read by --workers processes of one command, torchrun is for "
            "networks. Start it without."
        )


def _wanted(options: Evaluate, data_format: str) -> "Wanted":
    from panoptic_deeplab.assessment import Wanted
    from panoptic_deeplab.metrics.bands import BAND_SHARES

    own: Literal["coco", "cityscapes"] = (
        "cityscapes" if data_format.startswith("cityscapes") else "coco"
    )
    definition = own if options.ap == "auto" else options.ap
    return Wanted(
        definition, BAND_SHARES[own] if options.boundary else None, options.scores == "all"
    )


def print_report(report: "Report", in_json: bool) -> None:
    """As tables, or as JSON and nothing else."""
    from panoptic_deeplab.assessment_tables import tables

    if in_json:
        print(as_json(report.to_dict()).decode())
        return
    show(tables(report))
    if report.seconds:  # none for saved predictions
        seconds = report.seconds / max(report.num_images, 1)
        print(f"{report.num_images} images, {seconds:.3f} seconds per image")


def _kinds(dataset: Any, field: str) -> dict[str, str]:
    if not hasattr(dataset, "image_field"):
        raise ValueError("--by needs a data set from files; drawn scenes are all of one kind.")
    kinds: dict[str, str] = dataset.image_field(field)
    return kinds
