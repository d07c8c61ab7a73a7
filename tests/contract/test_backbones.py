"""What every backbone in the table must do, whatever its architecture.

The frozen state-dict keys in `tests/reference/keys/` are written anew, for a change that is meant
to change them, by running this file: `python tests/contract/test_backbones.py`.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from panoptic_deeplab.backbones import BACKBONES, build_backbone
from panoptic_deeplab.backbones.base import DropPath
from panoptic_deeplab.layers import FrozenBatchNorm2d, replace_norms
from panoptic_deeplab.shared_norm import SharedBatchNorm2d

KEYS = Path(__file__).parents[1] / "reference" / "keys"

CHEAP = {
    **{name: {"width": 4} for name in BACKBONES if name.startswith("auto_deeplab")},
    "hrnet_w18": {"modules": (1, 1, 1), "blocks": 1},
    "hrnet_w32": {"modules": (1, 1, 1), "blocks": 1},
    "hrnet_w48": {"modules": (1, 1, 1), "blocks": 1},
    "hrnet_w48_plus": {"modules": (1, 1, 1), "blocks": 1},
    "hrnet_wider_plus": {"modules": (1, 1, 1), "blocks": 1},
    "resnet101_beta": {"units": (2, 3, 3, 3)},
    "xception41": {"middle": 1},
    "xception65": {"middle": 1},
    "xception71": {"middle": 1},
    "resnext101_32x8d": {"units": (1, 2, 2, 2), "multi_grid": (1, 1)},
    "resnet101": {"units": (2, 2, 2, 2), "multi_grid": (1, 1)},
}
"""Fewer or narrower units: what is checked does not depend on their number."""

OUTPUT_STRIDES = {
    name: (8,) if name.startswith("auto_deeplab") else (8, 16, 32) for name in BACKBONES
}
"""Auto-DeepLab's path of strides is part of the network."""

STRICTLY_ATROUS = {"resnet52": {"dilate_first": False}}
"""Where the published form is not equal to its strided self on purpose, the option that is."""

REPEATS = (
    "auto_deeplab_m",
    "auto_deeplab_l",
    "auto_deeplab_xl",
    "auto_deeplab_xl_plus",
    "hrnet_w18",
    "hrnet_w32",
    "resnet101",
    "resnet101_beta",
    "xception41",
    "xception65",
)
"""Differ from another entry in numbers only; their runs are marked slow."""

ONE_PER_FAMILY = ("hrnet_w48_plus", "mobilenet_v3_small", "resnet50_beta", "xception71")
"""Exports take long; the others' are marked slow."""

EXCHANGING = [name for name in BACKBONES if name.startswith("hrnet")]
"""Maps upsampled from a coarse branch differ from maps computed on the finer grid."""


def build(name: str, output_stride: int | None = None) -> nn.Module:
    """With seeded weights; at the largest stride but 32 where none is asked for."""
    torch.manual_seed(0)
    options = CHEAP.get(name, {})
    stride = output_stride or OUTPUT_STRIDES[name][:2][-1]
    return build_backbone(name, output_stride=stride, options=options)


@cache
def backbone(name: str) -> nn.Module:
    """In eval mode; shared between tests, which leave it as it is."""
    return build(name).eval()


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_close(ours: torch.Tensor, reference: torch.Tensor) -> None:
    """Relative to the largest value: untrained networks have no fixed scale."""
    assert (ours - reference).abs().max() <= 1e-5 * reference.abs().max()


def runs(names, *, slow=REPEATS):
    """Names as parameters of a test that runs the network."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in sorted(names)]


each_backbone = pytest.mark.parametrize("name", runs(BACKBONES))


@each_backbone
@pytest.mark.parametrize("size", [(33, 33), (65, 97), (64, 96), (50, 71)])
def test_shapes_are_as_announced(name, size):
    model = backbone(name)
    with torch.no_grad():
        features = model(image(*size))
    assert len(features) == len(model.channels) == len(model.strides)
    for feature, channels, stride in zip(features, model.channels, model.strides, strict=True):
        expected = (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert tuple(feature.shape) == expected


@pytest.mark.parametrize(
    ("name", "output_stride"), [(n, s) for n, strides in OUTPUT_STRIDES.items() for s in strides]
)
def test_strides_go_from_fine_to_coarse(name, output_stride):
    with torch.device("meta"):
        strides = build(name, output_stride).strides
    assert strides[:2] == (4, 8)
    assert strides[-1] == output_stride
    assert list(strides) == sorted(strides)


@pytest.mark.parametrize(
    "name", runs(n for n in BACKBONES if n not in EXCHANGING and len(OUTPUT_STRIDES[n]) > 1)
)
def test_dilated_equals_strided(name):
    # On sides of 32 n + 1 the coarse grid's pixels are pixels of every finer grid.
    options = CHEAP.get(name, {}) | STRICTLY_ATROUS.get(name, {})
    strided = build_backbone(name, output_stride=32, options=options).eval()
    _silence_gates(strided)
    last = {}
    for stride in (32, 16, 8):
        model = build_backbone(name, output_stride=stride, options=options).eval()
        model.load_state_dict(strided.state_dict())
        with torch.no_grad():
            last[stride] = model(image(65, 97))[-1]
    assert_close(last[16][..., ::2, ::2], last[32])
    assert_close(last[8][..., ::4, ::4], last[32])


def _silence_gates(model: nn.Module) -> None:
    """A squeeze-excite gate reads the whole map's mean, which differs between grids."""
    for name, part in model.named_modules():
        if name.endswith("squeeze.expand"):
            nn.init.zeros_(part.weight)


@each_backbone
def test_every_parameter_gets_a_gradient(name):
    model = build(name).train()
    features = model(image(65, 97, batch=2))
    sum((f * torch.randn_like(f)).mean() for f in features).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters())


@each_backbone
def test_batch_equals_its_images_one_by_one(name):
    images = image(64, 65, batch=2)
    with torch.no_grad():
        together = backbone(name)(images)
        for i in range(2):
            for both, one in zip(together, backbone(name)(images[i : i + 1]), strict=True):
                assert_close(both[i : i + 1], one)


@each_backbone
def test_memory_format_does_not_matter(name):
    images = image(64, 65)
    with torch.no_grad():
        plain = backbone(name)(images)
        other = backbone(name)(images.to(memory_format=torch.channels_last))
    for a, b in zip(other, plain, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("name", runs(BACKBONES, slow=set(BACKBONES) - set(ONE_PER_FAMILY)))
def test_exports(name):
    images = image(65, 97)
    program = torch.export.export(backbone(name), (images,))
    with torch.no_grad():
        for ours, reference in zip(program.module()(images), backbone(name)(images), strict=True):
            assert_close(ours, reference)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_state_dict_keys_are_frozen(name):
    file = KEYS / f"{name}.txt"
    assert file.exists(), f"{file} is missing; run this test file with python to write it."
    assert state_dict_keys(name) == file.read_text()


def state_dict_keys(name: str) -> str:
    """One line per weight, with its shape; step counters of the norms are left out."""
    with torch.device("meta"):
        state = build_backbone(name, output_stride=8).state_dict()
    lines = [
        f"{key} {'x'.join(map(str, value.shape))}\n"
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    ]
    return "".join(lines)


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"Unknown backbone 'resnet5'\. Did you mean .*.resnet50."):
        build_backbone("resnet5", output_stride=16)


def test_unknown_option_is_refused():
    with pytest.raises(ValueError, match=r"'resnet50' has no option 'sten'\. Did you mean 'stem'"):
        build_backbone("resnet50", output_stride=16, options={"sten": "plain"})


def test_epsilon_reaches_every_norm():
    model = build_backbone("mobilenet_v3_small", output_stride=16, norm_epsilon=0.5)
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.5}


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_drop_path_rises_to_the_rate_asked_for(name):
    with torch.device("meta"):
        stride = OUTPUT_STRIDES[name][0]
        plain = build_backbone(name, output_stride=stride)
        dropping = build_backbone(name, output_stride=stride, options={"drop_path": 0.25})
    assert not [part for part in plain.modules() if isinstance(part, DropPath)]
    rates = [part.rate for part in dropping.modules() if isinstance(part, DropPath)]
    assert len(rates) > 5
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] <= 0.25
    assert plain.state_dict().keys() == dropping.state_dict().keys()


@pytest.mark.parametrize("kind", ["sync", "group", "frozen"])
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_kind_of_norm_is_possible(name, kind):
    with torch.device("meta"):
        module = build_backbone(name, output_stride=OUTPUT_STRIDES[name][0])
        before = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        replace_norms(module, kind)
    wanted = {"sync": SharedBatchNorm2d, "group": nn.GroupNorm, "frozen": FrozenBatchNorm2d}[kind]
    assert sum(isinstance(part, wanted) for part in module.modules()) == before > 10


@each_backbone
def test_checkpointing_changes_memory_only(name):
    results = []
    for checkpointing in (False, True):
        module = build(name).train()
        module.checkpointing = checkpointing
        sum(f.square().mean() for f in module(image(64, 96, batch=2))).backward()
        gradient = next(p.grad for p in module.parameters() if p.grad is not None)
        results.append((gradient, *module.buffers()))  # statistics moved once, not twice
    for plain, again in zip(*results, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    for known in BACKBONES:
        (KEYS / f"{known}.txt").write_text(state_dict_keys(known))
