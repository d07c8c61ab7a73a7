"""What a training run leaves for people to read: log, curves, pictures, and boards.

In: losses of steps, reports of validations, a predictor to draw with. Out: `log.jsonl`,
`curves.png` and `pictures/` in the run's folder, and what `boards.py` shows; see `train.py`.
"""

import json
import logging
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image

from panoptic_deeplab.boards import Board, open_boards
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.curves import draw_curves
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.evaluate import Report
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.losses import Losses
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.render import training_picture

LOG, CURVES = "log.jsonl", "curves.png"

logger = logging.getLogger(__name__)


class Journal:
    """Writes into the folder of one run.

    Args:
        out: the folder, made by the time of `begin`.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._boards: list[Board] = []

    def begin(self, step: int, experiment: Experiment) -> None:
        """Drop lines of steps after this one, and open what else shows the run."""
        _cut_log(self._out / LOG, step)
        settings = experiment.model_dump(mode="json")
        self._boards = open_boards(self._out, experiment.run.wandb, settings)

    def __enter__(self) -> Self:
        """It is closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; what ended the run comes first if boards cannot be written either."""
        self.close(failed=kind is not None)

    def close(self, *, failed: bool = False) -> None:
        """End what shows the run."""
        for board in self._boards:
            try:
                board.close(failed=failed)
            except OSError as reason:  # such as a full disk
                logger.warning("What shows the run could not be written to its end: %s.", reason)
        self._boards = []

    def write_step(
        self,
        step: int,
        total: int,
        losses: Losses,
        *,
        rate: float,
        speed: float,
        waiting: float,
        norm: float,
        memory: int,
    ) -> None:
        """Tell of the steps since the last line.

        Args:
            step: taken so far.
            total: of the run.
            losses: of the last step.
            rate: of learning, in the last step.
            speed: images per second.
            waiting: share of the time spent on waiting for data, 0..1.
            norm: of the last step's gradient, before clipping.
            memory: most bytes that were in use, of the GPU or of this process.
        """
        terms = {name: round(value.item(), 6) for name, value in losses._asdict().items()}
        line = {
            "kind": "train",
            "step": step,
            "loss": terms,
            "learning_rate": rate,
            "images_per_second": round(speed, 2),
            "waiting_for_data": round(waiting, 4),
            "gradient_norm": round(norm, 4) if math.isfinite(norm) else None,
            "memory_gb": round(memory / 1e9, 3),
            "time": round(time.time(), 1),
        }
        self._append(line)
        values = {f"loss/{name}": value for name, value in terms.items()}
        self._plot(
            step,
            values | {"learning_rate": rate, "images_per_second": speed, "gradient_norm": norm},
        )
        logger.info(
            "step %d of %d: loss %.3f (semantic %.3f, center %.3f, offset %.3f), %.1f images/s",
            step,
            total,
            terms["total"],
            terms["semantic"],
            terms["center"],
            terms["offset"],
            speed,
        )

    def write_validation(self, step: int, report: Report) -> None:
        """Tell of a validation, and draw the curves so far."""
        self._append({"kind": "validation", "step": step, **report.to_dict()})
        draw_curves(self._out / LOG, self._out / CURVES)
        values = {
            "PQ": report.panoptic.all.pq,
            "AP": report.instance.ap,
            "mIoU": report.semantic.mean,
        }
        # None: no segment of the kind in truth and prediction
        shown = {f"validation/{k}": value for k, value in values.items() if value is not None}
        self._plot(step, shown)
        logger.info("step %d: validation %s", step, report.summary())

    def draw(self, step: int, dataset: PanopticDataset, predictor: Predictor, count: int) -> None:
        """Save one picture for each of `count` fixed images, spread over the set."""
        folder = self._out / "pictures"
        folder.mkdir(exist_ok=True)
        count = min(count, len(dataset))
        for number in range(count):
            sample = dataset[number * len(dataset) // count]
            assert sample.panoptic is not None  # evaluate has refused images without truth
            prediction = predictor.predict(sample.image)
            outputs = predictor.outputs(sample.image)
            picture = training_picture(
                sample.image,
                sample.panoptic,
                prediction.panoptic,
                outputs.center[0].cpu().numpy(),
                outputs.offset[0].cpu().numpy(),
                predictor.labels,
            )
            Image.fromarray(picture).save(folder / f"step_{step:07d}_image_{number}.jpg")
            for board in self._boards:
                board.show(step, f"image_{number}", picture)

    def _append(self, line: dict[str, Any]) -> None:
        with (self._out / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _plot(self, step: int, values: dict[str, float]) -> None:
        for board in self._boards:
            board.plot(step, values)


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines of steps that will be taken again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue  # the line that was being written when the run was killed
    write_whole(path, "".join(line + "\n" for line in kept).encode())
