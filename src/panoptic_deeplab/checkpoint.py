"""One file per model: weights, settings, label space and where they came from.

The file is a safetensors file, so nothing in it is ever executed. Its header carries, as JSON,
the `Experiment`, the `LabelSpace`, the provenance (keys in `provenance.py`) and a format version;
the tensors are the model's state dict. A training run keeps its optimizer in a second file of the
same kind (`save_state`), which exists for resuming only.

Format versions: 1 had provenance of free form; since 2 its keys have fixed meanings. Files of older
versions are read as if they had been written today.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from panoptic_deeplab.config import Experiment, ModelConfig
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.provenance import from_version_1
from panoptic_deeplab.sharding import in_parts_as, whole

FORMAT = "panoptic_deeplab"
FORMAT_VERSION = 2

_KINDS = {
    "model": "a whole model",
    "backbone": "a backbone alone, whose network has no trained heads; train one with "
    "--run.start-from",
    "state": "the state of a run, for resuming only; model.safetensors beside it is for use",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds, ready for use.

    Attributes:
        model: with its weights, float32, in evaluation mode.
        labels: the classes it was trained on.
        experiment: the settings it was trained with.
        provenance: where the weights come from, see `provenance.py`.
    """

    model: PanopticDeepLab
    labels: LabelSpace
    experiment: Experiment
    provenance: dict[str, Any]


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    labels: LabelSpace,
    experiment: Experiment,
    provenance: Mapping[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model file, whole or not at all.

    Args:
        path: usually ends in `.safetensors`.
        model: a `PanopticDeepLab`.
        labels: its classes.
        experiment: its settings.
        provenance: anything JSON can hold; see `provenance.py` for keys with a meaning.
        dtype: of floating-point weights in the file; float16 halves it. They are float32 again
            after loading.
    """
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    header = _header("model", labels, experiment) | {"provenance": json.dumps(dict(provenance))}
    write_whole(path, serialize(tensors, header))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a model file; every weight must be there, and none may be left over.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, of another kind, or does not fit its own settings.
    """
    tensors, header = read_file(path, "model")
    labels = LabelSpace.from_dict(text_in(header, "labels", path))
    experiment = experiment_in(header, path)
    model = build_model(without_download(experiment.model), labels.num_classes)
    load_strictly(model, tensors, path)
    provenance = text_in(header, "provenance", path)
    if header["format_version"] == "1":
        provenance = from_version_1(provenance)
    return Checkpoint(model.eval(), labels, experiment, provenance)


def without_download(config: ModelConfig) -> ModelConfig:
    """The same network, but without timm's weights, where a file's own take their place."""
    options = {k: v for k, v in config.backbone_options.items() if k != "pretrained"}
    return config.model_copy(update={"backbone_options": options})


def start_from(model: PanopticDeepLab, labels: LabelSpace, source: Checkpoint) -> list[str]:
    """Give a new model the weights of a trained one, as a start for training.

    Args:
        model: of the same settings but for the number of classes; changed in place.
        labels: the classes it shall learn.
        source: where the weights come from.

    Returns:
        Names of the weights that were left as they were: none if the classes are the same ones,
        else those of the semantic head's last layer (as the paper's authors do from Mapillary
        Vistas to Cityscapes).

    Raises:
        ValueError: if the networks differ elsewhere, with names and shapes.
    """
    fresh: list[str] = []
    weights = dict(source.model.state_dict())
    if [(c.name, c.is_thing) for c in labels.classes] != [
        (c.name, c.is_thing) for c in source.labels.classes
    ]:
        own = model.state_dict()
        fresh = [name for name in own if name.startswith("semantic_head.predict.")]
        weights |= {name: own[name] for name in fresh}
    load_strictly(model, weights, "the model to start from")
    return fresh


@dataclass(frozen=True)
class TrainingState:
    """What a run needs to go on as if it had never stopped.

    Attributes:
        step: number of steps done.
        labels: of the training data.
        experiment: settings of the run.
        best_quality: best validation PQ so far, None before the first validation.
        loss_scale: its value and good steps, in float16; see `loss_scale.py`.
    """

    step: int
    labels: LabelSpace
    experiment: Experiment
    best_quality: float | None
    loss_scale: tuple[float, int] | None = None


def state_tensors(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
    *,
    wanted: bool = True,
) -> dict[str, Tensor]:
    """Everything of a run that is a tensor, for `save_state`.

    Processes that hold parts of it call this together; those that do not want it get nothing.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for number, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in entry.items()}
    kept = {}
    for name, value in tensors.items():
        full = whole(value.detach())
        if wanted:
            kept[name] = full.cpu().contiguous()
    return kept


def save_state(path: str | Path, tensors: dict[str, Tensor], state: TrainingState) -> None:
    """Write weights, optimizer and progress of a run, whole or not at all."""
    progress = {
        "step": state.step,
        "best_quality": state.best_quality,
        "loss_scale": state.loss_scale,
    }
    header = _header("state", state.labels, state.experiment) | {"progress": json.dumps(progress)}
    write_whole(path, serialize(tensors, header))


def read_state(path: str | Path) -> tuple[TrainingState, dict[str, Tensor]]:
    """Read a run's progress and its tensors, for `restore`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or of another kind.
    """
    tensors, header = read_file(path, "state")
    progress = text_in(header, "progress", path)
    labels = LabelSpace.from_dict(text_in(header, "labels", path))
    scale = progress.get("loss_scale")  # unknown to older files
    state = TrainingState(
        progress["step"],
        labels,
        experiment_in(header, path),
        progress["best_quality"],
        tuple(scale) if scale else None,
    )
    return state, tensors


def restore(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    average: nn.Module | None = None,
) -> None:
    """Put back what `state_tensors` took, bit for bit, or this process's part of it."""
    if average is not None:
        load_strictly(average, _named("average.", tensors), "the run's average")
    load_strictly(model, _named("model.", tensors), "the run's state")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in _named("optimizer.", tensors).items():
        number, name = key.split(".")
        entry = entries.setdefault(int(number), {})
        entry[name] = in_parts_as(_laid_out_as(value, weights[int(number)]), weights[int(number)])
    optimizer.load_state_dict(
        {"state": entries, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _laid_out_as(value: Tensor, weight: Tensor) -> Tensor:
    """In the weight's order of memory, which optimizers on a GPU need to go through all at once."""
    order = torch.channels_last
    if value.ndim != 4 or not weight.is_contiguous(memory_format=order):
        return value
    return value.contiguous(memory_format=order)


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _header(kind: str, labels: LabelSpace, experiment: Experiment) -> dict[str, str]:
    return {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": kind,
        "labels": json.dumps(labels.to_dict()),
        "experiment": experiment.model_dump_json(),
    }


def read_file(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of one of this package's files.

    Args:
        path: of the file.
        kind: "model", "backbone" or "state".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of another format, too new, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a weights file at {path}, there is none.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_kind(header, kind, path)
            return {key: file.get_tensor(key) for key in file.keys()}, header
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}). Was the download or copy "
            "cut short? Get it again."
        ) from error


def own_kind(path: str | Path) -> str | None:
    """What a file of this package holds: "model", "backbone" or "state".

    Returns:
        None for files of others, damaged or not, and where there is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return header.get("kind", "model") if header.get("format") == FORMAT else None


def _check_kind(header: Mapping[str, str], kind: str, path: Path) -> None:
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file but not one of this package's: its header lacks "
            f"format={FORMAT!r}."
        )
    check_version(header, path)
    if header.get("kind") != kind:
        wanted = {"model": "a model", "backbone": "a backbone", "state": "a run's state"}[kind]
        raise ValueError(
            f"{path} holds {_KINDS.get(header.get('kind', ''), 'another kind')}, expected {wanted}."
        )


def check_version(header: Mapping[str, str], path: Path) -> None:
    """Refuse files that a later version of this package wrote.

    Raises:
        ValueError: if the header's format version is newer than `FORMAT_VERSION`, or missing.
    """
    version = header.get("format_version", "")
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version!r}, this package reads up to {FORMAT_VERSION}. "
            "Update the package."
        )


def text_in(header: Mapping[str, str], key: str, path: str | Path) -> Any:
    """A text of a header, as plain data.

    Raises:
        ValueError: if it is missing or no JSON.
    """
    try:
        return json.loads(header[key])
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"The header of {path} has no readable {key!r}.") from error


def experiment_in(header: Mapping[str, str], path: str | Path) -> Experiment:
    """The settings in a header.

    Raises:
        ValueError: if they are missing or not valid.
    """
    try:
        return Experiment.model_validate_json(header.get("experiment", ""))
    except ValidationError as error:
        raise ValueError(f"The settings stored in {path} are not valid: {error}") from error


def load_strictly(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    source: object,
    *,
    names: Mapping[str, str] | None = None,
) -> None:
    """Give a module its weights; every one must be there, and none may be left over.

    Args:
        model: changed in place.
        tensors: by the module's names; their type becomes the module's.
        source: of the weights, for messages.
        names: the module's names -> those of the source, for messages.

    Raises:
        ValueError: listing what is missing, left over or of another shape.
    """
    own, names = model.state_dict(), names or {}
    missing = sorted(own.keys() - tensors.keys())
    extra = sorted(names.get(k, k) for k in tensors.keys() - own.keys())
    wrong = [
        f"{names.get(k, k)} is {tuple(tensors[k].shape)}, needs {tuple(own[k].shape)}"
        for k in sorted(own.keys() & tensors.keys())
        if own[k].shape != tensors[k].shape
    ]
    if missing or extra or wrong:
        raise ValueError(
            f"The weights of {source} do not fit the model its settings describe: "
            f"{_listed('missing', missing)}; {_listed('left over', extra)}; "
            f"{_listed('wrong shape', wrong)}."
        )
    model.load_state_dict({k: in_parts_as(v.to(own[k].dtype), own[k]) for k, v in tensors.items()})


def _listed(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {title}" + (f" ({shown})" if names else "")
