"""TensorFlow's checkpoints through a stand-in for its reader: names, layouts, what is left out."""

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from panoptic_deeplab.backbone_weights import BackboneWeights, load_backbone_strictly
from panoptic_deeplab.backbones import Backbone, build_backbone
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.convert import CONVERTERS, origin_of
from panoptic_deeplab.convert.read import read_tensors
from panoptic_deeplab.convert.rules import rename
from panoptic_deeplab.convert.tensorflow_files import data_bytes, tensors_of
from standins import FEATURES, draw, relative_error


class Reader:
    """What `tf.train.load_checkpoint` gives, as far as it is used."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = {name: np.asarray(value) for name, value in values.items()}

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        return {name: list(value.shape) for name, value in self.values.items()}

    def get_variable_to_dtype_map(self) -> dict[str, Any]:
        return {n: SimpleNamespace(size=v.dtype.itemsize) for n, v in self.values.items()}

    def get_tensor(self, name: str) -> np.ndarray:
        return self.values[name]


def test_kernels_are_turned_and_slots_left_out() -> None:
    plain = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    found = dict(
        tensors_of(
            Reader(
                {
                    "net/conv/weights": plain,
                    "net/conv/weights/Momentum": plain,
                    "net/deep/depthwise_weights": plain[..., :1],
                    "net/conv/BatchNorm/gamma": np.ones(5, np.float32),
                    "net/conv/BatchNorm/beta": np.zeros(5, np.float32),
                    "net/conv/BatchNorm/moving_mean": np.zeros(5, np.float32),
                    "net/conv/BatchNorm/moving_variance": np.ones(5, np.float32),
                    "net/logits/biases": np.zeros(7, np.float32),
                    "global_step": np.int64(3),
                }
            ),
            10_000,
        )
    )
    assert set(found) == {
        "net.conv.weight",
        "net.deep.weight",
        "net.conv.BatchNorm.weight",
        "net.conv.BatchNorm.bias",
        "net.conv.BatchNorm.running_mean",
        "net.conv.BatchNorm.running_var",
        "net.logits.bias",
    }
    assert found["net.conv.weight"].shape == (5, 4, 2, 3)
    assert found["net.conv.weight"][4, 3, 1, 2] == plain[1, 2, 3, 4]
    assert found["net.deep.weight"].shape == (4, 1, 2, 3)
    assert found["net.deep.weight"][3, 0, 1, 2] == plain[1, 2, 3, 0]


def test_a_kernel_does_what_it_does_in_tensorflow() -> None:
    """TensorFlow's definition of a convolution, summed by hand, beside torch's."""
    rng = np.random.default_rng(0)
    kernel, image = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(6, 7, 2))
    expected = sum(
        np.einsum("yxi,io->yxo", image[dy : dy + 4, dx : dx + 5], kernel[dy, dx])
        for dy in range(3)
        for dx in range(3)
    )
    (_, turned), *_ = tensors_of(Reader({"a/weights": kernel}), 10_000)
    found = torch.conv2d(torch.from_numpy(image).permute(2, 0, 1)[None], turned)[0]
    assert np.allclose(found.permute(1, 2, 0).numpy(), expected)


def test_files_with_odd_names_are_found(tmp_path: Path) -> None:
    for name, count in (("a[1].data-00000-of-00002", 3), ("a[1].data-00001-of-00002", 4)):
        (tmp_path / name).write_bytes(bytes(count))
    (tmp_path / "a1.data-00000-of-00001").write_bytes(bytes(9))
    assert data_bytes(tmp_path / "a[1]") == 7


def test_sizes_are_compared_with_the_files() -> None:
    with pytest.raises(ValueError, match="need 400 bytes, the data files have 399"):
        list(tensors_of(Reader({"a": np.zeros(100, np.float32)}), 399))


def slim_xception(name: str, entry: int, middle: int) -> str:
    """Our name of a weight -> slim's, written the other way round."""
    parts = name.split(".")
    if parts[0] == "stem":
        place = f"entry_flow/conv1_{int(parts[1]) + 1}"
        rest = parts[2:]
    else:
        number = int(parts[1])
        if number < entry:
            block = f"entry_flow/block{number + 1}/unit_1"
        elif number < entry + middle:
            block = f"middle_flow/block1/unit_{number - entry + 1}"
        else:
            block = f"exit_flow/block{number - entry - middle + 1}/unit_1"
        if parts[2] == "shortcut":
            place, rest = f"{block}/xception_module/shortcut", parts[3:]
        else:
            conv = f"separable_conv{int(parts[3]) + 1}_{parts[4]}"
            place, rest = f"{block}/xception_module/{conv}", parts[5:]
    return f"{place}/{slim_leaf(rest, place)}"


def slim_resnet(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "stem":
        return f"conv1_{int(parts[1]) + 1}/{slim_leaf(parts[2:], '')}"
    conv = {"reduce": "conv1", "spatial": "conv2", "expand": "conv3"}.get(parts[3], parts[3])
    unit = f"block{int(parts[1]) + 1}/unit_{int(parts[2]) + 1}/bottleneck_v1/{conv}"
    return f"{unit}/{slim_leaf(parts[4:], '')}"


def slim_leaf(rest: list[str], place: str) -> str:
    if rest[0] == "norm":
        names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
        return f"BatchNorm/{names.get(rest[1], 'moving_variance')}"
    return "depthwise_weights" if place.endswith("_depthwise") else "weights"


CASES = {
    "deeplab_xception41": ("xception41", "xception_41", (3, 8)),
    "deeplab_xception65": ("xception65", "xception_65", (3, 16)),
    "deeplab_xception71": ("xception71", "xception_71", (5, 16)),
    "deeplab_resnet50": ("resnet50_beta", "resnet_v1_50", None),
    "deeplab_resnet101": ("resnet101_beta", "resnet_v1_101", None),
}


def slim_values(
    state: dict[str, torch.Tensor], scope: str, flows: tuple[int, int] | None
) -> dict[str, np.ndarray]:
    """Our weights by slim's names and in its layout."""
    values = {}
    for ours, weight in state.items():
        if ours.endswith("num_batches_tracked"):
            continue
        slim = slim_xception(ours, *flows) if flows else slim_resnet(ours)
        value = weight.numpy()
        if slim.endswith("depthwise_weights"):
            value = value.transpose(2, 3, 0, 1)
        elif value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        values[f"{scope}/{slim}"] = value
    return values


def loaded(tensors: dict[str, torch.Tensor], name: str) -> Backbone:
    """A backbone with these weights; the counters of its norms are added."""
    norms = [n.removesuffix("running_var") for n in tensors if n.endswith(".running_var")]
    counters = {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}
    weights = BackboneWeights(tensors | counters, ModelConfig(backbone=name), {})
    return load_backbone_strictly(weights, {}, name)


@pytest.mark.parametrize("origin", ["deeplab_xception65", "deeplab_resnet50"])
def test_features_are_tensorflows(origin: str) -> None:
    """What the layers of slim's code gave, put together from TensorFlow's own operations."""
    name, scope, flows = CASES[origin]
    with torch.device("meta"):
        state = build_backbone(name, output_stride=16).state_dict()
    drawn = {k: draw(f"{name}.{k}", tuple(v.shape)) for k, v in state.items()}
    tensors = dict(tensors_of(Reader(slim_values(drawn, scope, flows)), 10**9))
    renamed = rename(tensors, CONVERTERS[origin].rules)
    backbone = loaded({new: tensors[old] for old, new in renamed.items()}, name).eval()
    with np.load(FEATURES / f"{origin}.npz") as file, torch.no_grad():
        image = torch.from_numpy(file["image"]).permute(2, 0, 1)[None].float()
        features = backbone((image - 127.5) / 127.5)[-1][0, ::16]
        assert relative_error(features, file["features"]) < 1e-5


@pytest.mark.parametrize("origin", CASES)
def test_backbones_come_back_whole(origin: str) -> None:
    """A whole DeepLab by slim's names: its backbone gives our weights back, the rest is told."""
    name, scope, flows = CASES[origin]
    backbone = build_backbone(name, output_stride=16)
    values = slim_values(backbone.state_dict(), scope, flows)
    values["aspp0/weights"] = np.zeros((1, 1, 2048, 256), np.float32)
    values["logits/semantic/biases"] = np.zeros(21, np.float32)
    tensors = dict(tensors_of(Reader(values), 10**9))
    assert origin_of(tensors, Path("x"), None) == origin
    renamed = rename(tensors, CONVERTERS[origin].rules)
    assert renamed["aspp0.weight"].startswith("classifier.unused.")
    ours = {new: tensors[old] for old, new in renamed.items() if new.startswith("backbone.")}
    again = loaded(ours, name)
    for key, weight in backbone.state_dict().items():
        assert torch.equal(again.state_dict()[key], weight), key


def test_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "tensorflow":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    path = tmp_path / "model.ckpt.index"
    path.write_bytes(b"x")
    with pytest.raises(ImportError, match=r"panoptic-deeplab\[tensorflow\]"):
        read_tensors(path)
