"""What an origin of weights is, and what names and shapes alone tell about a network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from panoptic_deeplab.config import GroupingConfig
from panoptic_deeplab.convert.rules import Rule

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a weight -> its shape."""


@dataclass(frozen=True)
class Origin:
    """Where published weights come from.

    Attributes:
        title: what it is, in a few words.
        marks: names of weights of which each file of this origin has all.
        rules: from its names to ours; the backbone's begin with `backbone.`, those of a classifier
            behind it with `classifier.`.
        network: the shapes, by our names -> fields of `ModelConfig` that they and the origin
            imply; raises ValueError if no backbone here has such shapes.
        grouping: number of classes -> the publisher's way from heads to segments.
        inference: number of classes -> fields of `InferenceConfig`, the publisher's way of testing.
        absent: the marks of other origins that a file of this one has not.
        adjust: what to do with the weights themselves, by our names, after renaming.
    """

    title: str
    marks: tuple[str, ...]
    rules: Sequence[Rule]
    network: Callable[[Shapes], dict[str, Any]]
    grouping: Callable[[int], GroupingConfig] = field(default=lambda _: GroupingConfig())
    inference: Callable[[int], dict[str, Any]] = field(default=lambda _: {})
    absent: tuple[str, ...] = ()
    adjust: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict

    def fits(self, names: Mapping[str, Any]) -> bool:
        """Whether weights of these names are of this origin."""
        return all(m in names for m in self.marks) and not any(m in names for m in self.absent)


def decoders(shapes: Shapes) -> dict[str, Any]:
    """The fields of `ModelConfig` that describe ASPPs, decoders and heads.

    Args:
        shapes: by our names, of a whole network with two branches.

    Raises:
        ValueError: if one of the weights they are read from is missing.
    """
    try:
        return {
            "aspp_channels": shapes["semantic_decoder.aspp.fuse.conv.weight"][0],
            "aspp_separable": "semantic_decoder.aspp.atrous.0.depthwise.conv.weight" in shapes,
            "aspp_pooling": _pooling(shapes),
            "decoder_separable": "semantic_decoder.fuse.0.depthwise.conv.weight" in shapes,
            "center_head_separable": "center_head.conv.depthwise.conv.weight" in shapes,
            "depthwise_norm": any(n.endswith(".fuse.0.depthwise.norm.weight") for n in shapes),
            "semantic_channels": _width(shapes, "semantic_decoder"),
            "semantic_projections": _projections(shapes, "semantic_decoder"),
            "semantic_head_channels": shapes["semantic_head.predict.weight"][1],
            "instance_channels": _width(shapes, "instance_decoder"),
            "instance_projections": _projections(shapes, "instance_decoder"),
            "instance_head_channels": shapes["center_head.predict.weight"][1],
        }
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"Expected a whole network with two decoders and three heads, {error} is missing. "
            "Is this file a part of one?"
        ) from error


def units(shapes: Shapes, stage: str) -> int:
    """How many units a stage has, such as `backbone.stages.0`."""
    depth = stage.count(".") + 1
    return len({n.split(".")[depth] for n in shapes if n.startswith(stage + ".")})


def _pooling(shapes: Shapes) -> str:
    pooled = "semantic_decoder.aspp.pooled."
    if f"{pooled}norm.weight" in shapes:
        return "norm"
    return "bias" if f"{pooled}conv.bias" in shapes else "plain"


def _projections(shapes: Shapes, branch: str) -> tuple[int, ...]:
    count = units(shapes, f"{branch}.project")
    return tuple(shapes[f"{branch}.project.{i}.conv.weight"][0] for i in range(count))


def _width(shapes: Shapes, branch: str) -> int:
    name = f"{branch}.fuse.0"
    last = "pointwise" if f"{name}.pointwise.conv.weight" in shapes else "1"
    return shapes[f"{name}.{last}.conv.weight"][0]
