"""The bridge, on a small stand-in for timm."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from panoptic_deeplab.backbones import build_backbone
from panoptic_deeplab.checkpoint import load_checkpoint, save_checkpoint
from panoptic_deeplab.config import Experiment, ModelConfig
from panoptic_deeplab.data.synthetic import LABELS
from panoptic_deeplab.dilated import DilatedConv
from panoptic_deeplab.model import build_model


class Pyramid(nn.Module):
    """Five stages of stride 2; `padding` 0 rounds sizes down, as patches do."""

    def __init__(self, reductions, kernel=3, padding=1):
        super().__init__()
        before = [1, *reductions[:-1]]
        strides = [after // b for after, b in zip(reductions, before, strict=True)]
        channels = [3, *range(4, 4 + len(reductions))]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels[i], channels[i + 1], kernel or s, stride=s, padding=padding),
                nn.BatchNorm2d(channels[i + 1]),
            )
            for i, s in enumerate(strides)
        )
        self.feature_info = SimpleNamespace(
            reduction=lambda: list(reductions), channels=lambda: channels[1:]
        )

    def forward(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class FixedSize(Pyramid):
    def forward(self, x):
        assert x.shape[-1] == 224, "one size only"
        return super().forward(x)


class Transposed(Pyramid):
    def forward(self, x):
        return [f.permute(0, 2, 3, 1) for f in super().forward(x)]


def dilated_pyramid(output_stride):
    network = Pyramid([min(s, output_stride) for s in (4, 8, 16, 32)])
    network.stages[3][0] = nn.Conv2d(6, 7, 3, padding=2, dilation=2)
    return network


@pytest.fixture(autouse=True)
def timm(monkeypatch):
    """A module named timm with a few networks; calls are kept."""
    networks = {
        "dilatable": lambda output_stride=32: Pyramid(
            [min(s, output_stride) for s in (2, 4, 8, 16, 32)]
        ),
        "dilated": dilated_pyramid,
        "patches": lambda: Pyramid([4, 8, 16, 32], kernel=None, padding=0),
        "coarse": lambda: Pyramid([8, 16, 32]),
        "fixed": lambda: FixedSize([4, 8, 16, 32]),
        "transposed": lambda: Transposed([4, 8, 16, 32]),
        "weightless": lambda: Pyramid([4, 8, 16, 32]),
    }
    calls = []

    def create_model(name, *, pretrained, features_only, **options):
        calls.append((name, pretrained, features_only, options))
        network = networks[name](**options)
        if pretrained and name == "weightless":
            raise RuntimeError("No pretrained weights exist.")  # the type and order timm has
        return network

    module = SimpleNamespace(
        is_model=lambda name: name in networks,
        list_models=lambda: list(networks),
        create_model=create_model,
        calls=calls,
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_begin_at_stride_4(output_stride):
    backbone = build_backbone("timm:dilatable", output_stride=output_stride)
    assert backbone.strides == (4, 8, min(16, output_stride), output_stride)
    assert backbone.channels == (5, 6, 7, 8)
    features = backbone.eval()(torch.rand(1, 3, 50, 71))
    assert [f.shape[-2:] for f in features] == [
        (-(-50 // s), -(-71 // s)) for s in backbone.strides
    ]


def test_networks_that_round_down_get_padded_images():
    backbone = build_backbone("timm:patches", output_stride=32).eval()
    assert backbone.is_padded
    image = torch.rand(1, 3, 50, 71)
    features = backbone(image)
    assert [tuple(f.shape[-2:]) for f in features] == [(13, 18), (7, 9), (4, 5), (2, 3)]
    assert not build_backbone("timm:dilatable", output_stride=32).is_padded


def test_the_trial_image_leaves_no_trace():
    backbone = build_backbone("timm:dilatable", output_stride=32)
    assert backbone.training
    assert all(n.num_batches_tracked == 0 for n in backbone.modules() if hasattr(n, "momentum"))


def test_pretrained_weights_are_asked_for_by_option(timm):
    build_backbone("timm:dilatable", output_stride=16, options={"pretrained": True})
    assert timm.calls == [("dilatable", True, True, {"output_stride": 16})]


def test_a_saved_model_is_loaded_without_download(timm, tmp_path):
    config = ModelConfig(backbone="timm:dilatable", backbone_options={"pretrained": True})
    model = build_model(config, LABELS.num_classes)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, LABELS, Experiment(name="timm", model=config), {})
    loaded = load_checkpoint(path)
    assert [pretrained for _, pretrained, *_ in timm.calls] == [True, False]
    assert loaded.experiment.model == config


def test_epsilon_reaches_every_norm():
    backbone = build_backbone("timm:dilatable", output_stride=32, norm_epsilon=0.5)
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {0.5}


def test_checkpointing_runs_the_network_twice():
    backbone = build_backbone("timm:dilatable", output_stride=32).train()
    backbone.checkpointing = True
    backbone(torch.rand(2, 3, 65, 65))[-1].sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_whole_model_around_a_network_of_timm():
    model = build_model(ModelConfig(backbone="timm:dilatable"), 5).eval()
    with torch.no_grad():
        outputs = model(torch.zeros(1, 3, 65, 97, dtype=torch.uint8))
    assert outputs.semantic.shape == (1, 5, 17, 25)


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"timm has no network 'patch'\. Did you mean 'patches'"):
        build_backbone("timm:patch", output_stride=32)


def test_unknown_network_without_a_like_is_refused():
    with pytest.raises(ValueError, match=r"no network 'qqq'\. timm\.list_models\(\) lists all"):
        build_backbone("timm:qqq", output_stride=32)


def test_network_without_stride_4_is_refused():
    with pytest.raises(ValueError, match=r"strides 4, 8, \.\.\., 32, but .*'coarse' gives \(8, 16"):
        build_backbone("timm:coarse", output_stride=32)


def test_network_that_cannot_be_dilated_is_refused():
    with pytest.raises(ValueError, match=r"at output_stride 16, but refuses: .*Set output_stride"):
        build_backbone("timm:patches", output_stride=16)


def test_missing_weights_are_not_blamed_on_the_network():
    with pytest.raises(ValueError, match=r"weights to load for .*'weightless', .*No pretrained"):
        build_backbone("timm:weightless", output_stride=32, options={"pretrained": True})


def test_a_refused_network_is_not_blamed_on_its_weights():
    with pytest.raises(ValueError, match=r"'patches' must give a feature pyramid at output_str"):
        build_backbone("timm:patches", output_stride=16, options={"pretrained": True})


def test_failed_downloads_are_left_as_they_are(timm, monkeypatch):
    def create_model(*_, **__):
        raise ConnectionError("no way to the hub")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(ConnectionError, match="no way to the hub"):
        build_backbone("timm:dilatable", output_stride=32, options={"pretrained": True})


@pytest.mark.parametrize(
    ("name", "reason"), [("fixed", "one size only"), ("transposed", r"shapes \[.* instead of \[")]
)
def test_network_that_takes_one_size_or_gives_other_shapes_is_refused(name, reason):
    with pytest.raises(ValueError, match=rf"any size .* timm's '{name}' does not \({reason}"):
        build_backbone(f"timm:{name}", output_stride=32)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "panoptic-deeplab\[timm\]"'):
        build_backbone("timm:resnet18", output_stride=32)


def test_unknown_option_is_refused():
    with pytest.raises(ValueError, match=r"has no option 'pretraned'\. Did you mean 'pretrained'"):
        build_backbone("timm:dilatable", output_stride=32, options={"pretraned": True})


def test_dilated_convolutions_are_those_whose_gradients_are_right():
    body = build_model(ModelConfig(backbone="timm:dilated"), 11).backbone.body
    assert isinstance(body.stages[3][0], DilatedConv)
    assert type(body.stages[0][0]) is nn.Conv2d
