import re

import pytest
import torch

from panoptic_deeplab.backbones.xception import xception41, xception65, xception71
from standins import assert_features_equal


def timm_key(key: str) -> str:
    """Our name of a weight -> timm's, whose convolutions count from 1."""
    key = re.sub(r"^stem\.(\d)\.norm", r"stem.\1.bn", key)
    key = key.replace("shortcut.norm", "shortcut.bn")
    key = re.sub(r"convs\.(\d)", lambda match: f"stack.conv{int(match[1]) + 1}", key)
    for ours, theirs in (("depthwise", "dw"), ("pointwise", "pw")):
        key = key.replace(f"{ours}.conv", f"conv_{theirs}").replace(f"{ours}.norm", f"bn_{theirs}")
    return key


@pytest.mark.parametrize(
    ("builder", "name"), [(xception65, "timm_xception65"), (xception71, "timm_xception71")]
)
def test_features_equal_timm(builder, name):
    assert_features_equal(lambda stride: builder(output_stride=stride), name, timm_key)


@pytest.mark.parametrize(
    ("builder", "parameters"),
    [
        (xception71, 40_289_736),  # supplement: 46.72 M with both decoders
        (xception65, 37_867_312),
        (xception41, 37_867_312 - 8 * 1_618_344),  # half the middle flow
    ],
)
def test_number_of_parameters(builder, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in builder().parameters()) == parameters


def test_only_what_follows_a_removed_stride_is_dilated():
    with torch.device("meta"):
        backbone = xception71(output_stride=16)
    dilations = [b.convs[0].depthwise.conv.dilation[0] for b in backbone.blocks]
    assert dilations == [1] * 22 + [2]  # exit 1 lost its stride, exit 2 follows it
    strides = [b.convs[2].depthwise.conv.stride[0] for b in backbone.blocks]
    assert strides == [2, 1, 2, 1, 2] + [1] * 18


@pytest.mark.parametrize(("builder", "taps"), [(xception65, (1, 2)), (xception71, (2, 4))])
def test_features_lie_in_front_of_the_strides(builder, taps):
    with torch.device("meta"):
        backbone = builder()
    assert backbone.taps[:2] == taps
    assert backbone.channels == (256, 728, 728, 2048)
    assert backbone.strides == (4, 8, 16, 16)


def test_features_are_taken_before_any_relu():
    torch.manual_seed(0)
    features = xception41(middle=1).eval()(torch.randn(1, 3, 33, 33))
    assert all(f.min() < 0 for f in features[:-1])
    assert features[-1].min() == 0
