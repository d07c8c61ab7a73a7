"""Where a run's numbers and pictures can be watched: TensorBoard, Weights & Biases.

In: values and pictures of a step. Out: what those programs read. Both are extras; TensorBoard is
used where it is installed, Weights & Biases where the settings name a project.
"""

import json
import logging
import secrets
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.files import write_whole

WANDB_ID = "wandb_id.json"

logger = logging.getLogger(__name__)


class Board(Protocol):
    """Shows a run."""

    def plot(self, step: int, values: dict[str, float]) -> None:
        """Add a point to each curve; names may hold a group, as in loss/total."""

    def show(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Add (H, W, 3) RGB to the history of a picture."""

    def close(self, *, failed: bool) -> None:
        """Write what has not been written; `failed`: the run ends in an error."""


def open_boards(out: Path, project: str, settings: dict[str, Any]) -> list[Board]:
    """Begin, or go on with, what shows a run.

    Args:
        out: folder of the run.
        project: of Weights & Biases, PROJECT or ENTITY/PROJECT; empty: none.
        settings: of the run, to be filtered by.

    Raises:
        ImportError: if a project is named and wandb is not installed.
        ConnectionError: if Weights & Biases refuses, in its words.
    """
    boards: list[Board] = []
    try:
        boards.append(TensorBoard(out))
    except ImportError:
        logger.warning('No TensorBoard log: pip install "panoptic-deeplab[log]" to have one.')
    if project:
        boards.append(WeightsAndBiases(out, project, settings))
    return boards


class TensorBoard:
    """Events in `tensorboard/`."""

    def __init__(self, out: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / "tensorboard"))

    def plot(self, step: int, values: dict[str, float]) -> None:
        """See `Board`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def show(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """See `Board`."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """See `Board`; nothing is told of a failure."""
        self._writer.close()


class WeightsAndBiases:
    """A run there, whose id is kept in the folder, so that a resumed run stays one.

    Steps that are taken again after a crash are shown once, as they were at first. Where it sends
    to, and whether at once or later (`WANDB_MODE=offline`), wandb reads from its own settings.
    """

    def __init__(self, out: Path, project: str, settings: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                "run.wandb needs the package wandb, which is not installed. "
                'Run pip install "panoptic-deeplab[wandb]", or leave run.wandb empty.'
            ) from error
        entity, _, name = project.rpartition("/")
        self._make_picture = wandb.Image
        try:
            self._run = wandb.init(
                project=name,
                entity=entity or None,
                dir=out,
                id=_lasting_id(out / WANDB_ID),
                name=out.resolve().name,
                resume="allow",
                config=settings,
            )
        except wandb.Error as error:
            raise ConnectionError(
                f"Weights & Biases did not begin a run in {project}: {str(error).rstrip('.')}. "
                "Log in with `wandb login`, set WANDB_MODE=offline, or leave run.wandb empty."
            ) from error

    def plot(self, step: int, values: dict[str, float]) -> None:
        """See `Board`."""
        self._run.log(values, step=step)

    def show(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """See `Board`."""
        self._run.log({name: self._make_picture(picture)}, step=step)

    def close(self, *, failed: bool) -> None:
        """See `Board`."""
        self._run.finish(exit_code=int(failed))


def _lasting_id(path: Path) -> str:
    if not path.exists():
        write_whole(path, json.dumps({"id": secrets.token_hex(4)}).encode())
    found: str = json.loads(path.read_text())["id"]
    return found
