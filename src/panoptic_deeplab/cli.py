"""The command `panoptic-deeplab`: finds the command that was typed and runs it.

Commands live in `commands/`. A user's mistake ends in one sentence and exit code 2, Ctrl-C in 130.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from panoptic_deeplab.bench import BENCHES
from panoptic_deeplab.commands.bench import bench
from panoptic_deeplab.commands.compare import Compare, compare
from panoptic_deeplab.commands.convert import Convert, convert_weights
from panoptic_deeplab.commands.data import DataSynthetic, synthetic
from panoptic_deeplab.commands.data_check import DataCheck, check_data
from panoptic_deeplab.commands.data_compare import DataCompare, compare_data
from panoptic_deeplab.commands.data_convert import DataConvert, convert_data
from panoptic_deeplab.commands.data_submit import DataSubmit, submit_data
from panoptic_deeplab.commands.demo import Demo, demo
from panoptic_deeplab.commands.evaluate import Evaluate, run_evaluate
from panoptic_deeplab.commands.figure import FigureOptions, figure
from panoptic_deeplab.commands.models import Models, models
from panoptic_deeplab.commands.predict import Predict, predict
from panoptic_deeplab.commands.recipe import (
    RecipeExport,
    RecipeList,
    RecipeShow,
    export_recipe,
    list_recipes,
    show_recipe,
)
from panoptic_deeplab.commands.report import ReportOptions, report
from panoptic_deeplab.commands.train import Train, run_train, with_settings
from panoptic_deeplab.commands.video import Video, video
from panoptic_deeplab.commands.weights import (
    WeightsAverage,
    WeightsGet,
    WeightsList,
    WeightsShare,
    WeightsShow,
    average_into_file,
    get_weights,
    list_weights,
    share_weights,
    show_weights,
)
from panoptic_deeplab.files import NO_SPACE
from panoptic_deeplab.labels import near_names
from panoptic_deeplab.options import parse
from panoptic_deeplab.settings import explain
from panoptic_deeplab.terminal import FAILED, INTERRUPTED
from panoptic_deeplab.version import __version__

PROGRAM = "panoptic-deeplab"


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
                options, default = with_settings(words[length:])
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


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return explain(error)
    if isinstance(error, OSError) and error.strerror and error.filename:  # from the system
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, OSError) and error.errno in NO_SPACE:  # of a file that was open already
        return f"{error.strerror}. Free some space, or choose another place, and go on from there."
    return str(error) or type(error).__name__


def _overview(names: Iterable[str]) -> str:
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", "", "commands:"]
    for name in names:
        lines.append(f"  {name:16}{(COMMANDS[name][0].__doc__ or '').splitlines()[0]}")
    lines += ["", f"{PROGRAM} COMMAND --help has the options of each; --version the version."]
    return "\n".join(lines)


COMMANDS: dict[str, tuple[Any, Callable[[Any], int]]] = {
    "demo": (Demo, demo),
    "predict": (Predict, predict),
    "video": (Video, video),
    "evaluate": (Evaluate, run_evaluate),
    "compare": (Compare, compare),
    "figure": (FigureOptions, figure),
    "train": (Train, run_train),
    "report": (ReportOptions, report),
    "recipe list": (RecipeList, list_recipes),
    "recipe show": (RecipeShow, show_recipe),
    "recipe export": (RecipeExport, export_recipe),
    "data synthetic": (DataSynthetic, synthetic),
    "data check": (DataCheck, check_data),
    "data convert": (DataConvert, convert_data),
    "data compare": (DataCompare, compare_data),
    "data submit": (DataSubmit, submit_data),
    "models": (Models, models),
    "convert": (Convert, convert_weights),
    "weights list": (WeightsList, list_weights),
    "weights get": (WeightsGet, get_weights),
    "weights show": (WeightsShow, show_weights),
    "weights share": (WeightsShare, share_weights),
    "weights average": (WeightsAverage, average_into_file),
    **{f"bench {name}": (options, partial(bench, name)) for name, (options, _) in BENCHES.items()},
}
"""What is typed to the options and the function, in the order of the overview."""
