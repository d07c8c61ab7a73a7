"""Shapes without numbers against the shapes torch computes with numbers."""

import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.meta import _IN_PLACE, _SHAPES, QuickMeta
from panoptic_deeplab.model import build_model

aten = torch.ops.aten

NARROW = ModelConfig(
    aspp_channels=8,
    semantic_channels=8,
    semantic_projections=(8, 8),
    semantic_head_channels=8,
    instance_channels=8,
    instance_projections=(8, 8),
    instance_head_channels=8,
    output_stride=8,
)


class Checked(TorchDispatchMode):
    """Compares every known shape with that of the result."""

    _should_skip_dynamo = QuickMeta._should_skip_dynamo

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _SHAPES:
            expected = tuple(_SHAPES[func](args))
        result = func(*args, **(kwargs or {}))
        if func in _SHAPES:
            assert tuple(result.shape) == expected, func
            self.seen.add(func)
        if func in _IN_PLACE:
            assert result is args[0] or result.data_ptr() == args[0].data_ptr(), func
        return result


@pytest.mark.parametrize(
    ("backbone", "unused"),
    [
        ("mobilenet_v3_small", set()),
        ("resnet50_beta", {aten.add.Tensor, aten.mul.Tensor, aten.hardsigmoid.default}),
        ("auto_deeplab_s", {aten.mul.Tensor, aten.hardsigmoid.default}),
    ],
)
def test_shapes_are_torchs(backbone, unused):
    model = build_model(NARROW.model_copy(update={"backbone": backbone}), 5).eval()
    checked = Checked()
    with torch.no_grad(), checked:
        model(torch.zeros(1, 3, 45, 70, dtype=torch.uint8))
    assert set(_SHAPES) - checked.seen == unused


def test_a_whole_network_has_torchs_output_shapes():
    config = NARROW.model_copy(update={"backbone": "mobilenet_v3_small"})
    image = torch.zeros(2, 3, 45, 70)
    with torch.no_grad():
        expected = [m.shape for m in build_model(config, 5).eval()(image)]
    with torch.device("meta"), QuickMeta(), torch.no_grad():
        outputs = build_model(config, 5).eval()(image.to("meta"))
    assert [m.shape for m in outputs] == expected
    assert all(m.is_meta for m in outputs)


def test_real_tensors_are_left_to_torch():
    with QuickMeta():
        assert torch.equal(torch.ones(2) + torch.ones(2), torch.full((2,), 2.0))


@pytest.mark.slow
def test_counting_does_not_load_the_compiler():
    program = (
        "import sys; from panoptic_deeplab.config import ModelConfig;"
        "from panoptic_deeplab.counting import count;"
        "count(ModelConfig(backbone='xception41'), 19, (65, 65));"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
