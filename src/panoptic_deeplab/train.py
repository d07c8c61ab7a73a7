"""The training loop: build, take one step, validate, run.

A run is a folder:

    experiment.json        the settings
    log.jsonl              one JSON object per line, "kind" is "train" or "validation"
    curves.png             losses and validation results over the steps
    tensorboard/           the same, to explore
    pictures/              input, truth, prediction, heat map and offsets of fixed images over time
    state.safetensors      weights, optimizer, step: what `resume` reads
    best.safetensors       the model with the best validation PQ so far, on run.validate_images
    model.safetensors      the model after the last step
    step_N.safetensors         the newest models at checkpoints, if run.keep asks for them

Everything random is a function of (seed, step), never of what came before. So a run that was
killed and resumed ends, on a CPU, with the same weights bit for bit as one that was not.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from panoptic_deeplab.backbones.base import set_progress
from panoptic_deeplab.checkpoint import (
    TrainingState,
    read_state,
    restore,
    save_checkpoint,
    save_state,
    without_download,
)
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data import build_dataset, build_loader
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.lasting import lasting_batches
from panoptic_deeplab.distributed import ALONE, Processes, any_says, joined
from panoptic_deeplab.evaluate import Report, evaluate
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.journal import Journal
from panoptic_deeplab.loss_scale import LossScale
from panoptic_deeplab.memory import peak_bytes
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.moving_average import MovingAverage
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.provenance import of_run
from panoptic_deeplab.resuming import differences, start_with
from panoptic_deeplab.signals import stop_asked
from panoptic_deeplab.stepping import (
    Gradients,
    backward_that_fits,
    compiled,
    compute_dtype,
    learning_rate,
    make_optimizer,
)
from panoptic_deeplab.structures import Batch

STATE, MODEL, BEST = "state.safetensors", "model.safetensors", "best.safetensors"
SNAPSHOT, SNAPSHOTS = "step_{:08d}.safetensors", "step_*.safetensors"
SETTINGS = "experiment.json"

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """What a running training holds; `build` makes it, `run` drives it."""

    experiment: Experiment
    out: Path
    device: torch.device
    model: PanopticDeepLab
    optimizer: torch.optim.Optimizer
    training_set: PanopticDataset
    validation_set: PanopticDataset
    journal: Journal
    processes: Processes
    network: nn.Module
    average: MovingAverage | None = None
    loss_scale: LossScale | None = None
    step: int = 0
    best_quality: float | None = None
    parts: int = 1
    bad_steps: int = 0
    saved_at: float = 0.0
    stop: bool = False

    @property
    def learnt(self) -> PanopticDeepLab:
        """What is validated and stored: the average of the weights, or the weights."""
        if self.average is None:
            return self.model
        averaged: PanopticDeepLab = self.average.model  # type: ignore[assignment]
        return averaged


def train(
    experiment: Experiment,
    out: str | Path,
    *,
    resume: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a model from scratch, or go on where a run stopped.

    Args:
        experiment: all settings.
        out: folder of the run, made if need be.
        resume: go on from the folder's state; a folder without one starts at step 0.
        device: torch's name; default: a GPU if there is one, else the CPU.
        progress: shows steps and time left.

    Returns:
        The model's file. If the run was interrupted (Ctrl-C or SIGTERM) the state is saved, and
        the path is that of the state.

    Raises:
        FileExistsError: if the folder holds a run and `resume` is not set.
        ValueError: if the folder's run had other settings, or the loss is no longer finite.
    """
    if experiment.run.threads:
        torch.set_num_threads(experiment.run.threads)
    with joined(device) as processes:
        training = build(experiment, Path(out), resume=resume, device=device, processes=processes)
        with stop_asked(training):
            return run(training, progress if processes.is_first else None)


def build(
    experiment: Experiment,
    out: Path,
    *,
    resume: bool,
    device: str | None,
    processes: Processes = ALONE,
) -> Training:
    """Make data sets, model and optimizer, and load the state of a run that is resumed.

    A run that `torchrun` starts anew after one of its processes has failed is resumed by itself.
    """
    state_file = out / STATE
    if state_file.exists() and not resume and not processes.restarts:
        raise FileExistsError(
            f"{out} already holds a run. Resume it (--resume) or choose another folder."
        )
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type == "cuda" and processes.world > 1:
        where = torch.device("cuda", processes.local_rank)
    training_set = build_dataset(experiment.data, "train")
    validation_set = build_dataset(experiment.data, "val")
    if training_set.labels != validation_set.labels:
        raise ValueError(
            f"Training and validation data must have the same classes, got "
            f"{training_set.labels.names} and {validation_set.labels.names}."
        )
    torch.manual_seed(experiment.run.seed)
    replaced = state_file.exists() or experiment.run.start_from
    config = without_download(experiment.model) if replaced else experiment.model
    model = build_model(config, training_set.labels.num_classes)
    model.backbone.checkpointing = experiment.schedule.activation_checkpointing
    model = model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if experiment.schedule.freeze_backbone:
        model.backbone.requires_grad_(False)
    if experiment.run.start_from and not state_file.exists():
        start_with(model, training_set.labels, experiment.run.start_from)
    training = Training(
        experiment,
        out,
        where,
        model,
        make_optimizer(model, experiment.schedule),
        training_set,
        validation_set,
        Journal(out),
        processes,
        model,
        parts=experiment.schedule.accumulate,
    )
    if experiment.schedule.ema_decay:
        training.average = MovingAverage(model, experiment.schedule.ema_decay)
    if compute_dtype(experiment, where) == torch.float16:
        training.loss_scale = LossScale()
    if state_file.exists():
        _resume(training, state_file)
    training.network = _network(training)
    if processes.is_first:
        _begin_folder(training)
    return training


def _network(training: Training) -> nn.Module:
    """The model as steps call it: compiled, joined with other processes', or itself."""
    network: nn.Module = training.model
    if training.experiment.schedule.compile:
        network = compiled(training.model, training.device)
    if training.processes.world > 1:
        ids = [training.device.index] if training.device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=ids)
    return network


def _begin_folder(training: Training) -> None:
    """Make the run's folder or clear it up, and open its log."""
    out = training.out
    out.mkdir(parents=True, exist_ok=True)
    for unfinished in out.rglob(".*.part"):  # of a write during which the run was killed
        unfinished.unlink()
    write_whole(out / SETTINGS, training.experiment.model_dump_json(indent=2).encode())
    training.journal.begin(training.step)


def run(training: Training, progress: Progress | None) -> Path:
    """Take the steps that are left, with logs, validations and checkpoints on the way."""
    experiment = training.experiment
    total = experiment.schedule.iterations
    task = progress.add_task("training", total=total, completed=training.step) if progress else None
    processes = training.processes
    batches = lasting_batches(partial(_loader, training), training.step)
    started, waited, steps = time.perf_counter(), 0.0, 0  # since the log's last line
    training.saved_at = started
    for batch, waiting in _timed(batches):
        found = take_step(training, batch)
        stops = any_says(training.stop, training.device)
        waited, steps = waited + waiting, steps + 1
        if progress is not None and task is not None:
            progress.update(task, completed=training.step)
        logs = training.step % experiment.run.log_every == 0 or training.step == total
        if logs and processes.is_first:
            seconds = time.perf_counter() - started
            training.journal.write_step(
                training.step,
                total,
                found.losses,
                rate=learning_rate(experiment.schedule, training.step - 1),
                speed=steps * experiment.schedule.batch_size / seconds,
                waiting=waited / seconds,
                norm=found.norm,
                memory=peak_bytes(training.device),
            )
            started, waited, steps = time.perf_counter(), 0.0, 0
        last = training.step == total
        if training.step % experiment.run.validate_every == 0 or last:
            before = time.perf_counter()
            validate(training, progress, final=last)
            started += time.perf_counter() - before  # does not count as training
        if is_due(training) or last or stops:
            _save(training)
        if stops and not last:
            logger.warning("Stopped at step %d; the run resumes from there.", training.step)
            return training.out / STATE
    training.journal.close()
    return training.out / MODEL


def take_step(training: Training, batch: Batch) -> Gradients:
    """One forward and backward pass and one step of the optimizer.

    Raises:
        ValueError: if the loss or its gradient is not finite, more often than allowed.
    """
    experiment, device, processes = training.experiment, training.device, training.processes
    model = training.model.train()
    if experiment.schedule.freeze_backbone:
        model.backbone.eval()
    rate = learning_rate(experiment.schedule, training.step)
    for group in training.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    set_progress(model, training.step / experiment.schedule.iterations)
    # Dropout must not depend on how many random numbers were drawn before a resume.
    torch.manual_seed(experiment.run.seed * 1_000_003 + training.step + (processes.rank << 40))
    moved = Batch(
        batch.image.to(device, memory_format=torch.channels_last),
        type(batch.targets)(*(t.to(device) for t in batch.targets)),
    )
    training.optimizer.zero_grad(set_to_none=True)
    found, training.parts = backward_that_fits(
        training.network,
        model,
        moved,
        experiment,
        processes,
        parts=training.parts,
        dtype=compute_dtype(experiment, device),
        loss_scale=training.loss_scale.value if training.loss_scale else 1.0,
    )
    if found.is_finite:
        training.optimizer.step()
        training.bad_steps = 0
        if training.loss_scale:
            training.loss_scale.keep()
    elif not (training.loss_scale and training.loss_scale.lower()):
        _count_bad_step(training, found)
    training.step += 1
    if training.average is not None:
        training.average.update(model)
    return found


def _count_bad_step(training: Training, found: Gradients) -> None:
    """Leave a step out, or end the run."""
    training.bad_steps += 1
    schedule, run = training.experiment.schedule, training.experiment.run
    what = f"The loss is {found.losses.total.item()}, its gradient's norm {found.norm}"
    if training.bad_steps > run.skip_bad_steps:
        raise ValueError(
            f"{what} at step {training.step}, both must be finite. "
            f"Lower the learning rate ({schedule.learning_rate:g}), set schedule.clip_norm, or use "
            "precision float32; the last checkpoint is kept."
        )
    logger.warning("%s at step %d, which is left out.", what, training.step)


def validate(training: Training, progress: Progress | None, *, final: bool) -> Report:
    """Evaluate on the validation set, draw pictures, and keep the model if it is the best."""
    experiment = training.experiment
    labels = training.training_set.labels
    predictor = Predictor(training.learnt, labels, experiment.grouping, experiment.inference)
    limit = 0 if final else experiment.run.validate_images
    report = evaluate(
        predictor,
        training.validation_set,
        limit=limit,
        progress=progress,
        processes=training.processes,
    )
    training.model.train()
    if not training.processes.is_first:
        return report
    step, pictures = training.step, experiment.run.pictures
    training.journal.draw(step, training.validation_set, predictor, pictures)
    training.journal.write_validation(step, report)
    quality = report.panoptic.all.pq
    # Results on all images and on some do not compare.
    part = experiment.run.validate_images
    compares = not final or part == 0 or part >= len(training.validation_set)
    best = training.best_quality
    if compares and quality is not None and (best is None or quality > best):
        training.best_quality = quality
        _write_model(training, BEST, report.to_dict())
    if final:
        _write_model(training, MODEL, report.to_dict())
    training.model.train()
    return report


def _loader(training: Training, step: int) -> DataLoader[Batch]:
    """Of this process's share of the batches, from a step on."""
    processes = training.processes
    return build_loader(
        training.training_set,
        training.experiment,
        step,
        rank=processes.rank,
        world=processes.world,
    )


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Yield each batch with the seconds spent waiting for it."""
    while True:
        started = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - started


def _resume(training: Training, state_file: Path) -> None:
    state, tensors = read_state(state_file)
    if state.labels != training.training_set.labels:
        raise ValueError(
            f"{state_file} was trained on the classes {state.labels.names}, the data now has "
            f"{training.training_set.labels.names}. Start a new run."
        )
    changed = differences(state.experiment.model_dump(), training.experiment.model_dump())
    if changed:
        raise ValueError(
            f"{training.out} was started with other settings: {'; '.join(changed)}. Resume with "
            "the same ones, or start a new run in another folder."
        )
    average = training.average
    restore(training.model, training.optimizer, tensors, average.model if average else None)
    training.step, training.best_quality = state.step, state.best_quality
    if average is not None:
        average.resume(state.step)
    if training.loss_scale and state.loss_scale:
        training.loss_scale = LossScale(*state.loss_scale)
    logger.info("Resuming %s at step %d.", training.out, training.step)


def is_due(training: Training) -> bool:
    """Whether the time has come for a checkpoint."""
    run = training.experiment.run
    if training.step % run.checkpoint_every == 0:
        return True
    if not run.checkpoint_minutes or not training.processes.is_first:
        return False
    return time.perf_counter() - training.saved_at > 60 * run.checkpoint_minutes


def _save(training: Training) -> None:
    training.saved_at = time.perf_counter()
    if not training.processes.is_first:
        return
    scale = training.loss_scale
    state = TrainingState(
        training.step,
        training.training_set.labels,
        training.experiment,
        training.best_quality,
        (scale.value, scale.good_steps) if scale else None,
    )
    average = training.average.model if training.average else None
    save_state(training.out / STATE, training.model, training.optimizer, state, average)
    if training.experiment.run.keep:
        _write_model(training, SNAPSHOT.format(training.step), {})
        # Names are of equal length, so their order is that of the steps.
        for old in sorted(training.out.glob(SNAPSHOTS))[: -training.experiment.run.keep]:
            old.unlink()


def _write_model(training: Training, name: str, results: dict[str, Any]) -> None:
    provenance = of_run(
        training.experiment,
        steps=training.step,
        images=(len(training.training_set), len(training.validation_set)),
        metrics=results,
    )
    save_checkpoint(
        training.out / name,
        training.learnt,
        training.training_set.labels,
        training.experiment,
        provenance,
    )
