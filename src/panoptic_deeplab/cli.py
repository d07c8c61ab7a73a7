"""The command `panoptic-deeplab`: train, evaluate, predict, demo, data, models, bench.

Each command is a dataclass of its options and one function. What can be read by programs goes to
stdout, everything else to stderr. A user's mistake ends in one sentence and exit code 2, Ctrl-C
in 130. Heavy modules are imported inside the functions, so that `--help` is quick.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, make_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from panoptic_deeplab.bench import BENCHES
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import as_json, make_folder, write_whole
from panoptic_deeplab.labels import near_names
from panoptic_deeplab.options import SETTINGS, Flag, parse, plain_copy, value_of
from panoptic_deeplab.recipes import RECIPES
from panoptic_deeplab.settings import explain, find_experiment, make_experiment
from panoptic_deeplab.terminal import show, show_progress
from panoptic_deeplab.version import __version__

if TYPE_CHECKING:
    from panoptic_deeplab.evaluate import Report

PROGRAM = "panoptic-deeplab"
FAILED, INTERRUPTED = 2, 130

_FAMILY_WIDTH = 155  # of the widest table, in a file or a pipe


@dataclass(frozen=True)
class Predict:
    """Segment images: panoptic PNGs, one COCO list, and overlays to look at."""

    inputs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE|FOLDER|PATTERN ...")
    ]
    """Image files, folders of images, or patterns such as 'photos/*.jpg'."""
    out: Path
    """Folder for the results; made if missing."""
    weights: str = "default"
    """Name of weights that come with the package, or a file such as runs/mine/model.safetensors."""
    json: Flag = False
    """Print what was found as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Evaluate:
    """Compare predictions with a labelled data set: PQ, AP and mIoU."""

    data: str
    """Folder or tar of a data set in COCO's panoptic format, or 'synthetic' for drawn scenes."""
    split: str = "val"
    """Which part of it."""
    weights: str = "default"
    """Name of weights that come with the package, or a file such as runs/mine/model.safetensors."""
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


@dataclass(frozen=True)
class Demo:
    """Predict street scenes the default weights have never seen: a table and pictures."""

    out: Path = Path("demo")
    """Folder for the pictures; made if missing."""
    images: int = 50
    """Number of scenes."""
    json: Flag = False
    """Print the report as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


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


@dataclass(frozen=True)
class Train:
    """Train a model: choose a recipe and a data set, change any setting by its name.

    Give --recipe together with --help to see that recipe's values.
    """

    out: Path
    """Folder of the run: model, curves, pictures, log."""
    recipe: str
    """Name of a recipe, or a YAML or JSON file with settings, such as a run's experiment.json."""
    data: str | None = None
    """Folder of a data set in COCO's panoptic format, or 'synthetic'; default: the recipe's."""
    resume: Flag = False
    """Go on where the run in this folder stopped."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Models:
    """List the networks of the paper: parameters, multiply-adds, what was published."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """One network, by main parts; without it, all."""
    write: Path | None = None
    """Renew the tables of this Markdown page instead, such as docs/models.md."""
    json: Flag = False
    """Print the list as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; always ends in SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    messages = Console(stderr=True)
    try:
        sys.exit(_run(words))
    except KeyboardInterrupt:
        messages.print("Interrupted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if "--debug" in words:
            traceback.print_exc()
        messages.print("[bold red]error:[/]", end=" ")
        messages.print(_sentence(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(FAILED)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview(COMMANDS))
        return 0 if words else FAILED
    if words[0] == "--version":
        print(f"{PROGRAM} {__version__}")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            options, work = COMMANDS[name]
            default = None
            if options is Train:
                options, default = _with_settings(words[length:])
            program = f"{PROGRAM} {name}"
            return work(parse(options, words[length:], program=program, default=default))
    group = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if group and words[1:2] in (["-h"], ["--help"]):
        print(_overview(group))
        return 0
    if group:
        typed = " ".join(words[:2])
        raise ValueError(
            f"Unknown command {typed!r}. Known are: {', '.join(group)}. See {PROGRAM} --help."
        )
    raise ValueError(
        f"Unknown command {words[0]!r}. {near_names(words[0], list(COMMANDS))} "
        f"See {PROGRAM} --help."
    )


def _predict(options: Predict) -> int:
    from panoptic_deeplab.predict import load
    from panoptic_deeplab.predict_files import find_images, predict_files

    paths = find_images(options.inputs)
    predictor = load(options.weights)
    with show_progress() as progress:
        results = predict_files(predictor, paths, options.out, progress=progress)
    messages = Console(stderr=True)
    for sentence in results.failed.values():
        messages.print("[bold red]not done:[/]", end=" ")
        messages.print(sentence, markup=False, highlight=False, soft_wrap=True)
    if options.json:
        print(as_json(results.to_dict()).decode())
    else:
        where = f", results in {options.out}" if results.done else ""
        print(f"{len(results.done)} of {len(paths)} images done{where}")
    return FAILED if results.failed else 0


def _evaluate(options: Evaluate) -> int:
    from panoptic_deeplab.data import build_dataset
    from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
    from panoptic_deeplab.evaluate import evaluate
    from panoptic_deeplab.predict import load

    config = _data_config(DataConfig(val_split=options.split), options.data)
    dataset = build_dataset(
        config, _drawn(options.split) if config.format == "synthetic" else "val"
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
    _print_report(report, options.json)
    return 0


def _demo(options: Demo) -> int:
    from panoptic_deeplab.demo import run_demo
    from panoptic_deeplab.predict import load

    predictor = load("default")
    with show_progress() as progress:
        report, written = run_demo(predictor, options.out, images=options.images, progress=progress)
    _print_report(report, options.json)
    if not options.json:
        print("written:", *(f"  {path}" for path in written), sep="\n")
    return 0


def _data_synthetic(options: DataSynthetic) -> int:
    from panoptic_deeplab.data import build_dataset
    from panoptic_deeplab.data.coco_writer import write_dataset

    config = DataConfig(size=options.size, train_images=options.images, val_images=options.images)
    dataset = build_dataset(config, _drawn(options.split))
    write_dataset(dataset, make_folder(options.out), options.split)
    print(f"{options.images} scenes in {options.out}, split {options.split!r}")
    return 0


def _train(options: Any) -> int:
    from panoptic_deeplab.train import STATE, train

    experiment = make_experiment(asdict(options.experiment))
    if options.data is not None:
        data = _data_config(experiment.data, options.data)
        experiment = experiment.model_copy(update={"data": data})
    with show_progress(logging.INFO) as progress:
        result = train(experiment, options.out, resume=options.resume, progress=progress)
    print(result)
    return INTERRUPTED if result.name == STATE else 0


def _models(options: Models) -> int:
    from panoptic_deeplab.family import FAMILY
    from panoptic_deeplab.family_docs import renew
    from panoptic_deeplab.family_report import (
        count_entry,
        family_table,
        find_entries,
        notes,
        parts_table,
    )

    if options.write is not None:
        write_whole(options.write, renew(options.write.read_text()).encode())
        print(f"tables in {options.write} renewed")
        return 0
    entries = FAMILY if options.name is None else find_entries(options.name)
    with show_progress() as progress:
        counted = [
            count_entry(entry, with_parts=options.name is not None)
            for entry in progress.track(entries, description="counting")
        ]
    if options.json:
        print(as_json([c.to_dict() for c in counted]).decode())
        return 0
    show([family_table(counted)], file_width=_FAMILY_WIDTH)
    if options.name is not None:
        print(*notes(counted), sep="\n")
        show([parts_table(counted[0])])
    return 0


def _bench(name: str, options: Any) -> int:
    with show_progress() as progress:
        result = BENCHES[name][1](options, progress)
    if options.json:
        print(as_json({"bench": name, **result.plain}).decode())
        return 0
    table = Table(title=result.title, title_justify="left")
    for i, column in enumerate(result.columns):
        table.add_column(column, justify="right" if i else "left")
    for row in result.rows:
        table.add_row(*row)
    show([table])
    return 0


def _with_settings(words: list[str]) -> tuple[type[Any], Any]:
    """The options of `train` with all settings, and as their defaults the values of the recipe."""
    name = value_of("--recipe", words)
    if name is None and "--help" not in words:
        raise ValueError(f"train needs --recipe. {near_names('', list(RECIPES))}")
    settings = plain_copy(find_experiment(name or next(iter(RECIPES))))
    group: Any = Annotated[type(settings), tyro.conf.arg(name="")]
    kind = make_dataclass("Train", [(SETTINGS, group)], bases=(Train,), frozen=True, kw_only=True)
    kind.__doc__ = Train.__doc__
    missing: Any = tyro.MISSING
    return kind, kind(out=missing, recipe=name or missing, **{SETTINGS: settings})


def _data_config(config: DataConfig, source: str) -> DataConfig:
    """Where `--data` points: drawn scenes, or a folder or tar in COCO's panoptic format."""
    if source == "synthetic":
        return config.model_copy(update={"format": "synthetic", "root": ""})
    format_ = "coco_panoptic" if config.format == "synthetic" else config.format
    return config.model_copy(update={"format": format_, "root": source})


def _drawn(split: str) -> Literal["train", "val"]:
    if split not in ("train", "val"):
        raise ValueError(
            f"Drawn scenes have the splits 'train' and 'val', got {split!r}. Choose one."
        )
    return "train" if split == "train" else "val"


def _kinds(dataset: Any, field: str) -> dict[str, str]:
    if not hasattr(dataset, "image_field"):
        raise ValueError("--by needs a data set from files; drawn scenes are all of one kind.")
    kinds: dict[str, str] = dataset.image_field(field)
    return kinds


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return explain(error)
    if isinstance(error, OSError) and error.strerror and error.filename:  # from the system
        return f"{error.filename}: {error.strerror}."
    return str(error) or type(error).__name__


def _print_report(report: "Report", in_json: bool) -> None:
    from panoptic_deeplab.evaluate import tables

    if in_json:
        print(as_json(report.to_dict()).decode())
        return
    show(tables(report))
    seconds = report.seconds / max(report.num_images, 1)
    print(f"{report.num_images} images, {seconds:.3f} seconds per image")


def _overview(names: Iterable[str]) -> str:
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", "", "commands:"]
    for name in names:
        lines.append(f"  {name:16}{(COMMANDS[name][0].__doc__ or '').splitlines()[0]}")
    lines += ["", f"{PROGRAM} COMMAND --help has the options of each; --version the version."]
    return "\n".join(lines)


COMMANDS: dict[str, tuple[Any, Callable[[Any], int]]] = {
    "demo": (Demo, _demo),
    "predict": (Predict, _predict),
    "evaluate": (Evaluate, _evaluate),
    "train": (Train, _train),
    "data synthetic": (DataSynthetic, _data_synthetic),
    "models": (Models, _models),
    **{f"bench {name}": (options, partial(_bench, name)) for name, (options, _) in BENCHES.items()},
}
