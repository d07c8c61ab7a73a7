"""Every network made for predicting gives what the plain one gives."""

import pytest
import torch
from test_backbones import CHEAP, OUTPUT_STRIDES, runs
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from panoptic_deeplab.backbones import BACKBONES, build_backbone
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.depthwise import DepthwiseConv
from panoptic_deeplab.inference import ShiftedDepthwise, fold, optimize
from panoptic_deeplab.layers import replace_norms
from panoptic_deeplab.model import build_model

TOLERANCE = 1e-4
"""Of the largest value; `optimize_for_inference` promises it."""


def disturb_norms(model: nn.Module) -> None:
    """Statistics and weights as after training: folding those of a fresh norm would do nothing."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            for values, low, high in (
                (part.weight.data, 0.7, 1.3),
                (part.bias.data, -0.2, 0.2),
                (part.running_mean, -0.2, 0.2),
                (part.running_var, 0.5, 1.5),
            ):
                values.uniform_(low, high, generator=generator)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.dtype == theirs.dtype
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("name", runs(BACKBONES))
def test_every_backbone_gives_the_same(name: str) -> None:
    torch.manual_seed(0)
    stride = OUTPUT_STRIDES[name][:2][-1]
    plain = build_backbone(name, output_stride=stride, options=CHEAP.get(name, {})).eval()
    disturb_norms(plain)
    fast = optimize(plain)
    assert not [part for part in fast.modules() if isinstance(part, _BatchNorm)]
    with torch.no_grad():
        image = torch.randn(1, 3, 65, 97)
        for ours, theirs in zip(fast(image), plain(image), strict=True):
            assert_close(ours, theirs)
    assert [part for part in plain.modules() if isinstance(part, _BatchNorm)]


@pytest.mark.parametrize("aspp_separable", [False, True])
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_whole_network(dtype: torch.dtype, norm: str, aspp_separable: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="mobilenet_v3_small", norm=norm, aspp_separable=aspp_separable, aspp_channels=32
    )
    plain = build_model(config, 5).eval()
    disturb_norms(plain)
    fast = plain.optimize_for_inference(dtype=dtype)
    kinds = {type(part) for part in fast.modules()}
    assert (ShiftedDepthwise in kinds) == aspp_separable
    weights = {parameter.dtype for parameter in fast.backbone.parameters()}
    assert weights == {dtype}
    images = torch.randint(0, 256, (2, 3, 97, 129), dtype=torch.uint8)
    with torch.no_grad():
        for ours, theirs in zip(fast(images), plain(images), strict=True):
            assert_close(ours, theirs, TOLERANCE if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet50_beta"])
def test_no_map_changes_its_order_of_memory(backbone: str) -> None:
    """Torch would copy it there and back around each convolution, without a word."""
    config = ModelConfig(backbone=backbone, aspp_channels=32)
    fast = build_model(config, 5).optimize_for_inference()
    others = []

    def look(part: nn.Module, maps: tuple[torch.Tensor, ...]) -> None:
        if not maps[0].is_contiguous(memory_format=torch.channels_last):
            others.append((part, maps[0].shape))

    for name, part in fast.named_modules():
        if isinstance(part, nn.Conv2d) and "pooled" not in name and "squeeze" not in name:
            part.register_forward_pre_hook(look)
    with torch.no_grad():
        image = torch.zeros(1, 3, 97, 129, dtype=torch.uint8)
        fast(image.to(memory_format=torch.channels_last))
    assert not others


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (17, 33)])
@pytest.mark.parametrize("dilation", [6, 18])
def test_shifted_maps_add_up_to_the_convolution(size: tuple[int, int], dilation: int) -> None:
    conv = DepthwiseConv(8, 3, dilation=dilation)
    x = torch.randn(2, 8, *size)
    with torch.no_grad():
        assert_close(ShiftedDepthwise(conv)(x), conv(x), 1e-6)


def test_folding_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0).eval()
    conv.weight.data[:], conv.bias.data[:] = 3, 1
    norm.weight.data[:], norm.bias.data[:] = 2, 5
    norm.running_mean[:], norm.running_var[:] = 7, 4
    folded = fold(conv, norm)
    # 2 * (3 x + 1 - 7) / 2 + 5
    assert folded.weight.item() == 3
    assert folded.bias.item() == -1


class Standardized(nn.Conv2d):
    """Computes with other weights than it holds, as some of timm's do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.weight.norm()
        return nn.functional.conv2d(x, weight, self.bias)


def test_what_does_more_than_a_convolution_stays() -> None:
    plain = nn.Sequential(Standardized(3, 4, 1), nn.BatchNorm2d(4)).eval()
    disturb_norms(plain)
    x = torch.randn(1, 3, 5, 5)
    with torch.no_grad():
        assert_close(optimize(plain)(x), plain(x), 1e-6)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be torch.float32 or torch.bfloat16, got torch.flo"):
        optimize(nn.Sequential(), dtype=torch.float16)


def test_norms_of_groups_stay() -> None:
    plain = build_backbone("mobilenet_v3_small", output_stride=16, options={})
    replace_norms(plain, "group")
    kinds = {type(part) for part in optimize(plain).modules()}
    assert nn.GroupNorm in kinds
