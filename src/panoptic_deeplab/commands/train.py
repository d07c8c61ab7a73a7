"""`train`: a recipe, a data set, and any setting by its name."""

import logging
import os
import sys
from dataclasses import asdict, dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from panoptic_deeplab.commands.sources import data_config
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.files import as_json
from panoptic_deeplab.labels import near_names
from panoptic_deeplab.options import SETTINGS, Flag, plain_copy, value_of
from panoptic_deeplab.recipes import RECIPES
from panoptic_deeplab.scaling import scale_schedule
from panoptic_deeplab.settings import find_experiment, make_experiment
from panoptic_deeplab.terminal import INTERRUPTED, show, show_progress

_OF_A_BACKBONE = (
    "backbone",
    "backbone_options",
    "backbone_norm_epsilon",
    "pixel_mean",
    "pixel_std",
)


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
    """Folder of a data set, whose format is recognised, or 'synthetic'; default: the recipe's."""
    finetune: str | None = None
    """Start from these weights, with the network they are for; all else is the recipe's."""
    batch: int | None = None
    """Images per step, over all processes; learning rate and steps follow by linear scaling."""
    accumulate: int | None = None
    """Compute each batch in so many parts, which need less memory: schedule.accumulate."""
    gpus: int = 1
    """Start so many processes on this machine, one per GPU, or per core where there is none."""
    dry_run: Flag = False
    """Build everything, take three steps, say what the run needs, and draw the first batch."""
    json: Flag = False
    """With --dry-run: print what it found as JSON on stdout, nothing else there."""
    resume: Flag = False
    """Go on where the run in this folder stopped."""
    debug: Flag = False
    """Show the traceback of an error."""


def run_train(options: Any) -> int:
    """Train; exit code 130 if the run was interrupted and saved."""
    from panoptic_deeplab.processes import from_environment
    from panoptic_deeplab.train import train
    from panoptic_deeplab.training import STATE

    if options.gpus > 1 and "WORLD_SIZE" not in os.environ:
        start_together(options.gpus)

    experiment = make_experiment(asdict(options.experiment))
    if options.data is not None:
        data = data_config(experiment.data, options.data)
        experiment = experiment.model_copy(update={"data": data})
    if options.dry_run:
        return _tell_plan(experiment, options)
    is_first = from_environment().is_first  # of the processes that torchrun has started
    with show_progress(logging.INFO if is_first else logging.WARNING) as progress:
        result = train(experiment, options.out, resume=options.resume, progress=progress)
    if is_first:
        print(result)
    return INTERRUPTED if result.name == STATE else 0


def _tell_plan(experiment: Experiment, options: Any) -> int:
    """Try the run out and print what it needs."""
    from panoptic_deeplab.dry_run import try_out

    plan = try_out(experiment, options.out).to_dict()
    if options.json:
        print(as_json(plan).decode())
        return 0
    table = Table(title="what this run needs", title_justify="left", show_header=False)
    for key, value in plan.items():
        table.add_row(key.replace("_", " "), str(value))
    show([table])
    return 0


def start_together(count: int) -> None:
    """Become `torchrun` with this command in so many processes."""
    words = sys.argv[1:]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "panoptic_deeplab", *words])


def whole_number(option: str, text: str) -> int:
    """The value of an option that counts something.

    Raises:
        ValueError: if it is no whole number above 0.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{option} takes a whole number above 0, got {text!r}.")
    return int(text)


def starting_from(experiment: Experiment, weights: str) -> Experiment:
    """The same experiment with the network of trained weights, and those as its start.

    Of a backbone alone come the backbone and the pixels it was trained on.
    """
    from panoptic_deeplab.checkpoint import Checkpoint
    from panoptic_deeplab.find_weights import find_weights

    found = find_weights(weights)
    if isinstance(found, Checkpoint):
        model = found.experiment.model
    else:
        taken = {name: getattr(found.config, name) for name in _OF_A_BACKBONE}
        model = experiment.model.model_copy(update=taken)
    run = experiment.run.model_copy(update={"start_from": weights})
    return experiment.model_copy(update={"model": model, "run": run})


def with_settings(words: list[str]) -> tuple[type[Any], Any]:
    """The options of `train` with all settings, and as their defaults the values of the recipe."""
    name = value_of("--recipe", words)
    if name is None and "--help" not in words:
        raise ValueError(f"train needs --recipe. {near_names('', list(RECIPES))}")
    experiment = find_experiment(name or next(iter(RECIPES)))
    weights = value_of("--finetune", words)
    if weights is not None:
        experiment = starting_from(experiment, weights)
    batch, parts = value_of("--batch", words), value_of("--accumulate", words)
    schedule = experiment.schedule
    if batch is not None:
        schedule = scale_schedule(schedule, whole_number("--batch", batch))
    if parts is not None:
        parts_of = {"accumulate": whole_number("--accumulate", parts)}
        schedule = schedule.model_copy(update=parts_of)
    settings = plain_copy(experiment.model_copy(update={"schedule": schedule}))
    group: Any = Annotated[type(settings), tyro.conf.arg(name="")]
    kind = make_dataclass("Train", [(SETTINGS, group)], bases=(Train,), frozen=True, kw_only=True)
    kind.__doc__ = Train.__doc__
    missing: Any = tyro.MISSING
    return kind, kind(out=missing, recipe=name or missing, **{SETTINGS: settings})
