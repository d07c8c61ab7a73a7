"""Published weights of others -> this package's names, settings and classes.

The origin is recognised by the names of the weights. A new one is a file with its rules and a line
in `CONVERTERS`; recognition, the command line and the contract tests follow from the table.

    from panoptic_deeplab.convert import convert
    checkpoint = convert("model_final_bd324a.pkl")
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from panoptic_deeplab.backbone_weights import BackboneWeights, load_backbone_strictly
from panoptic_deeplab.backbones.classifier import ImageClassifier
from panoptic_deeplab.checkpoint import Checkpoint, load_strictly
from panoptic_deeplab.config import Experiment, InferenceConfig, ModelConfig
from panoptic_deeplab.convert import bowenc, deeplab, detectron2, imagenet
from panoptic_deeplab.convert.origin import Origin
from panoptic_deeplab.convert.read import read_tensors
from panoptic_deeplab.convert.rules import rename
from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.labels import LabelSpace, near_names
from panoptic_deeplab.model import build_model

CONVERTERS: dict[str, Origin] = {
    **detectron2.ORIGINS,
    **bowenc.ORIGINS,
    **imagenet.ORIGINS,
    **deeplab.ORIGINS,
}
"""Name of an origin to what is known of it."""

CLASSES = {19: "cityscapes", 133: "coco_panoptic", 65: "mapillary_v1_2"}
"""Number of classes of a published network -> the table they are taken from."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Renamed:
    """The weights of a file by our names.

    Attributes:
        path: of the file.
        origin: name in `CONVERTERS`.
        tensors: by our names; the backbone's begin with `backbone.`.
        classifier: those of a classifier behind the backbone, without `classifier.`.
        model: the fields of `ModelConfig` that file and origin imply.
        names: our name -> the publisher's.
    """

    path: Path
    origin: str
    tensors: dict[str, Tensor]
    classifier: dict[str, Tensor]
    model: dict[str, Any]
    names: dict[str, str]

    @property
    def is_backbone(self) -> bool:
        """Whether it is a backbone without decoders and heads."""
        return all(name.startswith("backbone.") for name in self.tensors)


def convert(
    path: str | Path, *, origin: str | None = None, labels: LabelSpace | None = None
) -> Checkpoint | BackboneWeights:
    """Read the weights of another publisher.

    Args:
        path: the file, in any of the forms that `read_tensors` knows.
        origin: name in `CONVERTERS`; None: whatever the names of the weights tell.
        labels: the classes of a whole network; None: those of the data set that has as many.

    Returns:
        A model with everything, or a backbone alone.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of no known or another origin, or if anything is missing,
            left over or of another shape than the network it should be.
    """
    return completed(renamed_weights(path, origin), labels)


def completed(renamed: Renamed, labels: LabelSpace | None = None) -> Checkpoint | BackboneWeights:
    """Load renamed weights into their network; arguments and errors as for `convert`."""
    config = ModelConfig(**renamed.model)
    told = {"converted_from": renamed.path.name, "origin": renamed.origin}
    if renamed.is_backbone:
        left = sorted(renamed.names[f"classifier.{name}"] for name in renamed.classifier)
        weights = BackboneWeights(renamed.tensors, config, told | {"left_out": left})
        load_backbone_strictly(weights, renamed.names, renamed.path)
        return weights
    count = renamed.tensors["semantic_head.predict.weight"].shape[0]
    labels = labels or _labels(count, renamed.path)
    if labels.num_classes != count:
        raise ValueError(
            f"{renamed.path} has {count} classes, {labels.name!r} {labels.num_classes}. The "
            "classes given must be those the network was trained on, in its order."
        )
    model = build_model(config, labels.num_classes)
    load_strictly(model, renamed.tensors, renamed.path, names=renamed.names)
    found = CONVERTERS[renamed.origin]
    experiment = Experiment(
        name=renamed.origin,
        model=config,
        grouping=found.grouping(labels.num_classes),
        inference=InferenceConfig(**found.inference(labels.num_classes)),
    )
    logger.info("%s is %s, %d classes.", renamed.path, found.title, labels.num_classes)
    return Checkpoint(model.eval(), labels, experiment, told)


def convert_classifier(path: str | Path, *, origin: str | None = None) -> ImageClassifier:
    """Read a whole network for images, with its classifier, to compare it with its publisher's.

    It takes normalised images; the output stride is 32, as it was trained.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as `convert`, or if the file has no classifier.
    """
    renamed = renamed_weights(path, origin)
    weights = BackboneWeights(renamed.tensors, ModelConfig(**renamed.model), {})
    hidden = renamed.classifier.get("hidden.0.weight")
    last = renamed.classifier.get("classify.weight")
    if last is None:
        raise ValueError(f"Expected a classifier behind the backbone in {path}, there is none.")
    network = ImageClassifier(
        weights.build(output_stride=32),
        last.shape[0],
        hidden_channels=None if hidden is None else hidden.shape[0],
    )
    tensors = renamed.tensors | {
        name: tensor.flatten(1) if tensor.ndim == 4 else tensor  # timm's hidden one is 1x1
        for name, tensor in renamed.classifier.items()
    }
    load_strictly(network, tensors, renamed.path, names=renamed.names)
    return network.eval()


def renamed_weights(path: str | Path, origin: str | None = None) -> Renamed:
    """Read a file and bring its names to ours; arguments and errors as for `convert`."""
    path = Path(path)
    tensors = read_tensors(path)
    name = origin_of(tensors, path, origin)
    found = CONVERTERS[name]
    renaming = rename(tensors, found.rules)
    ours = _with_counters({new: tensors[old] for old, new in renaming.items()})
    try:
        model = found.network({new: tuple(tensor.shape) for new, tensor in ours.items()})
        ours = found.adjust(ours)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} looks like {found.title}. {error}") from error
    behind = {k.removeprefix("classifier."): v for k, v in ours.items() if _is_classifier(k)}
    rest = {k: v for k, v in ours.items() if not _is_classifier(k)}
    names = {new: old for old, new in renaming.items()}
    return Renamed(path, name, rest, behind, model, names)


def origin_of(names: Mapping[str, Any], path: Path, wanted: str | None) -> str:
    """Which origin weights of these names have.

    Args:
        names: of the weights in the file.
        path: of the file, for messages.
        wanted: what the user says it is; None: anything.

    Raises:
        ValueError: if it is none, or not the one wanted.
    """
    if wanted is not None and wanted not in CONVERTERS:
        raise ValueError(f"Unknown origin {wanted!r}. {near_names(wanted, list(CONVERTERS))}")
    fitting = [name for name, origin in CONVERTERS.items() if origin.fits(names)]
    if not fitting:
        shown = ", ".join(list(names)[:3])
        raise ValueError(
            f"The weights in {path} ({shown}, ...) have names of no origin known: "
            f"{', '.join(CONVERTERS)}."
        )
    if wanted is not None and wanted not in fitting:
        raise ValueError(
            f"{path} is said to be of origin {wanted}, its weights have the names of "
            f"{fitting[0]} ({CONVERTERS[fitting[0]].title}). Leave the origin out."
        )
    return wanted or fitting[0]


def _with_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add what batch norms count since torch 0.4.1, which nothing here reads."""
    norms = [n.removesuffix("running_var") for n in tensors if n.endswith(".running_var")]
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | tensors


def known_title(names: Mapping[str, Any]) -> str:
    """What weights of these names are, in words; empty if no origin fits."""
    titles = (origin.title for origin in CONVERTERS.values() if origin.fits(names))
    return next(titles, "")


def _is_classifier(name: str) -> bool:
    return name.startswith("classifier.")


def _labels(count: int, path: str | Path) -> LabelSpace:
    if count not in CLASSES:
        known = ", ".join(f"{n} ({name})" for n, name in CLASSES.items())
        raise ValueError(
            f"{path} has {count} classes, and nothing says which. Known are networks of {known} "
            "classes; for others give a labels.json with their names (--labels)."
        )
    return read_table(CLASSES[count]).labels


__all__ = [
    "CONVERTERS",
    "Renamed",
    "completed",
    "convert",
    "convert_classifier",
    "known_title",
    "read_tensors",
    "renamed_weights",
]
