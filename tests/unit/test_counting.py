"""The counter itself; the networks of the papers are counted in `test_family.py`."""

import pytest
import torch
from torch import nn

from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.counting import (
    build_on_meta,
    count,
    count_multiply_adds,
    count_parameters,
    count_parts,
)

LIGHT = ModelConfig(backbone="mobilenet_v3_small")


def test_terms_of_a_network_counted_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=2, dilation=2, bias=False),  # 5 x 7, on a grid of 6 x 8
            nn.BatchNorm2d(4),
            nn.MaxPool2d(3, stride=2, padding=1),  # 3 x 4
            nn.Conv2d(4, 2, 1),
        )
    counts = count_multiply_adds(network, (5, 7), per_pixel=10)
    assert counts.convolution == 108 * 35 + 8 * 12
    assert counts.padding == 108 * (48 - 35)
    assert counts.addition == 0
    assert counts.pooling == 9 * 4 * 12 / 2
    assert counts.normalization == (4 * 35 + 2 * 12) / 2
    assert counts.full_resolution == 10 * 35 / 2
    terms = (counts.padding, counts.pooling, counts.normalization, counts.full_resolution)
    assert counts.profiler == counts.convolution + sum(terms)


def test_counting_leaves_the_mode_alone():
    with torch.device("meta"):
        network = nn.Conv2d(3, 4, 1)
    for mode in (True, False):
        network.train(mode)
        count_multiply_adds(network, (4, 4))
        assert network.training == mode


def test_real_weights_are_refused():
    with pytest.raises(ValueError, match=r"on the meta device, got one with real weights"):
        count_multiply_adds(nn.Conv2d(3, 4, 1), (4, 4))


def test_shared_weights_count_once():
    layer = nn.Conv2d(3, 4, 1)
    assert count_parameters(nn.ModuleList([layer, layer])) == 16


def test_networks_with_the_same_backbone_share_its_count():
    plus = {"decoder": "deeplabv3plus", "semantic_projections": (32,)}
    plus |= {"instance_projections": (16,)}
    for config in (
        LIGHT,
        LIGHT.model_copy(update=plus),
        LIGHT.model_copy(update={"norm": "group"}),
    ):
        for size in ((65, 97), (50, 70)):
            whole = build_on_meta(config, 5)
            counts = count(config, 5, size)
            assert counts.parameters == count_parameters(whole)
            terms = count_multiply_adds(whole, size, per_pixel=6 + 6 * 5 + 49)
            assert counts.multiply_adds == terms
            assert counts.published == terms.profiler + 58.5 * size[0] * size[1]


def test_networks_without_instances_search_no_peaks():
    config = LIGHT.model_copy(update={"instance_branch": "none"})
    counts = count(config, 5, (64, 64))
    assert counts.multiply_adds.full_resolution == (6 + 6 * 5) * 64 * 64 / 2
    assert counts.published == counts.multiply_adds.profiler


def test_main_parts_make_up_the_whole():
    model = build_on_meta(LIGHT, 5)
    parts = count_parts(model, (65, 97))
    names = [part.name for part in parts]
    assert names[0] == "backbone.stem"
    assert names[-3:] == ["semantic_head", "center_head", "offset_head"]
    assert "instance_decoder.aspp" in names
    assert sum(p.parameters for p in parts) == count_parameters(model)
    whole = count_multiply_adds(model, (65, 97))
    assert sum(p.multiply_adds for p in parts) == whole.convolution
    assert count_multiply_adds(model, (65, 97)) == whole  # nothing is left behind in the model
