"""Panoptic-DeepLab of bowenc0221/panoptic-deeplab.

Facts: segmentation/model and the configurations of that repository; its MODEL_ZOO.md.
"""

from typing import Any

from panoptic_deeplab.config import GroupingConfig
from panoptic_deeplab.convert.imagenet import (
    HRNET,
    RESNET,
    TORCHVISION_MOBILENET_V2,
    hrnet,
    imagenet,
    resnet,
)
from panoptic_deeplab.convert.origin import Origin, Shapes, decoders, units
from panoptic_deeplab.convert.rules import Rule, below, numbered
from panoptic_deeplab.published_settings import HALF

# Separable convolutions are sequences inside sequences: depthwise with norm, pointwise, norm.
DECODER: tuple[Rule, ...] = (
    (r"^decoder\.(semantic|instance)_decoder\.", r"\1_decoder."),
    (r"\.aspp\.convs\.0\.", ".aspp.point."),
    (r"\.aspp\.convs\.([123])\.", numbered(".aspp.atrous.{}.")),
    (r"\.aspp\.convs\.4\.aspp_pooling\.1\.", ".aspp.pooled.conv."),
    (r"\.aspp\.project\.", ".aspp.fuse."),
    (r"^decoder\.semantic_head\.classifier\.semantic\.1\.", "semantic_head.predict."),
    (r"^decoder\.instance_head\.classifier\.(center|offset)\.1\.", r"\1_head.predict."),
    (r"^decoder\.semantic_head\.classifier\.semantic\.0\.", "semantic_head.conv."),
    (r"^decoder\.instance_head\.classifier\.(center|offset)\.0\.", r"\1_head.conv."),
    (r"(\.fuse\.\d|_head\.conv)\.0\.0\.0\.", r"\1.depthwise.conv."),
    (r"(\.fuse\.\d|_head\.conv)\.0\.0\.1\.", r"\1.depthwise.norm."),
    (r"(\.fuse\.\d|_head\.conv)\.0\.1\.", r"\1.pointwise.conv."),
    (r"(\.fuse\.\d|_head\.conv)\.0\.2\.", r"\1.pointwise.norm."),
    (r"(\.aspp\.point|\.atrous\.\d|\.aspp\.fuse|\.project\.\d)\.0\.", r"\1.conv."),
    (r"(\.aspp\.point|\.atrous\.\d|\.aspp\.fuse|\.project\.\d)\.1\.", r"\1.norm."),
)

XCEPTION: tuple[Rule, ...] = (
    (r"^conv(\d)\.", numbered("stem.{}.conv.")),
    (r"^bn(\d)\.", numbered("stem.{}.norm.")),
    (r"^block(\d+)\.", numbered("blocks.{}.")),
    (r"\.sep_conv(\d)\.block\.", numbered(".convs.{}.")),
    (r"\.depthwise\.(weight)$", r".depthwise.conv.\1"),
    (r"\.bn_depth\.", ".depthwise.norm."),
    (r"\.pointwise\.(weight)$", r".pointwise.conv.\1"),
    (r"\.bn_point\.", ".pointwise.norm."),
    (r"(blocks\.\d+)\.conv\.", r"\1.shortcut.conv."),
    (r"(blocks\.\d+)\.bn\.", r"\1.shortcut.norm."),
)

_OUTPUT_STRIDE = 32


def _network(shapes: Shapes, backbone: dict[str, Any]) -> dict[str, Any]:
    fixed = {"align_corners": True, "output_stride": _OUTPUT_STRIDE}
    # Also of HRNet, as its weights were published; its configuration was changed afterwards.
    return backbone | decoders(shapes) | fixed | {"atrous_rates": (3, 6, 9)}


def _xception(shapes: Shapes) -> dict[str, Any]:
    count = units(shapes, "backbone.blocks")
    if count != 21:
        raise ValueError(f"Expected Xception-65 with 21 blocks, got {count}.")
    # torch's own epsilon, unlike the networks of TensorFlow.
    return {
        "backbone": "xception65",
        "backbone_norm_epsilon": 1e-5,
        "pixel_mean": HALF,
        "pixel_std": HALF,
    }


def grouping(num_classes: int) -> GroupingConfig:
    """What its configurations and its post-processing do."""
    return GroupingConfig(stuff_area_px=2048, score="product", objectness_at="centroid")


def _origin(title: str, mark: str, rules: tuple[Rule, ...], backbone: Any) -> Origin:
    return Origin(
        f"Panoptic-DeepLab of bowenc0221 on {title}",
        (mark, "decoder.semantic_decoder.aspp.convs.0.0.weight"),
        (*DECODER, *below("backbone.", rules)),
        lambda shapes: _network(shapes, backbone(shapes)),
        grouping,
    )


ORIGINS: dict[str, Origin] = {
    "bowenc0221_resnet": _origin("ResNet", "backbone.layer4.2.bn3.weight", RESNET, resnet),
    "bowenc0221_xception": _origin(
        "Xception", "backbone.block1.sep_conv1.block.depthwise.weight", XCEPTION, _xception
    ),
    "bowenc0221_hrnet": _origin(
        "HRNet", "backbone.stage2.0.branches.0.0.conv1.weight", HRNET, hrnet
    ),
    "bowenc0221_mobilenet": _origin(
        "MobileNetV2",
        "backbone.features.1.conv.0.0.weight",
        TORCHVISION_MOBILENET_V2,
        lambda _: imagenet(backbone="mobilenet_v2"),
    ),
}
"""Names of publications to what is known of them."""
