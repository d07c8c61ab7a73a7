"""Backbones of TensorFlow's DeepLab: Xception and ResNet with ImageNet weights, or of a DeepLab.

Facts: research/deeplab/core/xception.py and resnet_v1_beta.py of tensorflow/models; pixels from -1
to 1. The names are those that `tensorflow_files.py` makes of slim's.
"""

from typing import Any

from panoptic_deeplab.convert.origin import Origin, Shapes
from panoptic_deeplab.convert.rules import Rule, numbered
from panoptic_deeplab.published_settings import HALF

LEAF: tuple[Rule, ...] = (
    (r"\.BatchNorm\.", ".norm."),
    (r"(?<!\.norm)\.(weight)$", r".conv.\1"),
)

# ASPP, decoder and logits of a DeepLab are another network's: only its backbone is used.
OTHER: tuple[Rule, ...] = (
    (r"^(?!backbone\.)", "classifier.unused."),
    (r"^backbone\.logits\.", "classifier.unused.logits."),
)


def xception_rules(scope: str, entry: int, middle: int) -> tuple[Rule, ...]:
    """Rules of an Xception.

    Args:
        scope: of its names, such as xception_71.
        entry: blocks of the entry flow.
        middle: units of the middle flow.
    """
    unit = r"\.unit_1\.xception_module\."
    return (
        (rf"^{scope}\.", "backbone."),
        *OTHER,
        (r"^backbone\.entry_flow\.conv1_(\d)\.", numbered("backbone.stem.{}.")),
        (rf"^backbone\.entry_flow\.block(\d){unit}", numbered("backbone.blocks.{}.")),
        (
            r"^backbone\.middle_flow\.block1\.unit_(\d+)\.xception_module\.",
            numbered("backbone.blocks.{}.", less=1 - entry),
        ),
        (
            rf"^backbone\.exit_flow\.block(\d){unit}",
            numbered("backbone.blocks.{}.", less=1 - entry - middle),
        ),
        (r"\.separable_conv(\d)_(depthwise|pointwise)\.", numbered(r".convs.{}.\2.")),
        *LEAF,
    )


def resnet_rules(scope: str) -> tuple[Rule, ...]:
    """Rules of a ResNet of the beta form: three convolutions at its start."""
    return (
        (rf"^{scope}\.", "backbone."),
        *OTHER,
        (r"^backbone\.conv1_(\d)\.", numbered("backbone.stem.{}.")),
        (
            r"^backbone\.block(\d)\.unit_(\d+)\.bottleneck_v1\.",
            lambda m: f"backbone.stages.{int(m[1]) - 1}.{int(m[2]) - 1}.",
        ),
        (r"\.conv1\.", ".reduce."),
        (r"\.conv2\.", ".spatial."),
        (r"\.conv3\.", ".expand."),
        *LEAF,
    )


def _network(backbone: str) -> Any:
    def network(shapes: Shapes) -> dict[str, Any]:
        return {"backbone": backbone, "pixel_mean": HALF, "pixel_std": HALF}

    return network


def _xception(depth: int, entry: int, middle: int) -> Origin:
    scope = f"xception_{depth}"
    return Origin(
        f"Xception-{depth} of TensorFlow's DeepLab",
        (f"{scope}.entry_flow.conv1_1.weight",),
        xception_rules(scope, entry, middle),
        _network(f"xception{depth}"),
    )


def _resnet(depth: int) -> Origin:
    scope = f"resnet_v1_{depth}"
    return Origin(
        f"ResNet-{depth} (beta) of TensorFlow's DeepLab",
        (f"{scope}.conv1_1.weight",),
        resnet_rules(scope),
        _network(f"resnet{depth}_beta"),
    )


ORIGINS: dict[str, Origin] = {
    "deeplab_xception41": _xception(41, 3, 8),
    "deeplab_xception65": _xception(65, 3, 16),
    "deeplab_xception71": _xception(71, 5, 16),
    "deeplab_resnet50": _resnet(50),
    "deeplab_resnet101": _resnet(101),
}
"""Names of publications to what is known of them."""
