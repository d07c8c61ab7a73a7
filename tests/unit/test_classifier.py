import torch

from panoptic_deeplab.backbones import build_backbone
from panoptic_deeplab.backbones.classifier import ImageClassifier


def classifier(name, *, hidden=None, **options):
    backbone = build_backbone(name, output_stride=32, options=options)
    return ImageClassifier(backbone, 1000, hidden_channels=hidden).eval()


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
