"""A pre-trained backbone alone: what training starts from, and what cannot predict.

The file is this package's own (`checkpoint.py`), of the kind "backbone": its tensors are those of
the backbone, its experiment is no more than the network's settings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from panoptic_deeplab.backbones import Backbone, build_backbone
from panoptic_deeplab.checkpoint import (
    FORMAT,
    FORMAT_VERSION,
    experiment_in,
    load_strictly,
    read_file,
    text_in,
)
from panoptic_deeplab.config import Experiment, ModelConfig
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.model import PanopticDeepLab

PREFIX = "backbone."


@dataclass(frozen=True)
class BackboneWeights:
    """Weights of a backbone.

    Attributes:
        tensors: by the names they have in a whole network, `backbone.` in front.
        config: of a network around it: backbone, its options, pixel mean and deviation count.
        provenance: where they come from, see `provenance.py`.
    """

    tensors: dict[str, Tensor]
    config: ModelConfig
    provenance: dict[str, Any]

    def build(self, *, output_stride: int | None = None) -> Backbone:
        """The backbone by itself, with fresh weights."""
        return build_backbone(
            self.config.backbone,
            output_stride=output_stride or self.config.output_stride,
            norm_epsilon=self.config.backbone_norm_epsilon,
            options=self.config.backbone_options,
        )


def load_backbone_strictly(
    weights: BackboneWeights, names: Mapping[str, str], source: object
) -> Backbone:
    """Build the backbone with its weights; nothing may be missing or left over.

    Args:
        weights: see `BackboneWeights`.
        names: ours -> those of the file, for messages.
        source: of the weights, for messages.

    Raises:
        ValueError: if anything does not fit.
    """
    backbone = weights.build()
    plain = {name.removeprefix(PREFIX): tensor for name, tensor in weights.tensors.items()}
    told = {name.removeprefix(PREFIX): theirs for name, theirs in names.items()}
    load_strictly(backbone, plain, source, names=told)
    return backbone


def start_from_backbone(model: PanopticDeepLab, source: BackboneWeights) -> list[str]:
    """Give a new model's backbone trained weights.

    Args:
        model: with a backbone of the same kind; changed in place.
        source: where the weights come from.

    Returns:
        Names of the weights that were not used, such as those of a head for classification.

    Raises:
        ValueError: if weights the backbone needs are missing or of another shape.
    """
    own = {name for name in model.state_dict() if name.startswith(PREFIX)}
    unused = sorted(source.tensors.keys() - own)
    used = {n.removeprefix(PREFIX): t for n, t in source.tensors.items() if n in own}
    load_strictly(model.backbone, used, f"the backbone to start from ({source.config.backbone})")
    return unused


def save_backbone(
    path: str | Path, weights: BackboneWeights, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a backbone's file, whole or not at all.

    Args:
        path: usually ends in `.safetensors`.
        weights: see `BackboneWeights`.
        dtype: of floating-point weights in the file; float16 halves it.
    """
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in weights.tensors.items()
    }
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": "backbone",
        "experiment": Experiment(name="backbone", model=weights.config).model_dump_json(),
        "provenance": json.dumps(weights.provenance),
    }
    write_whole(path, serialize(tensors, header))


def read_backbone(path: str | Path) -> BackboneWeights:
    """Read what `save_backbone` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of another kind, or does not fit its settings.
    """
    tensors, header = read_file(path, "backbone")
    weights = BackboneWeights(
        tensors, experiment_in(header, path).model, text_in(header, "provenance", path)
    )
    load_backbone_strictly(weights, {}, path)
    return weights
