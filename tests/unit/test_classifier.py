from functools import partial

import numpy as np
import pytest
import torch
from standins import FEATURES, reference_image, relative_error, standin
from test_hrnet import official_key
from test_mobilenet import timm_key as mobilenet_key
from test_resnet import torchvision_key
from test_xception import timm_key as xception_key

from panoptic_deeplab.backbones import build_backbone
from panoptic_deeplab.backbones.classifier import ImageClassifier


def classifier(name, *, hidden=None, **options):
    backbone = build_backbone(name, output_stride=32, options=options)
    return ImageClassifier(backbone, 1000, hidden_channels=hidden).eval()


def key(ours, backbone_key, last):
    """Our name of a classifier's weight -> timm's."""
    if ours.startswith("backbone."):
        return backbone_key(ours.removeprefix("backbone."))
    return ours.replace("hidden.0", "conv_head").replace("classify", last)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "build", "backbone_key", "last"),
    [
        ("timm_resnet50", lambda: classifier("resnet50"), torchvision_key, "fc"),
        ("timm_xception65", lambda: classifier("xception65"), xception_key, "head.fc"),
        ("timm_xception71", lambda: classifier("xception71"), xception_key, "head.fc"),
        (
            "timm_hrnet_w48",
            lambda: classifier("hrnet_w48_plus", upsampling="nearest"),
            official_key,
            "classifier",
        ),
        (
            "timm_mobilenetv3_large_100",
            lambda: classifier("mobilenet_v3_large", hidden=1280),
            partial(mobilenet_key, last_stage=6),
            "classifier",
        ),
        (
            "timm_mobilenetv3_small_100",
            lambda: classifier("mobilenet_v3_small", hidden=1024),
            partial(mobilenet_key, last_stage=5),
            "classifier",
        ),
    ],
)
def test_logits_equal_timm(name, build, backbone_key, last):
    with np.load(FEATURES / f"{name}.npz") as file:
        model = standin(build, lambda ours: key(ours, backbone_key, last))
        with torch.no_grad():
            logits = model(reference_image(file))
        assert relative_error(logits[0], file["logits"]) < 1e-5


def test_hidden_layer_of_mobilenet():
    model = classifier("mobilenet_v3_large", hidden=1280)
    assert sum(p.numel() for p in model.parameters()) == 5_483_032  # timm's
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 1000)


def test_parameters_of_the_imagenet_networks():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in classifier(name).parameters())
            for name in ("resnet50", "resnet101", "resnext101_32x8d", "hrnet_w48_plus")
        }
    assert counts == {
        "resnet50": 25_557_032,
        "resnet101": 44_549_160,
        "resnext101_32x8d": 88_791_336,
        "hrnet_w48_plus": 77_469_864,
    }
