"""The curves of a training run, as one picture.

Comes in: the run's `log.jsonl`. Goes out: a figure with the losses on the left and the validation
results on the right, both over the steps.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_TERMS = ("total", "semantic", "center", "offset")


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a last line cut off by a killed run is left out.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    lines = []
    for text in Path(path).read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def draw_curves(log: str | Path, picture: str | Path) -> None:
    """Draw a run's losses and validation results.

    Args:
        log: `log.jsonl` of a run.
        picture: file to write; its ending decides the format (png, svg, pdf).
    """
    figure_of_run(read_log(log)).savefig(str(picture), dpi=110)


def figure_of_run(lines: Sequence[dict[str, Any]]) -> Figure:
    """The figure of `draw_curves`, from the lines of a log."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    losses, results = figure.subplots(1, 2)
    _draw_losses(losses, [line for line in lines if line["kind"] == "train"])
    _draw_results(results, [line for line in lines if line["kind"] == "validation"])
    return figure


def _draw_losses(axes: Any, lines: list[dict[str, Any]]) -> None:
    steps = [line["step"] for line in lines]
    for term in _TERMS:
        values = _smooth([line["loss"][term] for line in lines])
        axes.plot(steps, values, label=term, linewidth=2 if term == "total" else 1.2)
    axes.set(title="training loss, weighted", xlabel="step", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _draw_results(axes: Any, lines: list[dict[str, Any]]) -> None:
    steps = [line["step"] for line in lines]
    curves = {
        "PQ": [line["panoptic"]["all"]["pq"] for line in lines],
        "PQ things": [line["panoptic"]["things"]["pq"] for line in lines],
        "AP": [line["instance"]["ap"] for line in lines],
        "mIoU": [line["semantic"]["mean"] for line in lines],
    }
    for name, values in curves.items():
        known = [(s, 100 * v) for s, v in zip(steps, values, strict=True) if v is not None]
        axes.plot(*zip(*known, strict=True) if known else ([], []), label=name, marker="o")
    axes.set(title="validation, percent", xlabel="step", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _smooth(values: list[float], memory: float = 0.8) -> list[float]:
    """Running mean with exponentially fading memory, so that noise hides no trend."""
    smooth: list[float] = []
    for value in values:
        smooth.append(value if not smooth else memory * smooth[-1] + (1 - memory) * value)
    return smooth
