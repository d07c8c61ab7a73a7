"""The table of backbones, and the one function that builds from it.

A new backbone is a file with its builder and a line in `BACKBONES`; the contract tests, the
command line and the table of models follow from the table.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from panoptic_deeplab.backbones.autodeeplab import (
    auto_deeplab_l,
    auto_deeplab_l_plus,
    auto_deeplab_m,
    auto_deeplab_s,
    auto_deeplab_xl,
    auto_deeplab_xl_plus,
)
from panoptic_deeplab.backbones.base import Backbone
from panoptic_deeplab.backbones.hrnet import (
    hrnet_w18,
    hrnet_w32,
    hrnet_w48,
    hrnet_w48_plus,
    hrnet_wider_plus,
)
from panoptic_deeplab.backbones.mobilenet import (
    efficientnet_lite0,
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_large_reduced,
    mobilenet_v3_small,
)
from panoptic_deeplab.backbones.resnet import (
    resnet50,
    resnet50_beta,
    resnet52,
    resnet101,
    resnet101_beta,
    resnext101_32x8d,
)
from panoptic_deeplab.backbones.timm_bridge import PREFIX, TimmBackbone
from panoptic_deeplab.backbones.xception import xception41, xception65, xception71
from panoptic_deeplab.labels import near_names

__all__ = ["BACKBONES", "Backbone", "build_backbone"]

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "auto_deeplab_l": auto_deeplab_l,
    "auto_deeplab_l_plus": auto_deeplab_l_plus,
    "auto_deeplab_m": auto_deeplab_m,
    "auto_deeplab_s": auto_deeplab_s,
    "auto_deeplab_xl": auto_deeplab_xl,
    "auto_deeplab_xl_plus": auto_deeplab_xl_plus,
    "efficientnet_lite0": efficientnet_lite0,
    "hrnet_w18": hrnet_w18,
    "hrnet_w32": hrnet_w32,
    "hrnet_w48": hrnet_w48,
    "hrnet_w48_plus": hrnet_w48_plus,
    "hrnet_wider_plus": hrnet_wider_plus,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_large_reduced": mobilenet_v3_large_reduced,
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet50": resnet50,
    "resnet50_beta": resnet50_beta,
    "resnet52": resnet52,
    "resnet101": resnet101,
    "resnet101_beta": resnet101_beta,
    "resnext101_32x8d": resnext101_32x8d,
    "xception41": xception41,
    "xception65": xception65,
    "xception71": xception71,
}
"""Name to builder; every builder takes `output_stride` and `norm_epsilon`, and its own options."""

_SHARED = ("output_stride", "norm_epsilon")
"""Set by the arguments of `build_backbone`, therefore not among the options."""


def build_backbone(
    name: str,
    *,
    output_stride: int,
    norm_epsilon: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build a backbone with fresh weights.

    Args:
        name: in `BACKBONES`, or `timm:NAME`; see `TimmBackbone`.
        output_stride: input pixels per pixel of the last feature map.
        norm_epsilon: of its batch norms; None: its own default.
        options: further arguments of its builder.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest ones.

    Example:
        >>> build_backbone("mobilenet_v3_small", output_stride=16).strides
        (4, 8, 16, 16)
    """
    builder = _builder(name)
    options = dict(options or {})
    known = [n for n in inspect.signature(builder).parameters if n not in _SHARED]
    for option in options:
        if option not in known:
            raise ValueError(
                f"Backbone {name!r} has no option {option!r}. {near_names(option, known)}"
            )
    if norm_epsilon is not None:
        options["norm_epsilon"] = norm_epsilon
    return builder(output_stride=output_stride, **options)


def _builder(name: str) -> Callable[..., Backbone]:
    if name.startswith(PREFIX):
        return partial(TimmBackbone, name.removeprefix(PREFIX))
    if name not in BACKBONES:
        raise ValueError(
            f"Unknown backbone {name!r}. {near_names(name, list(BACKBONES))} "
            f"Networks of timm are named {PREFIX}NAME."
        )
    return BACKBONES[name]
