"""Full training steps: as `train` takes them, against a plain loop in the public codes' way.

The plain loop draws targets with one mask per segment, and runs the same network eagerly in
float32 and torch's own order of memory, with torch's own convolutions and without fetching batches
ahead. Reading, augmentation, losses and optimizer are the same, so both meet the same images and
the same first loss, which is checked.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from panoptic_deeplab.bench.base import Result, threads
from panoptic_deeplab.bench.data import drawn_folder
from panoptic_deeplab.bench.measure import REFERENCE, machine
from panoptic_deeplab.bench.targets import masked_reference
from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    ModelConfig,
    ScheduleConfig,
    Size,
)
from panoptic_deeplab.data import PanopticDataset
from panoptic_deeplab.data.ahead import fetched_ahead
from panoptic_deeplab.data.loading import TrainingSet, build_loader
from panoptic_deeplab.depthwise import DepthwiseConv
from panoptic_deeplab.losses import compute_losses
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.processes import ALONE
from panoptic_deeplab.stepping import compute_dtype
from panoptic_deeplab.structures import Batch, Targets
from panoptic_deeplab.train import take_step
from panoptic_deeplab.training import Training, build

COLUMNS = (
    "backbone",
    "form",
    "images/s",
    "times as many",
    "waiting for data",
    "first loss",
    "GPU MB",
)

_SCENES: Size = (1024, 2048)
_CLOSE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Relative difference of the first loss to the plain loop's, by what the network computes in."""

_TF32_CLOSE = 1e-2
"""The same in float32 on a GPU, whose convolutions round to ten bits (torch's default)."""


class Block(NamedTuple):
    """Some steps of one form, timed together.

    Attributes:
        seconds: of all of them.
        waited: of these, for batches.
        loss: of the first one.
        peak_bytes: of a GPU's memory; 0 on a CPU.
    """

    seconds: float
    waited: float
    loss: float
    peak_bytes: int


def bench_train(
    *,
    backbones: Sequence[str],
    crop: Size,
    batch: int,
    steps: int,
    rounds: int,
    workers: int,
    num_threads: int,
    device: torch.device,
    with_compiled: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Time blocks of steps of each form in turn, on drawn scenes.

    Args:
        backbones: names in `BACKBONES`, or `timm:NAME`.
        crop: (H, W) of training images.
        batch: images per step.
        steps: of a block; one more in front is not timed.
        rounds: blocks of each form.
        workers: processes of each loader.
        num_threads: of torch; 0: its own choice.
        device: of the network.
        with_compiled: time the compiled network too, in the lowest precision of the others.
        progress: shows the blocks.

    Raises:
        ValueError: if a number is out of range, or a backbone unknown.
    """
    if min(steps, rounds, batch, workers) < 1:
        raise ValueError(
            f"steps, rounds, batch and workers must be at least 1, got {steps}, {rounds}, {batch} "
            f"and {workers}."
        )
    found: dict[str, dict[str, list[Block]]] = {}
    total = len(backbones) * rounds
    task = progress.add_task("rounds", total=total) if progress is not None else None
    with drawn_folder("", "png", _SCENES, progress) as data, threads(num_threads) as used:
        for backbone in backbones:
            with tempfile.TemporaryDirectory() as folder:
                experiment = _experiment(data, backbone, crop, batch, steps + 1, workers)
                forms = _forms(experiment, Path(folder), device, with_compiled)
                blocks: dict[str, list[Block]] = {name: [] for name in forms}
                for turn in range(rounds):
                    for name in list(forms)[:: 1 if turn % 2 else -1]:
                        blocks[name].append(forms[name](steps))
                    if progress is not None and task is not None:
                        progress.advance(task)
                _check_losses(blocks, device)
                found[backbone] = blocks
    place = f"CPU, {used} threads"
    if device.type == "cuda":
        place = f"{torch.cuda.get_device_name(device)}, {workers} workers"
    return _result(
        found, crop=crop, batch=batch, steps=steps, workers=workers, threads=used, place=place
    )


class PlainSet(Dataset[Batch]):
    """The same stream of images, with targets drawn mask by mask.

    Args:
        dataset: the training split.
        experiment: with the targets' settings of the paper.
    """

    def __init__(self, dataset: PanopticDataset, experiment: Experiment) -> None:
        self._images, self._labels = TrainingSet(dataset, experiment), dataset.labels

    def __len__(self) -> int:
        """Positions of the whole run."""
        return len(self._images)

    def __getitem__(self, position: int) -> Batch:
        """One image with its targets."""
        sample = self._images.augmented(position)
        assert sample.panoptic is not None
        targets = masked_reference(sample.panoptic, self._labels)
        image = torch.from_numpy(sample.image.transpose(2, 0, 1).copy())
        return Batch(image, Targets(*(torch.from_numpy(target) for target in targets)))


def _experiment(
    data: DataConfig, backbone: str, crop: Size, batch: int, steps: int, workers: int
) -> Experiment:
    """The paper's targets and losses, its scales, and so many steps."""
    return Experiment(
        data=data.model_copy(update={"workers": workers, "val_split": "train"}),
        # What dropout drops depends on the order of memory, so losses could not be compared.
        model=ModelConfig(backbone=backbone, aspp_dropout=0.0),
        augment=AugmentConfig(crop_size=crop),
        schedule=ScheduleConfig(batch_size=batch, iterations=steps, warmup_iterations=0),
    )


def _forms(
    experiment: Experiment, folder: Path, device: torch.device, with_compiled: bool
) -> dict[str, Callable[[int], Block]]:
    """Each form's way to take steps; all start from the same weights."""
    kinds: dict[str, dict[str, str | bool]] = {"float32": {"precision": "float32"}}
    if compute_dtype(experiment, device) == torch.bfloat16:
        kinds["bfloat16"] = {"precision": "bfloat16"}
    if with_compiled:
        lowest = list(kinds)[-1]
        kinds[f"{lowest}, compiled"] = kinds[lowest] | {"compile": True}
    forms: dict[str, Callable[[int], Block]] = {}
    weights = None
    for kind, changes in kinds.items():
        schedule = experiment.schedule.model_copy(update=changes)
        training = build(
            experiment.model_copy(update={"schedule": schedule}),
            folder / kind,
            resume=False,
            device=str(device),
            processes=ALONE,
        )
        weights = weights or {k: v.clone() for k, v in training.model.state_dict().items()}
        forms[kind] = partial(_our_steps, training, weights)
    assert weights is not None
    plain = build_model(experiment.model, training.training_set.labels.num_classes).to(device)
    for part in plain.modules():
        if type(part) is DepthwiseConv:
            part.forward = partial(nn.Conv2d.forward, part)  # type: ignore[method-assign]
    stream = PlainSet(training.training_set, experiment)
    forms[REFERENCE] = partial(_plain_steps, plain, weights, stream, experiment)
    return forms


def _our_steps(training: Training, weights: dict[str, Tensor], steps: int) -> Block:
    """As `train.run` goes through them, but for logs and checkpoints."""
    training.model.load_state_dict(weights)
    training.step = 0
    training.optimizer.state.clear()
    batches = fetched_ahead(build_loader(training.training_set, training.experiment))
    return _timed(
        batches,
        lambda batch: float(take_step(training, batch).losses.total),
        steps,
        training.device,
    )


def _plain_steps(
    model: PanopticDeepLab,
    weights: dict[str, Tensor],
    stream: PlainSet,
    experiment: Experiment,
    steps: int,
) -> Block:
    """The loop one writes first."""
    model.load_state_dict(weights)
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=experiment.schedule.learning_rate)
    model.train()

    def step(batch: Batch) -> float:
        optimizer.zero_grad()
        image, targets = batch.image.to(device), Targets(*(t.to(device) for t in batch.targets))
        outputs = model(image)
        outputs = model.upsample(outputs, (image.shape[2], image.shape[3]))
        losses = compute_losses(outputs, targets, **experiment.loss.model_dump())
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return losses.total.item()

    loader = DataLoader(
        stream,
        experiment.schedule.batch_size,
        num_workers=experiment.data.workers,
        worker_init_fn=_one_thread,
    )
    return _timed(iter(loader), step, steps, device)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _timed(
    batches: Iterator[Batch], step: Callable[[Batch], float], steps: int, device: torch.device
) -> Block:
    """Take the first step, then time the others; each ends by reading its loss."""
    first = step(next(batches))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start, waited = time.perf_counter(), 0.0
    for _ in range(steps):
        begin = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - begin
        step(batch)
    seconds = time.perf_counter() - start
    for _ in batches:  # ends the workers
        pass
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Block(seconds, waited, first, peak)


def _check_losses(blocks: dict[str, list[Block]], device: torch.device) -> None:
    """A form that computes something else would be compared for nothing."""
    expected = blocks[REFERENCE][0].loss
    for name, found in blocks.items():
        tolerance = _CLOSE["float32" if name == REFERENCE else name.split(",")[0]]
        if device.type == "cuda":
            tolerance = max(tolerance, _TF32_CLOSE)
        for block in found:
            if abs(block.loss - expected) > tolerance * abs(expected):
                raise ValueError(
                    f"The first loss in {name} is {block.loss:g}, the plain loop's {expected:g}; "
                    "they must be equal, so nothing is compared. Report this, please."
                )


def _result(
    found: dict[str, dict[str, list[Block]]],
    *,
    crop: Size,
    batch: int,
    steps: int,
    workers: int,
    threads: int,
    place: str,
) -> Result:
    rows: list[Sequence[str]] = []
    results = []
    for backbone, blocks in found.items():
        for name, timed in blocks.items():
            seconds = median(block.seconds for block in timed)
            ratios = [
                plain.seconds / block.seconds
                for plain, block in zip(blocks[REFERENCE], timed, strict=True)
            ]
            waited = sum(b.waited for b in timed) / sum(b.seconds for b in timed)
            results.append(
                {
                    "name": f"{backbone}, {name}",
                    "images_per_second": steps * batch / seconds,
                    "milliseconds": 1e3 * seconds / steps,
                    "speedup": median(ratios),
                    "waiting_for_data": waited,
                    "first_loss": timed[0].loss,
                    "gpu_mb": max(block.peak_bytes for block in timed) / 2**20,
                }
            )
            rows.append(
                (
                    backbone,
                    name,
                    f"{steps * batch / seconds:.2f}",
                    f"{median(ratios):.2f}",
                    f"{100 * waited:.1f} %",
                    f"{timed[0].loss:.4g}",
                    f"{results[-1]['gpu_mb']:.0f}" if results[-1]["gpu_mb"] else "-",
                )
            )
    return Result(
        title=f"training steps of {batch} crops of {crop[0]}x{crop[1]}, {place}",
        columns=COLUMNS,
        rows=rows,
        plain={
            "backbones": list(found),
            "crop": list(crop),
            "batch": batch,
            "steps": steps,
            "workers": workers,
            "threads": threads,
            "machine": machine(),
            "torch": torch.__version__,
            "results": results,
        },
    )
