"""From the words of a command line to typed options, by tyro, with short answers to slips.

Comes in: a dataclass of options and the words after the command. Goes out: an instance of it.
Settings (pydantic models) are offered as plain copies, so that tyro only reads words and the
models' own checks speak afterwards, in their own sentences.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, make_dataclass
from typing import Annotated, Any, get_type_hints

import tyro
from pydantic import BaseModel

from panoptic_deeplab.labels import near_names

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option without a value; there is no --no-NAME."""

SETTINGS = "experiment"
"""Field of a command's options whose groups stand beside the options, without this prefix."""


def parse(options: type[Any], words: Sequence[str], *, program: str, default: Any = None) -> Any:
    """Read the options of one command; `--help` and wrong values end the program (0 and 2).

    Args:
        options: a dataclass.
        words: what stands after the command.
        program: the command as typed, for messages.
        default: instance of `options`; fields that are `tyro.MISSING` are required.

    Raises:
        ValueError: if an option is unknown; the message has near ones.
    """
    known = option_names(options)
    for word in words:
        option = word.split("=")[0]
        if option.startswith("--") and option.replace("_", "-") not in known:
            raise ValueError(
                f"Unknown option {option}. {_near_options(option, known)} See {program} --help."
            )
    return tyro.cli(options, args=list(words), prog=program, default=default)


def option_names(options: type[Any], prefix: str = "--") -> set[str]:
    """All options of a command as they can be typed, `--help` included."""
    names = {"--help"}
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        inner = getattr(hint, "__origin__", hint)
        name = field.name.replace("_", "-")
        if is_dataclass(inner) and isinstance(inner, type):
            below = prefix if field.name == SETTINGS else f"{prefix}{name}."
            names |= option_names(inner, below)
        elif tyro.conf.Positional not in getattr(hint, "__metadata__", ()):
            group, _, last = f"{prefix}{name}".rpartition(".")
            no = f"{group}.no-{last}" if group else f"--no-{last.removeprefix('--')}"
            names |= {f"{prefix}{name}", no} if inner is bool else {f"{prefix}{name}"}
    return names


def plain_copy(settings: BaseModel) -> Any:
    """The same values in dataclasses of the same names and fields, which check nothing."""
    kinds: dict[str, Any] = {}
    values: dict[str, Any] = {}
    hints = get_type_hints(type(settings))
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        values[name] = plain_copy(value) if isinstance(value, BaseModel) else value
        kinds[name] = type(values[name]) if isinstance(value, BaseModel) else hints[name]
    kind = make_dataclass(type(settings).__name__, kinds.items(), frozen=True)
    kind.__doc__ = type(settings).__doc__  # tyro takes the help of each field from it
    return kind(**values)


def value_of(option: str, words: Sequence[str]) -> str | None:
    """The value of one option, before the others are known; None if it is not there."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else next(iter(words[i + 1 :]), None)
    return None


def _near_options(option: str, known: set[str]) -> str:
    """Near options; --iterations is near --schedule.iterations, its last part is the same."""
    same_end = sorted(n for n in known if n.rpartition(".")[2] == option.removeprefix("--"))
    if same_end:
        return f"Did you mean {' or '.join(same_end)}?"
    return near_names(option, sorted(n for n in known if "no-" not in n))
