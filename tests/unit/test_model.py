from pathlib import Path

import pytest
import torch
from torch import nn

from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.layers import FrozenBatchNorm2d
from panoptic_deeplab.model import build_model

SMALL = ModelConfig(
    backbone="mobilenet_v3_small",
    aspp_channels=16,
    semantic_channels=16,
    semantic_projections=(8, 8),
    semantic_head_channels=16,
    instance_channels=16,
    instance_projections=(8, 8),
    instance_head_channels=8,
)
"""Narrow, so that each test takes milliseconds."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(SMALL, 5).eval()


@pytest.mark.parametrize(
    ("backbone", "num_classes", "parameters"),
    [
        ("resnet50_beta", 19, 30_039_142),
        ("resnet50_beta", 65, 30_050_964),
        ("mobilenet_v3_large_reduced", 19, 3_641_302),
        ("mobilenet_v3_large_reduced", 65, 3_653_124),
    ],
)
def test_number_of_parameters_is_the_papers(backbone, num_classes, parameters):
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone=backbone), num_classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("size", [(33, 33), (64, 96), (65, 97), (50, 131)])
def test_outputs_lie_at_stride_4(model, size):
    with torch.no_grad():
        outputs = model(torch.zeros(2, 3, *size, dtype=torch.uint8))
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    assert [tuple(m.shape) for m in outputs] == [(2, 5, h, w), (2, 1, h, w), (2, 2, h, w)]


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_atrous_rates_follow_the_output_stride(output_stride):
    with torch.device("meta"):
        model = build_model(SMALL.model_copy(update={"output_stride": output_stride}), 5)
    for decoder in (model.semantic_decoder, model.instance_decoder):
        rates = [
            branch.depthwise.conv.dilation[0] * output_stride for branch in decoder.aspp.atrous
        ]
        assert rates == [96, 192, 288]  # in input pixels: 6, 12, 18 at stride 16


def test_atrous_rates_can_be_set():
    with torch.device("meta"):
        model = build_model(SMALL.model_copy(update={"atrous_rates": (1, 2, 3)}), 5)
    rates = [branch.depthwise.conv.dilation[0] for branch in model.semantic_decoder.aspp.atrous]
    assert rates == [1, 2, 3]


def test_bytes_and_floats_give_the_same(model):
    image = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8)
    with torch.no_grad():
        for a, b in zip(model(image), model(image.float()), strict=True):
            assert torch.equal(a, b)


def test_pixels_are_normalised_inside():
    config = SMALL.model_copy(update={"pixel_mean": (10.0, 20.0, 30.0), "pixel_std": (1.0, 2.0, 4)})
    model = build_model(config, 5).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    pixel = torch.tensor([11, 22, 26], dtype=torch.uint8).view(1, 3, 1, 1)
    model(pixel.expand(1, 3, 40, 40))
    assert seen[0][0, :, 0, 0].tolist() == [1, 1, -1]


def test_normalisation_is_no_weight(model):
    assert not [key for key in model.state_dict() if "pixel" in key]


def test_predictors_start_near_zero(model):
    with torch.no_grad():
        outputs = model(torch.randint(0, 256, (1, 3, 65, 65), dtype=torch.uint8))
    assert max(m.abs().max() for m in outputs) < 0.5


def test_upsample_uses_the_models_corners(model):
    with torch.no_grad():
        outputs = model(torch.zeros(1, 3, 65, 97, dtype=torch.uint8))
    full = model.upsample(outputs, (65, 97))
    assert [m.shape[-2:] for m in full] == [(65, 97)] * 3
    assert torch.equal(full.semantic[..., ::4, ::4], outputs.semantic)  # aligned corners


def test_pooling_window_is_given_in_input_pixels():
    config = SMALL.model_copy(update={"aspp_pooling_size": (65, 128)})
    with torch.device("meta"):
        assert build_model(config, 5).semantic_decoder.aspp.pooled.window == (5, 8)


def test_more_projections_take_coarser_features():
    update = {"semantic_projections": (9, 8, 7), "instance_projections": (6,)}
    model = build_model(SMALL.model_copy(update=update), 5).eval()
    assert [p.conv.in_channels for p in model.semantic_decoder.project] == [48, 24, 16]
    assert [p.conv.in_channels for p in model.instance_decoder.project] == [16]
    assert model(torch.zeros(1, 3, 65, 65)).offset.shape == (1, 2, 17, 17)


def test_too_many_projections_are_refused():
    config = SMALL.model_copy(update={"semantic_projections": (8, 8, 8, 8)})
    with pytest.raises(ValueError, match="has 3 low-level features, got 4 semantic_projections"):
        build_model(config, 5)


def test_epsilon_outside_the_backbone():
    config = SMALL.model_copy(update={"norm_epsilon": 0.5, "backbone_norm_epsilon": 0.25})
    model = build_model(config, 5)
    norms = {n: m.eps for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert all(e == (0.25 if n.startswith("backbone.") else 0.5) for n, e in norms.items())


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3)])
def test_other_shapes_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"shape \(B, 3, H, W\), got"):
        model(torch.zeros(shape))


@pytest.mark.parametrize("size", [(32, 64), (64, 32)])
def test_small_images_are_refused(model, size):
    with pytest.raises(ValueError, match=rf"at least 33 pixels, got {size[0]}x{size[1]}"):
        model(torch.zeros(1, 3, *size))


def test_other_types_are_refused(model):
    with pytest.raises(TypeError, match=r"uint8 or floating point .* got torch\.int64"):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.int64))


def test_one_image_cannot_be_trained_on():
    with pytest.raises(ValueError, match="batch size of at least 2"):
        build_model(SMALL, 5).train()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("instance_branch", ["dual", "shared_aspp", "shared", "none"])
def test_instance_branch_has_what_it_is_given(instance_branch):
    model = build_model(SMALL.model_copy(update={"instance_branch": instance_branch}), 5).eval()
    keys = {key.rsplit(".", 1)[0] for key in model.state_dict()}
    assert any(k.startswith("instance_decoder.aspp.") for k in keys) == (instance_branch == "dual")
    assert any(k.startswith("instance_decoder.fuse.") for k in keys) == (
        instance_branch in ("dual", "shared_aspp")
    )
    assert ("offset_head.predict" in keys) == (instance_branch != "none")
    with torch.no_grad():
        outputs = model(torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8))
    assert [tuple(m.shape) for m in outputs] == [(1, n, 16, 24) for n in (5, 1, 2)]
    assert outputs.offset.any() == (instance_branch != "none")


def test_deeplabv3plus_joins_one_feature_with_two_convolutions():
    update = {
        "decoder": "deeplabv3plus",
        "semantic_projections": (8,),
        "instance_projections": (8,),
    }
    model = build_model(SMALL.model_copy(update=update), 5).eval()
    kernels = [c.depthwise.conv.kernel_size for c in model.semantic_decoder.fuse[0]]
    assert kernels == [(3, 3), (3, 3)]
    assert model.semantic_head.conv.depthwise.conv.kernel_size == (5, 5)
    assert model(torch.zeros(1, 3, 64, 96)).semantic.shape == (1, 5, 16, 24)


def test_deeplabv3plus_refuses_more_features():
    config = SMALL.model_copy(update={"decoder": "deeplabv3plus"})
    with pytest.raises(ValueError, match=r"joins one .* got semantic_projections of \(8, 8\)"):
        build_model(config, 5)


def test_plain_convolutions_come_in_twos():
    update = {"decoder_separable": False, "center_head_separable": True}
    model = build_model(SMALL.model_copy(update=update), 5)
    assert [c.conv.weight.shape for c in model.offset_head.conv] == [(16, 16, 3, 3), (8, 16, 3, 3)]
    assert [c.conv.weight.shape for c in model.semantic_decoder.fuse[1]] == [
        (16, 24, 3, 3),
        (16, 16, 3, 3),
    ]
    assert model.center_head.conv.depthwise.conv.kernel_size == (5, 5)


def test_head_without_convolution():
    model = build_model(SMALL.model_copy(update={"semantic_head_channels": None}), 5)
    assert [n for n, _ in model.semantic_head.named_parameters()] == [
        "predict.weight",
        "predict.bias",
    ]


def test_decoder_without_projections_is_its_aspp():
    update = {"semantic_projections": (), "instance_projections": ()}
    model = build_model(SMALL.model_copy(update=update), 5).eval()
    assert model(torch.zeros(1, 3, 64, 96)).offset.shape == (1, 2, 4, 6)  # still at stride 16


def test_context_can_be_a_projection_or_nothing():
    projection = build_model(SMALL.model_copy(update={"context": "projection"}), 5)
    assert projection.semantic_decoder.aspp.conv.out_channels == 16
    assert projection.instance_decoder.aspp.conv.out_channels == 16
    wide = projection.backbone.channels[-1]
    alone = {"context": "none", "instance_branch": "shared"}
    alone |= {"semantic_projections": (), "semantic_channels": wide}
    nothing = build_model(SMALL.model_copy(update=alone), 5).eval()
    assert not [k for k in nothing.state_dict() if k.startswith("semantic_decoder")]
    with torch.no_grad():
        shape = nothing(torch.zeros(1, 3, 64, 96)).semantic.shape
    assert shape == (1, 5, 4, 6)  # nothing has brought it to stride 4


def test_norms_are_of_the_kind_asked_for():
    update = {"norm": "group", "backbone_norm": "frozen"}
    model = build_model(SMALL.model_copy(update=update), 5).train()
    assert {type(m) for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {
        FrozenBatchNorm2d
    }
    model.backbone = nn.Identity()
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_one_image_can_be_trained_on_without_batch_norm():
    model = build_model(SMALL.model_copy(update={"norm": "group"}), 5).train()
    model(torch.zeros(1, 3, 64, 64)).offset.sum().backward()


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = build_model(SMALL, 5).train()
    outputs = model(torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8))
    sum((m * torch.randn_like(m)).sum() for m in outputs).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_exports(model):
    image = torch.randint(0, 256, (1, 3, 65, 97), dtype=torch.uint8)
    program = torch.export.export(model, (image,))
    with torch.no_grad():
        for ours, reference in zip(program.module()(image), model(image), strict=True):
            assert torch.allclose(ours, reference, atol=1e-5)


KEYS = Path(__file__).parents[1] / "reference" / "keys" / "panoptic_deeplab.txt"


def decoder_keys():
    with torch.device("meta"):
        state = build_model(ModelConfig(), 19).state_dict()
    names = [
        f"{key} {'x'.join(map(str, value.shape))}\n"
        for key, value in state.items()
        if not key.startswith("backbone.") and not key.endswith("num_batches_tracked")
    ]
    return "".join(names)


def test_state_dict_keys_are_frozen():
    """Written anew by `python tests/unit/test_model.py`, for a change that means to."""
    assert decoder_keys() == KEYS.read_text()


if __name__ == "__main__":
    KEYS.write_text(decoder_keys())
