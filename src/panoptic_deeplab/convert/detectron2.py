"""Panoptic-DeepLab of detectron2's model zoo, and the ImageNet backbones it starts from.

Facts: projects/Panoptic-DeepLab of facebookresearch/detectron2, its configurations and heads.
"""

from typing import Any

import torch
from torch import Tensor

from panoptic_deeplab.convert.imagenet import imagenet, resnet
from panoptic_deeplab.convert.origin import Origin, Shapes, decoders, units
from panoptic_deeplab.convert.rules import Rule, numbered
from panoptic_deeplab.layers import NORM_EPSILON
from panoptic_deeplab.published_settings import (
    DETECTRON2_CROP,
    detectron2_grouping,
    detectron2_inference,
)

# Convolutions hold their norm: X.weight and X.norm.weight.
BACKBONE: tuple[Rule, ...] = (
    (r"^backbone\.stem\.conv(\d)\.", numbered("backbone.stem.{}.")),
    (r"^backbone\.res(\d)\.", numbered("backbone.stages.{}.", less=2)),
    (r"^(backbone\.stages\.\d\.\d+)\.conv1\.", r"\1.reduce."),
    (r"^(backbone\.stages\.\d\.\d+)\.conv2\.", r"\1.spatial."),
    (r"^(backbone\.stages\.\d\.\d+)\.conv3\.", r"\1.expand."),
)

CONVOLUTION: Rule = (r"(?<!\.norm)(?<!\.predict)(?<!\.classify)\.(weight|bias)$", r".conv.\1")

HEADS: tuple[Rule, ...] = (
    (r"^sem_seg_head\.decoder\.", "semantic_decoder."),
    (r"^ins_embed_head\.decoder\.", "instance_decoder."),
    (r"\.res5\.project_conv\.convs\.0\.", ".aspp.point."),
    (r"\.res5\.project_conv\.convs\.([123])\.", numbered(".aspp.atrous.{}.")),
    (r"\.res5\.project_conv\.convs\.4\.1\.", ".aspp.pooled."),
    (r"\.res5\.project_conv\.project\.", ".aspp.fuse."),
    (r"\.res3\.project_conv\.", ".project.0."),
    (r"\.res2\.project_conv\.", ".project.1."),
    (r"\.res3\.fuse_conv\.", ".fuse.0."),
    (r"\.res2\.fuse_conv\.", ".fuse.1."),
    (r"^sem_seg_head\.head\.", "semantic_head.conv."),
    (r"^sem_seg_head\.predictor\.", "semantic_head.predict."),
    (r"^ins_embed_head\.(center|offset)_head\.", r"\1_head.conv."),
    (r"^ins_embed_head\.(center|offset)_predictor\.", r"\1_head.predict."),
)


def low_level_last(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reorder what a decoder's convolutions read: detectron2 puts the low-level feature first.

    Args:
        tensors: by our names.
    """
    changed = dict(tensors)
    for branch in ("semantic_decoder", "instance_decoder"):
        for i in (0, 1):
            low = tensors[f"{branch}.project.{i}.conv.weight"].shape[0]
            fuse = f"{branch}.fuse.{i}."
            # Channels are the first axis of everything depthwise, the second of dense convolutions.
            for name in [n for n in tensors if n.startswith(f"{fuse}depthwise.")]:
                if tensors[name].ndim:
                    changed[name] = tensors[name].roll(-low, 0)
            for name in (f"{fuse}pointwise.conv.weight", f"{fuse}0.conv.weight"):
                if name in tensors:
                    changed[name] = tensors[name].roll(-low, 1)
    return changed


def panoptic(shapes: Shapes) -> dict[str, Any]:
    """The network of a whole model."""
    window = DETECTRON2_CROP.get(shapes["semantic_head.predict.weight"][0])
    more = {"aspp_pooling_size": window, "align_corners": False, "output_stride": 16}
    return backbone(shapes) | decoders(shapes) | more


def backbone(shapes: Shapes) -> dict[str, Any]:
    """The backbone alone."""
    counts = tuple(units(shapes, f"backbone.stages.{i}") for i in range(4))
    stem = shapes.get("backbone.stem.0.conv.weight")
    if counts != (3, 4, 6, 3) or stem != (64, 3, 3, 3):
        raise ValueError(
            f"Expected ResNet-52, got blocks of {counts} units and a first convolution of {stem}. "
            "Other backbones of detectron2 are not known here."
        )
    return imagenet(backbone="resnet52")


MSRA: tuple[Rule, ...] = (
    (r"^fc1000_w$", "classifier.classify.weight"),
    (r"^fc1000_b$", "classifier.classify.bias"),
    (r"^conv1_w$", "backbone.stem.0.conv.weight"),
    (r"^res_conv1_bn_", "backbone.stem.0.norm_"),
    (r"^res(\d)_(\d+)_branch", numbered(r"backbone.stages.{}.\2.", less=2)),
    (r"\.1_", ".shortcut_"),
    (r"\.2a_", ".reduce_"),
    (r"\.2b_", ".spatial_"),
    (r"\.2c_", ".expand_"),
    (r"_bn_", ".norm_"),
    (r"\.norm_s$", ".norm.weight"),
    (r"\.norm_b$", ".norm.bias"),
    (r"_w$", ".conv.weight"),
)
"""Names of Caffe2."""


def msra(shapes: Shapes) -> dict[str, Any]:
    """The network of MSRA's weights: pixels less their mean, stride in the first 1x1."""
    return resnet(shapes) | {
        "backbone_options": {"stride_conv": "reduce"},
        "pixel_std": (1.0, 1.0, 1.0),
    }


def plain_norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the statistics that are folded into MSRA's norms, and turn blue-green-red around.

    Args:
        tensors: by our names.
    """
    changed = dict(tensors)
    for name in tensors:
        if name.endswith(".norm.weight"):
            norm = name.removesuffix("weight")
            changed[f"{norm}running_mean"] = torch.zeros_like(tensors[name])
            # So that the norm's own epsilon makes it 1.
            changed[f"{norm}running_var"] = torch.full_like(tensors[name], 1 - NORM_EPSILON)
            changed[f"{norm}num_batches_tracked"] = torch.tensor(0)
    stem = "backbone.stem.0.conv.weight"
    changed[stem] = tensors[stem].flip(1)
    return changed


ORIGINS: dict[str, Origin] = {
    "detectron2": Origin(
        "Panoptic-DeepLab of detectron2",
        (
            "backbone.stem.conv1.weight",
            "sem_seg_head.predictor.weight",
            "ins_embed_head.center_predictor.weight",
        ),
        (*BACKBONE, *HEADS, CONVOLUTION),
        panoptic,
        detectron2_grouping,
        detectron2_inference,
        adjust=low_level_last,
    ),
    "detectron2_r52": Origin(
        "ResNet-52 of detectron2, trained on ImageNet",
        ("stem.conv3.weight", "res2.0.conv1.weight"),
        (
            (r"^fc\.(weight|bias)$", r"classifier.classify.\1"),
            (r"^(?!classifier\.)", "backbone."),
            *BACKBONE,
            CONVOLUTION,
        ),
        backbone,
    ),
    "detectron2_r50": Origin(
        "ResNet-50 or -101 of MSRA, as detectron2 publishes it",
        ("conv1_w", "res2_0_branch2a_w"),
        MSRA,
        msra,
        adjust=plain_norms,
    ),
}
"""Names of publications to what is known of them."""
