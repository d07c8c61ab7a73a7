import copy

import pytest
import torch
from torch import nn

from panoptic_deeplab.backbones import build_backbone
from panoptic_deeplab.backbones.base import DropPath, StridePlan, set_progress
from panoptic_deeplab.layers import replace_norms


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [
        (32, [(2, 1), (2, 1), (2, 1), (2, 1), (2, 1), (1, 1)]),
        (16, [(2, 1), (2, 1), (2, 1), (2, 1), (1, 1), (1, 2)]),
        (8, [(2, 1), (2, 1), (2, 1), (1, 1), (1, 2), (1, 4)]),
    ],
)
def test_strides_beyond_the_output_stride_become_dilation(output_stride, expected):
    plan = StridePlan(output_stride)
    assert [plan.step(s) for s in (2, 2, 2, 2, 2, 1)] == expected


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(4000, 2, 1, 1))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (out[:, 0] == out[:, 1]).all()
    assert out.mean().item() == pytest.approx(1, abs=0.05)


def test_drop_path_rests_outside_training():
    x = torch.ones(8, 2, 1, 1)
    assert torch.equal(DropPath(0.9).eval()(x), x)


def test_drop_path_follows_the_schedule():
    torch.manual_seed(0)
    path = DropPath(0.5, is_scheduled=True).train()
    x = torch.ones(4000, 1, 1, 1)
    assert torch.equal(path(x), x)
    set_progress(nn.Sequential(path), 0.5)
    assert (path(x) == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    set_progress(nn.Sequential(path), 3.0)
    assert path.progress == 1


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match=f"at least 0 and below 1, got {rate}"):
        DropPath(rate)


def test_drop_path_rises_with_depth():
    model = build_backbone("xception41", output_stride=16, options={"drop_path": 0.2})
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.2 / 13)  # 3 + 8 + 2 modules, the last without shortcut
    assert rates[-1] == pytest.approx(0.2 * 12 / 13)


@pytest.mark.parametrize("kind", ["batch", "sync"])
def test_checkpointing_changes_memory_only(kind):
    torch.manual_seed(0)
    plain = build_backbone("xception41", output_stride=16, options={"middle": 1}).train()
    replace_norms(plain, kind)
    saving = copy.deepcopy(plain)
    saving.checkpointing = True
    image = torch.randn(2, 3, 65, 65)
    for model in (plain, saving):
        model(image)[-1].square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-7), name
    for (key, a), b in zip(plain.state_dict().items(), saving.state_dict().values(), strict=True):
        assert torch.equal(a, b), key  # running statistics moved once, not twice


def test_checkpointing_keeps_fewer_values():
    def kept(checkpointing: bool) -> int:
        model = build_backbone("xception41", output_stride=16, options={"middle": 1}).train()
        model.checkpointing = checkpointing
        total = 0

        def count(x: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            model(torch.randn(2, 3, 65, 65))
        return total - sum(p.numel() for p in model.parameters())

    assert kept(True) < kept(False) / 2


def test_a_compiled_drop_path_is_not_compiled_anew_while_its_rate_grows():
    times = 0

    def count(graph, inputs):
        nonlocal times
        times += 1
        return graph.forward

    path = DropPath(0.5, is_scheduled=True).train()
    compiled = torch.compile(path, backend=count)
    for progress in (0.0, 0.25, 1.0):
        set_progress(path, progress)
        compiled(torch.ones(4, 2, 3, 3))
    assert times == 1
