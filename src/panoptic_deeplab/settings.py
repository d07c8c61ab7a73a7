"""Settings from files and from the command line, with errors that name the setting.

Comes in: a recipe's name, a YAML or JSON file, or plain dicts. Goes out: a checked `Experiment`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.labels import near_names
from panoptic_deeplab.recipes import recipe

_MOST_ERRORS = 3  # more at once are rarely read


def find_experiment(name_or_path: str) -> Experiment:
    """The experiment of a recipe, or of a file such as a run's `experiment.json`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if there is no such recipe, or the file does not hold valid settings.
    """
    if Path(name_or_path).suffix.lower() not in (".json", ".yaml", ".yml"):
        return recipe(name_or_path)
    path = Path(name_or_path)
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected a file with settings at {path}, there is none. Check the path."
        ) from error
    try:
        plain = yaml.safe_load(content)  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())  # in one line
        raise ValueError(
            f"{path}: expected YAML or JSON, reading it failed: {what}. Correct the file."
        ) from error
    if not isinstance(plain, dict):
        raise ValueError(
            f"{path}: expected settings by name, such as 'schedule:' with 'iterations: 100' below "
            f"it, got {type(plain).__name__}."
        )
    return make_experiment(plain, source=str(path))


def make_experiment(plain: Mapping[str, Any], *, source: str = "") -> Experiment:
    """Check plain dicts and turn them into an `Experiment`; what is left out gets its default.

    Args:
        plain: as `Experiment.model_dump` gives.
        source: file it came from, for the message.

    Raises:
        ValueError: naming each wrong setting, and near names for unknown ones.
    """
    try:
        return Experiment.model_validate(plain)
    except ValidationError as error:
        where = f"{source}: " if source else ""
        raise ValueError(where + explain(error)) from error


def explain(error: ValidationError) -> str:
    """Say in a sentence each what is wrong with settings."""
    problems = [_explain_one(dict(e)) for e in error.errors()]
    more = f" And {len(problems) - _MOST_ERRORS} more." if len(problems) > _MOST_ERRORS else ""
    return " ".join(problems[:_MOST_ERRORS]) + more


def _explain_one(error: Mapping[str, Any]) -> str:
    place = tuple(p for p in error["loc"] if isinstance(p, str))
    name = ".".join(place)
    if error["type"] == "extra_forbidden":
        return f"Unknown setting {name!r}. {near_names(name, _siblings(place))}"
    what = error["msg"].removeprefix("Value error, ").rstrip(".")
    given = error["input"]
    got = "" if isinstance(given, dict) else f", got {given!r}"
    # A check of a whole group speaks for itself; one of a field needs its name.
    return f"{name}: {what[0].lower() + what[1:] if got else what}{got}."


def _siblings(place: tuple[str, ...]) -> list[str]:
    """Full names of the settings on the level of an unknown one."""
    model: type[BaseModel] = Experiment
    for part in place[:-1]:
        inner = model.model_fields[part].annotation
        assert isinstance(inner, type), "groups of settings are models"
        model = inner
    return [".".join((*place[:-1], name)) for name in model.model_fields]
