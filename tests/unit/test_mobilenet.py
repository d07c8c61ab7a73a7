import re
from functools import partial

import pytest
import torch

from panoptic_deeplab.backbones.mobilenet import (
    InvertedResidual,
    SqueezeExcite,
    efficientnet_lite0,
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_large_reduced,
    mobilenet_v3_small,
)
from standins import assert_features_equal


def timm_key(key: str, *, last_stage: int) -> str:
    """Our name of a weight -> timm's; its first stage has no expansion, so counts one less."""
    first = key.startswith("stages.0.")
    names = {
        "expand": ("conv_pw", "bn1"),
        "depthwise": ("conv_dw", "bn1" if first else "bn2"),
        "project": ("conv_pw", "bn2") if first else ("conv_pwl", "bn3"),
    }
    key = key.replace("squeeze.reduce", "se.conv_reduce")
    key = key.replace("squeeze.expand", "se.conv_expand")
    for ours, (conv, norm) in names.items():
        key = key.replace(f"{ours}.conv", conv).replace(f"{ours}.norm", norm)
    key = key.replace("stem.conv", "conv_stem").replace("stem.norm", "bn1")
    key = key.replace("head.conv", f"blocks.{last_stage}.0.conv")
    key = key.replace("head.norm", f"blocks.{last_stage}.0.bn1")
    return re.sub(r"^stages\.", "blocks.", key)


@pytest.mark.parametrize(
    ("builder", "name", "last_stage"),
    [
        (mobilenet_v3_large, "timm_mobilenetv3_large_100", 6),
        (mobilenet_v3_small, "timm_mobilenetv3_small_100", 5),
    ],
)
def test_features_equal_timm(builder, name, last_stage):
    assert_features_equal(
        lambda stride: builder(output_stride=stride), name, partial(timm_key, last_stage=last_stage)
    )


@pytest.mark.parametrize(
    ("builder", "parameters"),
    [
        (mobilenet_v3_large, 2_971_952),  # timm's, without classifier
        (mobilenet_v3_small, 927_008),
        (mobilenet_v3_large_reduced, 1_379_184),
        (mobilenet_v2, 3_504_872 - 1_281_000 - 412_160),  # less classifier and last 1x1
        (efficientnet_lite0, 4_652_008 - 1_281_000 - 412_160),
    ],
)
def test_number_of_parameters(builder, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in builder().parameters()) == parameters


def test_reduced_form_taps_the_depthwise_parts():
    with torch.device("meta"):
        backbone = mobilenet_v3_large_reduced()
    assert backbone.channels == (72, 120, 672, 480)
    assert backbone.strides == (4, 8, 16, 16)


def test_last_block_is_dilated_behind_its_first_unit():
    with torch.device("meta"):
        backbone = mobilenet_v3_large_reduced(output_stride=16)
    dilations = [b.depthwise.conv.dilation[0] for b in backbone.stages[-1]]
    assert dilations == [1, 2, 2]  # layers 15 and 16 of slim's table


@pytest.mark.parametrize(
    ("channels", "inside"),
    [(16, 8), (72, 24), (88, 24), (96, 24), (240, 64), (576, 144), (960, 240)],
)
def test_squeeze_width_is_a_quarter_rounded_to_eight(channels, inside):
    # 72 / 4 = 18 would round down to 16, less than nine tenths of it, hence 24.
    assert SqueezeExcite(channels).reduce.out_channels == inside


def test_identity_only_where_shapes_agree():
    unit = mobilenet_v3_small.keywords["stages"][2][1][1]  # 40 channels out
    make = partial(InvertedResidual, unit=unit, dilation=1, norm_epsilon=1e-5)
    assert make(40, stride=1).has_shortcut
    assert not make(40, stride=2).has_shortcut
    assert not make(24, stride=1).has_shortcut
