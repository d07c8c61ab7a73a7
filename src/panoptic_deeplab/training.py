"""What a running training holds, and how it begins or goes on: data, network, optimizer, folder.

In: settings and a folder. Out: a `Training`, which `train.py` drives.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from panoptic_deeplab.checkpoint import (
    read_state,
    restore,
    without_download,
)
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data import build_dataset
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.journal import Journal
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.loss_scale import LossScale
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.moving_average import MovingAverage
from panoptic_deeplab.processes import ALONE, Processes
from panoptic_deeplab.resuming import differences, start_with
from panoptic_deeplab.sharding import shard, whole_weights
from panoptic_deeplab.stepping import (
    compiled,
    compute_dtype,
    make_optimizer,
)

STATE, SETTINGS = "state.safetensors", "experiment.json"

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """What a running training holds; `build` makes it, `run` drives it.

    `is_sharded`: this process holds a part of the weights only.
    """

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
    is_sharded: bool = False

    def learnt(self) -> PanopticDeepLab:
        """What is validated and stored: the average of the weights, or the weights.

        Where the processes hold parts of them, all must ask for it together.
        """
        average: PanopticDeepLab | None = self.average.model if self.average else None  # type: ignore[assignment]
        learnt = average or self.model
        if not self.is_sharded:
            return learnt
        labels = self.training_set.labels
        model = build_model(without_download(self.experiment.model), labels.num_classes)
        model.load_state_dict(whole_weights(learnt))
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model


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
    is_sharded = experiment.schedule.shard_weights and processes.world > 1
    # A device may have room for a part only, so parts are made before they go there.
    begun = torch.device("cpu") if is_sharded else where
    model = _new_model(experiment, training_set.labels, begun, is_resumed=state_file.exists())
    decay = experiment.schedule.ema_decay
    average = MovingAverage(model, decay) if decay else None
    if is_sharded:
        _shard(model, average, where)
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
        average,
        parts=experiment.schedule.accumulate,
        is_sharded=is_sharded,
    )
    if compute_dtype(experiment, where) == torch.float16:
        training.loss_scale = LossScale()
    if state_file.exists():
        _resume(training, state_file)
    training.network = _network(training)
    if processes.is_first:
        _begin_folder(training)
    return training


def _new_model(
    experiment: Experiment, labels: LabelSpace, device: torch.device, *, is_resumed: bool
) -> PanopticDeepLab:
    """The network a run begins with."""
    torch.manual_seed(experiment.run.seed)
    replaced = is_resumed or experiment.run.start_from
    config = without_download(experiment.model) if replaced else experiment.model
    model = build_model(config, labels.num_classes)
    model.backbone.checkpointing = experiment.schedule.activation_checkpointing
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if experiment.schedule.freeze_backbone:
        model.backbone.requires_grad_(False)
    if experiment.run.start_from and not is_resumed:
        start_with(model, labels, experiment.run.start_from)
    return model


def _shard(model: PanopticDeepLab, average: MovingAverage | None, device: torch.device) -> None:
    networks: list[Any] = [model, average.model] if average else [model]
    for network in networks:
        shard(network, [network.backbone], device)


def _network(training: Training) -> nn.Module:
    """The model as steps call it: compiled, joined with other processes', or itself.

    One in parts joins gradients by itself.
    """
    network: nn.Module = training.model
    if training.experiment.schedule.compile:
        network = compiled(training.model, training.device)
    if training.processes.world > 1 and not training.is_sharded:
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
    training.journal.begin(training.step, training.experiment)


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
