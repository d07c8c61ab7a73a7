"""The page of a training run: how it went, what was learnt, and what gives cause for concern.

In: the folder of a run, finished or not; see `train.py`. Out: one HTML file with curves, validation
tables, the pictures' history, settings and warnings.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.curves import figure_of_run, read_log
from panoptic_deeplab.page import (
    Block,
    Cell,
    Column,
    Pictures,
    Section,
    SortableTable,
    Text,
    render_page,
)

WAITING_SHARE = 0.05
"""Of the time, from which waiting for data is a bottleneck worth a word; our choice."""

MOST_STEPS_SHOWN = 6  # of the history of a picture

_PICTURE = re.compile(r"step_(\d+)_image_(\d+)\.jpg")

_MEASURES = (
    ("PQ", ("panoptic", "all", "pq")),
    ("PQ things", ("panoptic", "things", "pq")),
    ("PQ stuff", ("panoptic", "stuff", "pq")),
    ("AP", ("instance", "ap")),
    ("mIoU", ("semantic", "mean")),
)


def run_page(folder: str | Path) -> bytes:
    """Make the page.

    Args:
        folder: of the run.

    Returns:
        A UTF-8 HTML file.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if the run has not written a line of its log yet.
    """
    folder = Path(folder)
    settings = folder / "experiment.json"
    if not settings.is_file() or not (folder / "log.jsonl").is_file():
        raise FileNotFoundError(
            f"Expected the folder of a run, with experiment.json and log.jsonl, got {folder}."
        )
    lines = read_log(folder / "log.jsonl")
    steps = [line for line in lines if line["kind"] == "train"]
    if not steps:
        raise ValueError(f"The run in {folder} has not logged a step yet. Wait for its first.")
    validations = [line for line in lines if line["kind"] == "validation"]
    experiment = Experiment.model_validate_json(settings.read_text())
    done, wanted = steps[-1]["step"], experiment.schedule.iterations
    sections = [
        Section("Concerns", tuple(Text(words) for words in concerns(steps, validations))),
        Section("Curves", (Pictures({"curves": _curves(lines)}),)),
        Section("Validation", _validation(validations)),
        Section("Classes", _classes(validations)),
        Section("What it saw", _history(folder / "pictures")),
        Section("Settings", (_settings(experiment),)),
    ]
    told = [section for section in sections if section.blocks]
    return render_page(folder.name, told, subtitle=f"{experiment.name}, {done} of {wanted} steps")


def concerns(steps: Sequence[dict[str, Any]], validations: Sequence[dict[str, Any]]) -> list[str]:
    """What gives cause for concern in a run's log, each in a sentence or two.

    Args:
        steps: its lines of kind "train".
        validations: of kind "validation".
    """
    found = []
    waiting = sum(line["waiting_for_data"] for line in steps) / len(steps)
    if waiting > WAITING_SHARE:
        found.append(
            f"Loading data is a bottleneck: {waiting:.0%} of the time was spent waiting for it. "
            "Use more workers (data.workers), or keep decoded images (data.cache_mb)."
        )
    if validations:
        last = validations[-1]
        classes = last["panoptic"]["per_class"]
        never = [name for name, c in classes.items() if c["tp"] + c["fp"] == 0 and c["fn"]]
        if never:
            found.append(
                f"Never predicted at step {last['step']}: {', '.join(never)}. Rare classes come up "
                "more often with data.balance classes and augment.focus."
            )
        things = last["panoptic"]["things"]["pq"]
        stuff = last["panoptic"]["stuff"]["pq"]
        if things == 0 and stuff:
            found.append(
                "Not one thing is found though stuff is: the center head may be dead. Look at the "
                "heat maps below; lower grouping.threshold, or raise loss.center_weight."
            )
    unsteady = [line["step"] for line in steps if line.get("gradient_norm", 0.0) is None]
    if unsteady:
        found.append(
            f"The gradient was not finite at {len(unsteady)} logged steps, first at step "
            f"{unsteady[0]}. Lower the learning rate or set schedule.clip_norm."
        )
    return found


def _curves(lines: Sequence[dict[str, Any]]) -> bytes:
    picture = BytesIO()
    figure_of_run(lines).savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _validation(validations: Sequence[dict[str, Any]]) -> list[Block]:
    if not validations:
        return []
    rows: list[list[Cell]] = []
    for line in validations:
        rows.append([line["step"], line["num_images"], *(_percent(line, p) for _, p in _MEASURES)])
    columns: list[Column | str] = ["step", "images", *(name for name, _ in _MEASURES)]
    return [SortableTable(columns, rows, key="validation")]


def _classes(validations: Sequence[dict[str, Any]]) -> list[Block]:
    if not validations:
        return []
    rows: list[list[Cell]] = []
    for name, quality in validations[-1]["panoptic"]["per_class"].items():
        figures = [None if quality[k] is None else 100 * quality[k] for k in ("pq", "sq", "rq")]
        rows.append([name, *figures, quality["tp"], quality["fp"], quality["fn"]])
    heads = ["class", "PQ", "SQ", "RQ", "found", "false", "missed"]
    caption = f"at step {validations[-1]['step']}"
    return [SortableTable(heads, rows, caption, key="classes")]


def _history(folder: Path) -> list[Block]:
    """One block per image: what the network saw in it, at a few steps."""
    files: dict[int, dict[int, Path]] = defaultdict(dict)
    for path in folder.glob("*.jpg"):
        match = _PICTURE.fullmatch(path.name)
        if match:
            files[int(match[2])][int(match[1])] = path
    blocks: list[Block] = []
    for number in sorted(files):
        steps = sorted(files[number], reverse=True)
        kept = steps[:: -(-len(steps) // MOST_STEPS_SHOWN)]
        layers = {f"step {step}": files[number][step].read_bytes() for step in kept}
        blocks.append(Pictures(layers, f"image {number}"))
    return blocks


def _settings(experiment: Experiment) -> SortableTable:
    plain = Experiment().model_dump(mode="json")
    rows: list[list[Cell]] = []
    for group, values in experiment.model_dump(mode="json").items():
        for name, value in values.items() if isinstance(values, dict) else ():
            changed = value != plain[group][name]
            rows.append([f"{group}.{name}", json.dumps(value), changed])
    rows.sort(key=lambda row: not row[2])  # what was chosen comes first
    return SortableTable(["setting", "value", "not the default"], rows, key="settings")


def _percent(line: dict[str, Any], path: Sequence[str]) -> float | None:
    value: Any = line
    for key in path:
        value = value[key]
    return None if value is None else 100 * value
