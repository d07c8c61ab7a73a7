import json

import pytest
import torch
from safetensors.torch import save_file

from panoptic_deeplab.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_state,
    save_checkpoint,
    start_from,
)
from panoptic_deeplab.config import Experiment, ModelConfig
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.model import build_model

LABELS = LabelSpace(
    "toy", (ClassInfo("ground", 7, False, (1, 2, 3)), ClassInfo("ball", 9, True, (200, 0, 0)))
)
SMALL = Experiment(
    model=ModelConfig(
        backbone="mobilenet_v3_small",
        aspp_channels=8,
        semantic_channels=8,
        semantic_head_channels=8,
        instance_channels=8,
        instance_head_channels=8,
    )
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(SMALL.model, 2)


def test_what_is_saved_is_loaded(model, tmp_path):
    path = tmp_path / "deep" / "model.safetensors"
    save_checkpoint(path, model, LABELS, SMALL, {"seed": 3, "results": {"PQ": 0.5}})
    loaded = load_checkpoint(path)
    assert (loaded.labels, loaded.experiment) == (LABELS, SMALL)
    assert loaded.provenance == {"seed": 3, "results": {"PQ": 0.5}}
    assert not loaded.model.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]  # no part left


def test_half_precision_halves_the_file_and_comes_back_as_float32(model, tmp_path):
    save_checkpoint(tmp_path / "whole", model, LABELS, SMALL, {})
    save_checkpoint(tmp_path / "half", model, LABELS, SMALL, {}, dtype=torch.float16)
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    for name, value in load_checkpoint(tmp_path / "half").model.state_dict().items():
        expected = model.state_dict()[name]
        assert value.dtype == expected.dtype
        torch.testing.assert_close(value, expected, rtol=2**-10, atol=1e-7)


def damaged(tmp_path, model, change):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, LABELS, SMALL, {})
    change(path)
    return path


def rewrite(path, tensors=None, header=None):
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    save_file((tensors or (lambda t: t))(load_file(path)), path, (header or (lambda h: h))(old))


def without_first(tensors):
    return dict(list(tensors.items())[1:])


CASES = {
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "not a whole safetensors file"),
    "empty": (lambda p: p.write_bytes(b""), "not a whole safetensors file"),
    "huge header": (
        lambda p: p.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
        "not a whole safetensors file",
    ),
    "of another kind": (lambda p: rewrite(p, header=lambda h: {}), "not one of this package's"),
    "from the future": (
        lambda p: rewrite(p, header=lambda h: h | {"format_version": "99"}),
        "Update the package",
    ),
    "missing weight": (lambda p: rewrite(p, without_first), "1 missing"),
    "extra weight": (
        lambda p: rewrite(p, lambda t: t | {"odd": torch.ones(1)}),
        r"left over \(odd",
    ),
    "bad settings": (
        lambda p: rewrite(p, header=lambda h: h | {"experiment": '{"modle": {}}'}),
        "modle",
    ),
    "other classes": (
        lambda p: rewrite(
            p,
            header=lambda h: (
                h | {"labels": json.dumps(LabelSpace("one", LABELS.classes[:1]).to_dict())}
            ),
        ),
        "wrong shape",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_refused_with_its_name(model, tmp_path, name):
    change, message = CASES[name]
    path = damaged(tmp_path, model, change)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path)
    assert "model.safetensors" in str(caught.value)


def test_a_missing_file_and_a_model_in_place_of_a_state(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is none"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
    save_checkpoint(tmp_path / "model.safetensors", model, LABELS, SMALL, {})
    with pytest.raises(ValueError, match="holds a whole model, expected a run's state"):
        read_state(tmp_path / "model.safetensors")


def test_starting_from_trained_weights(model):
    source = Checkpoint(model, LABELS, SMALL, {})
    same = build_model(SMALL.model, 2)
    assert start_from(same, LABELS, source) == []
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in same.state_dict().items())

    more = LabelSpace("three", (*LABELS.classes, ClassInfo("wall", 11, False, (0, 9, 0))))
    other = build_model(SMALL.model, 3)
    before = other.semantic_head.predict.weight.clone()
    assert start_from(other, more, source) == [
        "semantic_head.predict.weight",
        "semantic_head.predict.bias",
    ]
    assert torch.equal(other.semantic_head.predict.weight, before)
    assert torch.equal(other.center_head.predict.weight, model.center_head.predict.weight)

    wider = build_model(SMALL.model.model_copy(update={"instance_channels": 16}), 2)
    with pytest.raises(ValueError, match="wrong shape"):
        start_from(wider, LABELS, source)
