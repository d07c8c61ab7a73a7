"""The training loop: take one step, validate, save, run.

A run is a folder:

    experiment.json        the settings
    log.jsonl              one JSON object per line, "kind" is "train" or "validation"
    curves.png             losses and validation results over the steps
    tensorboard/           the same, to explore; wandb/ where run.wandb names a project
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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from panoptic_deeplab.backbones.base import set_progress
from panoptic_deeplab.checkpoint import (
    TrainingState,
    save_checkpoint,
    save_state,
    state_tensors,
)
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data.lasting import lasting_batches
from panoptic_deeplab.data.loading import TrainingSet, loader_of
from panoptic_deeplab.distributed import any_says, joined
from panoptic_deeplab.evaluate import Report, evaluate
from panoptic_deeplab.memory import peak_bytes
from panoptic_deeplab.model import PanopticDeepLab
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.provenance import of_run
from panoptic_deeplab.signals import stop_asked
from panoptic_deeplab.stepping import (
    Gradients,
    backward_that_fits,
    compute_dtype,
    learning_rate,
)
from panoptic_deeplab.structures import Batch
from panoptic_deeplab.training import STATE, Training, build

MODEL, BEST = "model.safetensors", "best.safetensors"
SNAPSHOT, SNAPSHOTS = "step_{:08d}.safetensors", "step_*.safetensors"

logger = logging.getLogger(__name__)


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
        with stop_asked(training), training.journal:
            return run(training, progress if processes.is_first else None)


def run(training: Training, progress: Progress | None) -> Path:
    """Take the steps that are left, with logs, validations and checkpoints on the way."""
    experiment = training.experiment
    total = experiment.schedule.iterations
    task = progress.add_task("training", total=total, completed=training.step) if progress else None
    processes = training.processes
    stream = TrainingSet(training.training_set, experiment)
    rank, world = processes.rank, processes.world
    pinned = training.device.type == "cuda"
    open_at = partial(loader_of, stream, experiment, rank=rank, world=world, pinned=pinned)
    batches = lasting_batches(open_at, training.step)
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
        batch.image.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last),
        type(batch.targets)(*(t.to(device, non_blocking=True) for t in batch.targets)),
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
    learnt = training.learnt()
    predictor = Predictor(learnt, labels, experiment.grouping, experiment.inference)
    limit = 0 if final else experiment.run.validate_images
    report = evaluate(
        predictor,
        training.validation_set,
        limit=limit,
        progress=progress,
        processes=training.processes,
    )
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
        _write_model(training, learnt, BEST, report.to_dict())
    if final:
        _write_model(training, learnt, MODEL, report.to_dict())
    return report


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Yield each batch with the seconds spent waiting for it."""
    while True:
        started = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - started


def is_due(training: Training) -> bool:
    """Whether the time has come for a checkpoint."""
    run = training.experiment.run
    if training.step % run.checkpoint_every == 0:
        return True
    late = time.perf_counter() - training.saved_at > 60 * run.checkpoint_minutes
    late = late and run.checkpoint_minutes > 0 and training.processes.is_first
    # The first process alone writes, but the parts of the weights come from all.
    return any_says(late, training.device) if training.is_sharded else late


def _save(training: Training) -> None:
    training.saved_at = time.perf_counter()
    if not (training.processes.is_first or training.is_sharded):
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
    is_first = training.processes.is_first
    tensors = state_tensors(training.model, training.optimizer, average, wanted=is_first)
    keep = training.experiment.run.keep
    learnt = training.learnt() if keep else None
    if not is_first:
        return
    save_state(training.out / STATE, tensors, state)
    if learnt is not None:
        _write_model(training, learnt, SNAPSHOT.format(training.step), {})
        # Names are of equal length, so their order is that of the steps.
        for old in sorted(training.out.glob(SNAPSHOTS))[:-keep]:
            old.unlink()


def _write_model(
    training: Training, learnt: PanopticDeepLab, name: str, results: dict[str, Any]
) -> None:
    provenance = of_run(
        training.experiment,
        steps=training.step,
        images=(len(training.training_set), len(training.validation_set)),
        metrics=results,
    )
    save_checkpoint(
        training.out / name,
        learnt,
        training.training_set.labels,
        training.experiment,
        provenance,
    )
