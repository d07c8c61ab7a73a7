"""Where weights come from: what a training run tells about itself, stored with its weights.

A plain dictionary that JSON can hold. These keys mean the same in every file, any may be missing,
and others may stand beside them:

    package, torch      versions, such as "0.1.0"
    date                of writing, ISO 8601, UTC
    commit              of the source, where the package runs from a git checkout; "-dirty" behind
                        it if files were changed
    recipe, command     what was run
    data                format, folder, splits and numbers of images trained and validated on
    seed, steps         of the run
    start_from          weights the run started from
    averaged, shares    weights that these are the mean of
    metrics             what validation found: see `Report.to_dict`
    licence, credit     of the weights and their data, where they have owners
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.version import __version__


def of_run(
    experiment: Experiment, *, steps: int, images: tuple[int, int], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """What a training run tells about itself.

    Args:
        experiment: its settings.
        steps: taken so far.
        images: how many it trains and validates on.
        metrics: the validation's report.
    """
    data = experiment.data
    told: dict[str, Any] = {
        "package": __version__,
        "torch": str(torch.__version__),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(Path(__file__)),
        "recipe": experiment.name,
        "command": command_line(sys.argv),
        "data": {
            "format": data.format,
            "root": data.root,
            "train_split": data.train_split,
            "val_split": data.val_split,
            "train_images": images[0],
            "val_images": images[1],
        },
        "seed": experiment.run.seed,
        "steps": steps,
        "start_from": experiment.run.start_from,
        "metrics": dict(metrics),
    }
    return {key: value for key, value in told.items() if value not in ("", None)}


def command_line(words: list[str]) -> str:
    """What was typed, as it can be typed again; the program without its folder."""
    if not words:
        return ""
    program = Path(words[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *words[1:]])


def source_commit(file: Path) -> str | None:
    """The commit of the source tree a file of this package lies in.

    Args:
        file: `__file__` of a module directly in the package.

    Returns:
        None where the package is installed, or git cannot be asked.
    """
    root = file.resolve().parents[2]
    # Else some other project's repository around an environment would be asked.
    if file.resolve().parents[1].name != "src" or not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            [
                "git",
                "-C",
                str(root),
                "describe",
                "--always",
                "--abbrev=40",
                "--dirty",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def from_version_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of files of format version 1, in today's keys; unknown keys stay."""
    new = dict(old)
    for before, now in (("step", "steps"), ("validation", "metrics")):
        if before in new and now not in new:
            new[now] = new.pop(before)
    words = str(new.get("trained_with", "")).split(", ")
    if len(words) == 2 and "package" not in new:
        del new["trained_with"]
        new["package"] = words[0].removeprefix("panoptic-deeplab ")
        new["torch"] = words[1].removeprefix("torch ")
    return new
