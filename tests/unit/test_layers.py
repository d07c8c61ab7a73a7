import pytest
import torch
from torch import nn

from panoptic_deeplab.layers import (
    ConvNormAct,
    FrozenBatchNorm2d,
    SeparableConv,
    initialize_he,
    replace_norms,
    resize,
    resize_nearest,
    resize_offset,
    upsample,
)
from panoptic_deeplab.shared_norm import SharedBatchNorm2d
from panoptic_deeplab.structures import Outputs


def offset_to(center, size):
    """(1, 2, H, W): from every pixel to one center."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack([center[0] - y, center[1] - x])[None].float()


@pytest.mark.parametrize("align_corners", [True, False])
def test_resize_to_the_own_size_changes_nothing(align_corners):
    x = torch.rand(1, 3, 5, 7)
    assert resize(x, (5, 7), align_corners=align_corners) is x
    assert resize_offset(x[:, :2], (5, 7), align_corners=align_corners).equal(x[:, :2])


def test_resize_keeps_corners_or_edges():
    x = torch.tensor([[[[0.0, 3.0]]]])
    # Aligned: samples at 0, 1/3, 2/3, 1. Not aligned: at -1/4 (held at the edge), 1/4, 3/4, 5/4.
    assert resize(x, (1, 4), align_corners=True).flatten().tolist() == [0, 1, 2, 3]
    assert resize(x, (1, 4), align_corners=False).flatten().tolist() == [0, 0.75, 2.25, 3]


def test_nearest_pixels_are_copies():
    x = torch.tensor([[[[1.0, 2.0]]]])
    assert resize_nearest(x, (2, 3))[0, 0].tolist() == [[1, 1, 2], [1, 1, 2]]
    assert resize_nearest(x, (1, 2)) is x


def test_offsets_still_point_to_the_center_with_aligned_corners():
    # One pixel of the 5 x 7 grid spans (17-1)/(5-1) = 4 rows and (31-1)/(7-1) = 5 columns.
    finer = resize_offset(offset_to((2, 3), (5, 7)), (17, 31), align_corners=True)
    assert torch.allclose(finer, offset_to((8, 15), (17, 31)), atol=1e-5)


def test_offsets_still_point_to_the_center_without_aligned_corners():
    # Row 2's middle, 2.5 pixels from the top edge, comes to 10, hence row 9.5; column 3: 16 (x 5).
    finer = resize_offset(offset_to((2, 3), (5, 7)), (20, 35), align_corners=False)
    expected = offset_to((9.5, 17), (20, 35))
    inside = (..., slice(2, -2), slice(3, -3))  # beyond, the border's value is held
    assert torch.allclose(finer[inside], expected[inside], atol=1e-5)


def test_offsets_of_a_single_sample_scale_with_the_size():
    one = torch.ones(1, 2, 1, 1)
    assert resize_offset(one, (4, 3), align_corners=True)[0, :, 0, 0].tolist() == [4, 3]


def test_offset_needs_two_channels():
    with pytest.raises(ValueError, match=r"\(B, 2, H, W\), got \(1, 1, 4, 4\)"):
        resize_offset(torch.zeros(1, 1, 4, 4), (8, 8), align_corners=True)


@pytest.mark.parametrize("align_corners", [True, False])
def test_upsample_brings_all_maps_to_one_grid(align_corners):
    outputs = Outputs(torch.rand(2, 5, 9, 9), torch.rand(2, 1, 9, 9), torch.ones(2, 2, 9, 9))
    full = upsample(outputs, (33, 65), align_corners=align_corners)
    assert [tuple(m.shape) for m in full] == [(2, 5, 33, 65), (2, 1, 33, 65), (2, 2, 33, 65)]
    ratio = (32 / 8, 64 / 8) if align_corners else (33 / 9, 65 / 9)
    assert full.offset[0, :, 0, 0].tolist() == pytest.approx(ratio)


@pytest.mark.parametrize("size", [7, 8])
def test_stride_rounds_up(size):
    layer = ConvNormAct(3, 4, 5, stride=2)
    assert layer(torch.zeros(2, 3, size, size)).shape == (2, 4, 4, 4)


def test_odd_sizes_stay_aligned():
    # The middle of output pixel i is input pixel 2 i: an impulse there is seen by the middle tap.
    layer = ConvNormAct(1, 1, 3, stride=2, activation=nn.Identity).eval()
    nn.init.zeros_(layer.conv.weight)
    layer.conv.weight.data[0, 0, 1, 1] = 1
    x = torch.arange(9.0).view(1, 1, 1, 9)
    assert layer(x)[0, 0, 0].tolist() == pytest.approx([0, 2, 4, 6, 8], rel=1e-4)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_dilation_keeps_the_size(dilation):
    assert SeparableConv(4, 8, 5, dilation=dilation)(torch.zeros(2, 4, 6, 9)).shape == (2, 8, 6, 9)


def test_no_activation_leaves_negative_values():
    x = torch.randn(4, 3, 5, 5)
    assert ConvNormAct(3, 4, 1, activation=nn.Identity)(x).min() < 0
    assert ConvNormAct(3, 4, 1)(x).min() == 0


def test_separable_convolution_has_one_norm_or_two():
    without = SeparableConv(4, 8, 5).state_dict()
    assert [k for k in without if k.endswith("weight")] == [
        "depthwise.conv.weight",
        "pointwise.conv.weight",
        "pointwise.norm.weight",
    ]
    parameters = sum(p.numel() for p in SeparableConv(4, 8, 5).parameters())
    assert parameters == 4 * 25 + 4 * 8 + 2 * 8
    assert "depthwise.norm.weight" in SeparableConv(4, 8, 5, depthwise_norm=True).state_dict()


def test_depthwise_norm_comes_with_an_activation():
    parts = dict(SeparableConv(4, 8, 3, depthwise_norm=True).depthwise.named_children())
    assert list(parts) == ["conv", "norm", "activation"]
    assert isinstance(parts["activation"], nn.ReLU)


@pytest.mark.parametrize(("groups", "fan_out"), [(1, 9 * 512), (512, 9), (32, 9 * 16)])
def test_he_counts_the_fan_of_one_group(groups, fan_out):
    torch.manual_seed(0)
    layer = nn.Conv2d(512, 512, 3, groups=groups)
    initialize_he(layer)
    assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert not layer.bias.any()


def test_he_resets_norms():
    norm = nn.BatchNorm2d(3)
    nn.init.constant_(norm.weight, 5)
    initialize_he(nn.Sequential(norm))
    assert norm.weight.tolist() == [1, 1, 1]


def trained_layer():
    layer = nn.Sequential(ConvNormAct(3, 24, 1, norm_epsilon=1e-3)).train()
    layer(torch.randn(4, 3, 5, 5) + 1)
    return layer


def test_frozen_norms_neither_learn_nor_count():
    layer = trained_layer()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    replace_norms(layer, "frozen")
    layer.train()
    x = torch.randn(4, 3, 5, 5)
    out = layer(x)
    after = layer.state_dict()
    assert list(after) == list(before)  # checkpoints fit both kinds
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [n for n, p in layer.named_parameters() if p.requires_grad] == ["0.conv.weight"]
    assert torch.equal(out, layer.eval()(x))


def test_replaced_norms_keep_epsilon_weights_and_statistics():
    layer = trained_layer()
    mean = layer[0].norm.running_mean.clone()
    layer[0].norm.momentum = 0.01
    replace_norms(layer, "sync")
    assert isinstance(layer[0].norm, SharedBatchNorm2d)
    assert (layer[0].norm.eps, layer[0].norm.momentum) == (1e-3, 0.01)
    assert torch.equal(layer[0].norm.running_mean, mean)


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (24, 6), (16, 4), (728, 28), (3, 1)])
def test_group_norm_takes_the_most_groups_that_divide(channels, groups):
    layer = nn.Sequential(nn.BatchNorm2d(channels))
    replace_norms(layer, "group")
    assert isinstance(layer[0], nn.GroupNorm)
    assert layer[0].num_groups == groups


@pytest.mark.parametrize("kind", ["sync", "group", "frozen"])
def test_norms_that_do_more_are_not_replaced(kind):
    class NormAndMore(nn.BatchNorm2d):
        pass

    layer = nn.Sequential(NormAndMore(3))
    replace_norms(layer, "batch")
    with pytest.raises(ValueError, match=rf"replaced by norm '{kind}', got NormAndMore.* 'batch'"):
        replace_norms(layer, kind)


def test_batch_norms_stay_where_nothing_else_is_asked_for():
    layer = trained_layer()
    norm = layer[0].norm
    replace_norms(layer, "batch")
    assert layer[0].norm is norm


def test_frozen_norms_stay_in_eval_mode():
    norm = FrozenBatchNorm2d(3)
    assert not norm.train().training
