import re

import pytest
import torch

from panoptic_deeplab.backbones.resnet import (
    ResNet,
    resnet50,
    resnet50_beta,
    resnet52,
    resnet101,
    resnext101_32x8d,
)
from standins import assert_features_equal


def torchvision_key(key: str) -> str:
    """Our name of a weight -> torchvision's and timm's."""
    key = key.replace("stem.0.conv", "conv1").replace("stem.0.norm", "bn1")
    key = re.sub(r"stages\.(\d)", lambda match: f"layer{int(match[1]) + 1}", key)
    for number, part in enumerate(("reduce", "spatial", "expand"), start=1):
        key = key.replace(f"{part}.conv", f"conv{number}").replace(f"{part}.norm", f"bn{number}")
    return key.replace("shortcut.conv", "downsample.0").replace("shortcut.norm", "downsample.1")


def spatial(backbone, attribute):
    """An attribute of the 3x3 convolutions, block by block."""
    return [[getattr(u.spatial.conv, attribute)[0] for u in stage] for stage in backbone.stages]


def test_features_equal_timm():
    assert_features_equal(
        lambda stride: resnet50(output_stride=stride), "timm_resnet50", torchvision_key
    )


@pytest.mark.parametrize(
    ("builder", "parameters"),
    [
        (resnet50, 23_508_032),  # torchvision's, without its classifier
        (resnet101, 42_500_160),
        (resnext101_32x8d, 86_742_336),
        (resnet50_beta, 23_631_808),
        (resnet52, 23_631_808),
    ],
)
def test_number_of_parameters(builder, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in builder().parameters()) == parameters


def test_beta_form_strides_in_the_last_unit():
    with torch.device("meta"):
        backbone = resnet50_beta(output_stride=16)
    assert spatial(backbone, "stride") == [[1, 1, 2], [1, 1, 1, 2], [1] * 6, [1] * 3]
    assert spatial(backbone, "dilation") == [[1] * 3, [1] * 4, [1] * 6, [2] * 3]
    assert backbone.strides == (4, 8, 16, 16)  # the features lie in front of the stride


def test_beta_form_subsamples_the_identity():
    backbone = resnet50_beta(output_stride=32).eval()
    unit = backbone.stages[0][2]
    torch.nn.init.zeros_(unit.expand.norm.weight)
    x = torch.rand(1, 256, 5, 7)
    assert unit.shortcut is None
    assert torch.equal(unit(x), x[:, :, ::2, ::2])


def test_torchvision_form_strides_in_the_first_unit():
    with torch.device("meta"):
        backbone = resnet50(output_stride=8)
    assert spatial(backbone, "stride") == [[1] * 3, [2, 1, 1, 1], [1] * 6, [1] * 3]
    assert spatial(backbone, "dilation") == [[1] * 3, [1] * 4, [1, *[2] * 5], [2, 4, 4]]


def test_detectron2_form_dilates_every_unit_of_the_last_block():
    with torch.device("meta"):
        backbone = resnet52(output_stride=16)
    assert spatial(backbone, "dilation")[3] == [2, 4, 8]  # 2 times multi-grid (1, 2, 4)
    assert [s.conv.out_channels for s in backbone.stem] == [64, 64, 128]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "deep"}, "stem must be one of 'plain', 'deeplab', got 'deep'"),
        ({"stride_unit": "second"}, "stride_unit must be one of 'first', 'last', got 'second'"),
        ({"multi_grid": (1, 2)}, r"one factor for each of the 3 units .* got \(1, 2\)"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(units=(3, 4, 6, 3), **options)
