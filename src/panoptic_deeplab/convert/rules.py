"""Renaming: a publisher's name of a weight -> ours, by an ordered list of rules.

Each rule is a regular expression and what takes the place of what it finds; rules are applied one
after the other, each to what the one before has made. Names that end up alike are an error, names
that no rule concerns stay as they are and are found when the weights are loaded.
"""

import re
from collections.abc import Callable, Iterable, Sequence

Replacement = str | Callable[[re.Match[str]], str]

Rule = tuple[str, Replacement]
"""Regular expression, and its replacement as `re.sub` takes it."""


def numbered(form: str, less: int = 1) -> Replacement:
    r"""A replacement whose first group is a number that counts from 0 here.

    Args:
        form: with `{}` where the number goes; further groups as \2, \3.
        less: what is taken from it.

    Example:
        >>> re.sub(r"layer(\d)\.(\d+)", numbered(r"stages.{}.\2"), "layer3.5.conv1")
        'stages.2.5.conv1'
    """

    def replace(match: re.Match[str]) -> str:
        return match.expand(form.replace("{}", str(int(match[1]) - less)))

    return replace


def below(prefix: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The same rules for names that begin with a prefix, which stays.

    Rules that begin with `^` begin behind the prefix; all leave other names alone.
    """
    return tuple(
        (rf"(?<=^{re.escape(prefix)}){pattern[1:]}", replacement)
        if pattern.startswith("^")
        else (pattern, replacement)
        for pattern, replacement in rules
    )


def rename(names: Iterable[str], rules: Sequence[Rule]) -> dict[str, str]:
    r"""Apply all rules to all names.

    Returns:
        The publisher's name -> ours, in the order given.

    Raises:
        ValueError: if two names become the same.

    Example:
        >>> rename(["layer1.0.bn1.bias"], [(r"layer1", "first"), (r"bn(\d)", r"norm\1")])
        {'layer1.0.bn1.bias': 'first.0.norm1.bias'}
    """
    renamed: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in taken:
            raise ValueError(
                f"Both {taken[new]!r} and {name!r} are the weight {new!r} here. Such a file is of "
                "no origin known; was it put together from several?"
            )
        taken[new] = name
        renamed[name] = new
    return renamed
