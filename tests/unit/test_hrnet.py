import re
from functools import partial

import numpy as np
import pytest
import torch

from panoptic_deeplab.backbones.exchange import Grid
from panoptic_deeplab.backbones.hrnet import (
    HRNet,
    hrnet_w18,
    hrnet_w32,
    hrnet_w48,
    hrnet_w48_plus,
    hrnet_wider_plus,
)
from standins import FEATURES, reference_image, relative_error, standin


def official_key(key: str) -> str:
    """Our name of a weight -> the official networks' and timm's."""
    key = re.sub(r"^stem\.(\d)\.conv", lambda m: f"conv{int(m[1]) + 1}", key)
    key = re.sub(r"^stem\.(\d)\.norm", lambda m: f"bn{int(m[1]) + 1}", key)
    for number, part in enumerate(("reduce", "spatial", "expand"), start=1):
        key = key.replace(f"{part}.conv", f"conv{number}").replace(f"{part}.norm", f"bn{number}")
    for number, part in enumerate((".first", ".second"), start=1):
        key = key.replace(f"{part}.conv", f".conv{number}").replace(f"{part}.norm", f".bn{number}")
    key = key.replace("shortcut.conv", "downsample.0").replace("shortcut.norm", "downsample.1")
    key = re.sub(r"^first\.", "layer1.", key)
    key = re.sub(r"^stages\.(\d)", lambda m: f"stage{int(m[1]) + 2}", key)
    key = re.sub(r"\.conv\.", ".0.", key)
    key = re.sub(r"\.norm\.", ".1.", key)
    key = re.sub(r"^head\.widen\.(\d)", r"incre_modules.\1.0", key)
    key = key.replace("head.down", "downsamp_modules").replace("head.final", "final_layer")
    key = key.replace("exchange", "fuse_layers")
    # Where a branch begins, the official networks have a chain of one convolution, except for
    # the first branch, which goes on.
    match = re.match(r"transitions\.(\d)\.(\d)\.(.*)", key)
    if match:
        stage, branch, rest = int(match[1]) + 1, int(match[2]), match[3]
        return f"transition{stage}.{branch}." + (rest if branch == 0 else f"0.{rest}")
    return key


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def tiny(**options):
    """One module of one block per stage; what is checked does not depend on their number."""
    torch.manual_seed(0)
    channels = (8, 12, 16, 20)
    return HRNet(channels=channels, modules=(1, 1, 1), blocks=1, **options).eval()


def test_branches_equal_timm():
    with np.load(FEATURES / "timm_hrnet_w48.npz") as file:
        model = standin(partial(hrnet_w48, output_stride=32, upsampling="nearest"), official_key)
        with torch.no_grad():
            branches = model(reference_image(file))
        for i, branch in enumerate(branches):
            assert relative_error(branch[0, ::4], file[f"branch{i}"]) < 1e-5


@pytest.mark.parametrize(
    ("builder", "number"),
    [
        (hrnet_w48, 65_325_120),
        (partial(hrnet_w48, head="segmentation"), 65_859_379 - 721 * 19),  # less the predictor
        (hrnet_w48_plus, 77_469_864 - 2_049_000),  # timm's, less its last layer
        (
            hrnet_wider_plus,
            48_959_936 + 24_192 + 70_400 + 461_312 + 1_348_608 + 6_198_528 + 2_103_296,
        ),
        (
            partial(hrnet_wider_plus, head="branches", blocks=3, separable_transition=True),
            40_006_720,
        ),
        (partial(hrnet_wider_plus, head="branches", separable_exchange=True), 32_614_272),
    ],
)
def test_number_of_parameters(builder, number):
    with torch.device("meta"):
        assert parameters(builder()) == number


def test_parts_have_their_number_of_parameters():
    with torch.device("meta"):
        model = hrnet_w48_plus()
    assert parameters(model.stem) == 38_848
    assert parameters(model.first) == 286_208
    assert [parameters(t) for t in model.transitions] == [332_064, 166_272, 664_320]
    assert [parameters(s) for s in model.stages] == [878_112, 15_335_040, 47_624_256]
    assert [parameters(w) for w in model.head.widen] == [21_632, 85_248, 338_432, 1_348_608]
    assert [parameters(d) for d in model.head.down] == [295_680, 1_181_184, 4_721_664]
    assert parameters(model.head.final) == 2_103_296


@pytest.mark.parametrize(
    ("builder", "channels"), [(hrnet_w18, (18, 36, 72, 144)), (hrnet_w32, (32, 64, 128, 256))]
)
def test_widths_double_from_branch_to_branch(builder, channels):
    with torch.device("meta"):
        assert builder().channels == channels


@pytest.mark.parametrize(
    ("output_stride", "strides", "dilations", "last_down"),
    [
        (32, (4, 8, 16, 32), (1, 1, 1, 1), (2, 1)),
        (16, (4, 8, 16, 16), (1, 1, 1, 2), (1, 2)),
        (8, (4, 8, 8, 8), (1, 1, 2, 4), (1, 4)),
    ],
)
def test_branches_stay_within_the_output_stride(output_stride, strides, dilations, last_down):
    grid = Grid(4, output_stride)
    assert (grid.strides, grid.dilations, grid.down(2)) == (strides, dilations, last_down)


def test_atrous_form_dilates_the_coarsest_branch_and_the_ways_to_it():
    model = tiny(output_stride=16, head="classification")
    wide = {n for n, m in model.named_modules() if getattr(m, "dilation", (1, 1)) == (2, 2)}
    assert wide == {
        "transitions.2.3.conv",
        "stages.2.0.branches.3.0.first.conv",
        "stages.2.0.branches.3.0.second.conv",
        "stages.2.0.exchange.3.0.2.conv",  # the last of a chain from the first branch
        "stages.2.0.exchange.3.1.1.conv",
        "stages.2.0.exchange.3.2.0.conv",
        "head.widen.3.spatial.conv",
        "head.down.2.conv",
    }


def test_each_branch_receives_from_all():
    module = tiny().stages[2][0]
    maps = [torch.rand(1, c, 16 // 2**i, 16 // 2**i) for i, c in enumerate((8, 12, 16, 20))]
    before = module(maps)
    for changed in range(4):
        others = [m + 1 if i == changed else m for i, m in enumerate(maps)]
        assert not any(torch.equal(a, b) for a, b in zip(before, module(others), strict=True))


@pytest.mark.parametrize(
    ("head", "channels", "strides"),
    [
        ("branches", (8, 12, 16, 20), (4, 8, 16, 32)),
        ("classification", (128, 256, 512, 2048), (4, 8, 16, 32)),
        ("segmentation", (8, 12, 16, 56), (4, 8, 16, 4)),
        ("concatenated", (8, 12, 16, 56), (4, 8, 16, 4)),
    ],
)
def test_features_of_each_head(head, channels, strides):
    model = tiny(head=head)
    assert (model.channels, model.strides) == (channels, strides)
    with torch.no_grad():
        features = model(torch.rand(1, 3, 65, 97))
    for feature, c, stride in zip(features, channels, strides, strict=True):
        assert tuple(feature.shape) == (1, c, -(-65 // stride), -(-97 // stride))


def test_taps_can_be_the_branches():
    model = tiny(head="classification", taps="branches")
    assert model.channels == (8, 12, 16, 2048)
    with torch.no_grad():
        assert [f.shape[1] for f in model(torch.rand(1, 3, 64, 64))] == [8, 12, 16, 2048]


def test_nearest_and_bilinear_upsampling_differ():
    image = torch.rand(1, 3, 65, 65)
    with torch.no_grad():
        nearest, bilinear = tiny(upsampling="nearest")(image), tiny()(image)
    assert not torch.allclose(nearest[0], bilinear[0])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"head": "none"}, "head must be one of 'branches', .* got 'none'"),
        ({"taps": "stem"}, "taps must be one of 'head', 'branches', got 'stem'"),
        ({"upsampling": "cubic"}, "upsampling must be one of .* got 'cubic'"),
    ],
)
def test_wrong_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        tiny(**option)
