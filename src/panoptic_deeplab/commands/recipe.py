"""`recipe`: the named experiments, what is known about them, and their settings as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml  # type: ignore[import-untyped]
from rich.table import Table

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.files import as_json, check_place, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.recipes import RECIPES, Recipe, find_recipe
from panoptic_deeplab.terminal import show


@dataclass(frozen=True)
class RecipeList:
    """List the recipes with their published results."""

    json: Flag = False
    """Print the list as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class RecipeShow:
    """Show a recipe: command, hardware, expected results, settings that are not the defaults."""

    name: Annotated[str, tyro.conf.Positional]
    """See recipe list."""
    json: Flag = False
    """Print it as JSON on stdout, with all settings."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class RecipeExport:
    """Write a recipe's settings as YAML, for train --recipe FILE."""

    name: Annotated[str, tyro.conf.Positional]
    """See recipe list."""
    out: Annotated[Path, tyro.conf.Positional]
    """File to write, such as my.yaml."""
    debug: Flag = False
    """Show the traceback of an error."""


def list_recipes(options: RecipeList) -> int:
    """Print the table."""
    if options.json:
        print(as_json([_told(name, made) for name, made in RECIPES.items()]).decode())
        return 0
    table = Table("recipe", "crop", "batch", "steps", "PQ", "AP", "mIoU", "source of the results")
    for name, made in RECIPES.items():
        experiment, found = made.experiment(), made.expected
        figures = ("" if v is None else f"{v:.1f}" for v in (found.pq, found.ap, found.miou))
        table.add_row(
            name,
            "x".join(map(str, experiment.augment.crop_size)),
            str(experiment.schedule.batch_size),
            f"{experiment.schedule.iterations:,}",
            *figures,
            found.reference,
        )
    show([table], file_width=140)
    return 0


def show_recipe(options: RecipeShow) -> int:
    """Print one recipe."""
    made = find_recipe(options.name)
    told = _told(options.name, made)
    if options.json:
        settings = made.experiment().model_dump(mode="json")
        print(as_json(told | {"settings": settings}).decode())
        return 0
    table = Table(title=options.name, title_justify="left", show_header=False)
    for key, value in told.items():
        table.add_row(key, str(value))
    changed = Table("setting", "value", title="not the defaults", title_justify="left")
    for name, value in differences(made.experiment()).items():
        changed.add_row(name, str(value))
    show([table, changed])
    return 0


def export_recipe(options: RecipeExport) -> int:
    """Write one recipe's settings."""
    check_place(options.out)
    if options.out.suffix.lower() not in (".yaml", ".yml"):
        raise ValueError(f"A recipe is written as YAML, got {options.out}. End it in .yaml.")
    settings = find_recipe(options.name).experiment().model_dump(mode="json")
    write_whole(options.out, yaml.safe_dump(settings, sort_keys=False).encode())
    print(options.out)
    return 0


def differences(experiment: Experiment) -> dict[str, Any]:
    """The settings of an experiment that are not the defaults, by their full names."""
    own, plain = experiment.model_dump(), Experiment().model_dump()
    return {
        f"{group}.{name}": value
        for group, values in own.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != plain[group][name]
    }


def _told(name: str, made: Recipe) -> dict[str, Any]:
    found = made.expected
    figures = {"PQ": found.pq, "AP": found.ap, "mIoU": found.miou}
    words = [f"{key} {value:.1f}" for key, value in figures.items() if value is not None]
    data = "" if made.experiment().data.format == "synthetic" else " --data DATA"
    return {
        "name": name,
        "about": made.about,
        "command": f"panoptic-deeplab train --recipe {name}{data} --out runs/{name}",
        "hardware": made.hardware,
        "expected": f"{', '.join(words)} ({found.reference})" if words else "nothing published",
        "sources": made.sources,
    }
