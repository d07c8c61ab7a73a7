"""A run tried out: built as a whole, a few steps taken, and what it would need.

In: an experiment. Out: memory, time per step and in all, and a picture of the first batch with its
targets, which shows at a glance whether data, classes and augmentation are what they should be.
Nothing is learnt and no run is left.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from panoptic_deeplab import captions
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data.loading import build_loader
from panoptic_deeplab.files import make_folder
from panoptic_deeplab.labels import IGNORED, LabelSpace
from panoptic_deeplab.memory import peak_bytes
from panoptic_deeplab.render import center_view, legend, offset_view
from panoptic_deeplab.structures import Batch
from panoptic_deeplab.train import take_step
from panoptic_deeplab.training import build

PICTURE = "first_batch.jpg"

STEPS = 2
"""That are timed, behind one that is not."""

MOST_IMAGES = 8  # of a batch that are drawn


@dataclass(frozen=True)
class Plan:
    """What a run would need.

    Attributes:
        network: name of its backbone.
        weights: in millions.
        training_images: in the training split.
        validation_images: in the validation split.
        seconds_per_step: of the steps behind the first.
        waiting_for_data: share of it.
        memory_gb: most that was in use, of the GPU or of this process without the data workers.
        training_hours: of all steps at this speed, without validations.
        loss: of the last step tried.
        picture: of the first batch.
    """

    network: str
    weights: float
    training_images: int
    validation_images: int
    seconds_per_step: float
    waiting_for_data: float
    memory_gb: float
    training_hours: float
    loss: float
    picture: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def try_out(experiment: Experiment, out: str | Path, *, device: str | None = None) -> Plan:
    """Build everything, take three steps, and draw the first batch.

    Args:
        experiment: all settings.
        out: folder for the picture, made if missing.
        device: torch's name; default: a GPU if there is one.

    Raises:
        ValueError: as training would.
    """
    if experiment.run.threads:
        torch.set_num_threads(experiment.run.threads)
    folder = make_folder(out)
    unseen = experiment.run.model_copy(update={"wandb": ""})
    experiment = experiment.model_copy(update={"run": unseen})
    with TemporaryDirectory() as elsewhere:
        training = build(experiment, Path(elsewhere) / "run", resume=False, device=device)
        loader = iter(build_loader(training.training_set, experiment))
        first = next(loader)
        labels = training.training_set.labels
        Image.fromarray(draw_batch(first, labels)).save(folder / PICTURE, quality=92)
        found = take_step(training, first)
        waited = 0.0
        started = time.perf_counter()
        for _ in range(STEPS):
            before = time.perf_counter()
            batch = next(loader, first)
            waited += time.perf_counter() - before
            found = take_step(training, batch)
        seconds = (time.perf_counter() - started) / STEPS
        training.journal.close()
        return Plan(
            experiment.model.backbone,
            round(sum(p.numel() for p in training.model.parameters()) / 1e6, 2),
            len(training.training_set),
            len(training.validation_set),
            round(seconds, 4),
            round(waited / STEPS / seconds, 3),
            round(peak_bytes(training.device) / 1e9, 2),
            round(seconds * experiment.schedule.iterations / 3600, 2),
            round(found.losses.total.item(), 4),
            str(folder / PICTURE),
        )


def draw_batch(batch: Batch, labels: LabelSpace, *, height: int = 220) -> NDArray[np.uint8]:
    """One row per image: what the network gets, and what it should say.

    Args:
        batch: the first images of it are drawn.
        labels: the classes.
        height: of each panel in pixels.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    rows = []
    seen: set[int] = set()
    for image, *targets in zip(batch.image, *batch.targets, strict=True):
        semantic, center, offset = (t.numpy() for t in targets[:3])
        counts = targets[5].numpy() > 0
        pixels = image.permute(1, 2, 0).numpy()
        panels = {
            "input": pixels,
            "classes": _classes(pixels, semantic, labels),
            "centers": center_view(center, pixels),
            "offsets": offset_view(offset, counts),
        }
        size = (max(1, round(pixels.shape[1] * height / pixels.shape[0])), height)
        shown = [
            captions.with_caption(np.asarray(Image.fromarray(p).resize(size)), text)
            for text, p in panels.items()
        ]
        rows.append(captions.row(shown))
        seen |= {int(c) for c in np.unique(semantic) if c != IGNORED}
        if len(rows) == MOST_IMAGES:
            break
    picture = captions.column(rows)
    return captions.column([picture, legend(seen, labels, picture.shape[1])], gap_px=0)


def _classes(
    pixels: NDArray[np.uint8], semantic: NDArray[np.int64], labels: LabelSpace
) -> NDArray[np.uint8]:
    """The image in the colours of its classes; what is ignored stays grey."""
    colors = np.full((IGNORED + 1, 3), 128.0)
    colors[: labels.num_classes] = [c.color for c in labels.classes]
    return (0.4 * pixels + 0.6 * colors[semantic]).astype(np.uint8)
