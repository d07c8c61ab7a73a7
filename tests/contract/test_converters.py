"""Every origin of weights: its names are known, complete, and mistakes are listed by name."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import publishers
from panoptic_deeplab.backbone_weights import BackboneWeights, load_backbone_strictly
from panoptic_deeplab.backbones import build_backbone
from panoptic_deeplab.convert import CONVERTERS, convert, origin_of
from panoptic_deeplab.convert.rules import rename
from panoptic_deeplab.hub.catalogue import published

ORIGIN_OF = {
    "detectron2_r52_cityscapes": "detectron2",
    "detectron2_r52_cityscapes_dsconv": "detectron2",
    "detectron2_r52_coco_dsconv": "detectron2",
    "bowenc_r50_cityscapes": "bowenc0221_resnet",
    "bowenc_r101_cityscapes": "bowenc0221_resnet",
    "bowenc_x65_cityscapes": "bowenc0221_xception",
    "bowenc_hrnet48_cityscapes": "bowenc0221_hrnet",
    "bowenc_mbnv2_cityscapes": "bowenc0221_mobilenet",
    "timm_hrnet_w48": "hrnet",
    "timm_mobilenetv3_large_100": "timm_mobilenet_v3_large",
    "timm_mobilenetv3_small_100": "timm_mobilenet_v3_small",
    "timm_resnet50": "resnet",
    "timm_xception65": "timm_xception",
    "timm_xception71": "timm_xception",
}
SMALL = "timm_mobilenetv3_small_100"


@pytest.mark.parametrize("name", publishers.NAMES)
def test_names_tell_the_origin(name: str) -> None:
    assert origin_of(publishers.shapes(name), Path(name), None) == ORIGIN_OF[name]
    fitting = [o for o, origin in CONVERTERS.items() if origin.fits(publishers.shapes(name))]
    assert fitting == [ORIGIN_OF[name]]


@pytest.mark.parametrize("name", publishers.NAMES)
def test_no_two_names_become_one(name: str) -> None:
    shapes = publishers.shapes(name)
    renamed = rename(shapes, CONVERTERS[ORIGIN_OF[name]].rules)
    assert len(set(renamed.values())) == len(shapes)


@pytest.mark.parametrize("origin", CONVERTERS)
def test_every_origin_has_a_title_and_marks(origin: str) -> None:
    found = CONVERTERS[origin]
    assert found.title
    assert found.marks
    assert not found.fits(dict.fromkeys(found.marks[1:]))


def changed(tmp_path: Path, **weights: torch.Tensor | None) -> Path:
    """The smallest file, with weights replaced, added, or taken away."""
    values: dict[str, torch.Tensor] = {
        name: torch.zeros(shape) for name, shape in publishers.shapes(SMALL).items()
    }
    for name, weight in weights.items():
        key = name.replace("__", ".")
        if weight is None:
            del values[key]
        else:
            values[key] = weight
    path = tmp_path / "changed.pth"
    torch.save(values, path)
    return path


def test_leftovers_are_listed(tmp_path: Path) -> None:
    path = changed(tmp_path, teacher__weight=torch.zeros(1))
    with pytest.raises(ValueError, match=r"0 missing; 1 left over \(teacher\.weight\)"):
        convert(path)


def test_missing_weights_are_listed(tmp_path: Path) -> None:
    path = changed(tmp_path, bn1__running_var=None)
    with pytest.raises(ValueError, match=r"1 missing \(stem\.norm\.running_var\); 0 left over"):
        convert(path)


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    path = changed(tmp_path, bn1__bias=torch.zeros(17))
    with pytest.raises(ValueError, match=r"1 wrong shape \(bn1\.bias is \(17,\), needs \(16,\)\)"):
        convert(path)


def test_doubles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Both 'a\.1' and 'a\.2' are the weight 'b'"):
        rename(["a.1", "a.2"], [(r"a\.\d", "b")])


def test_counters_of_batch_norms_may_be_missing(tmp_path: Path) -> None:
    convert(changed(tmp_path, bn1__num_batches_tracked=None))


def test_a_wrong_origin_is_an_error(tmp_path: Path) -> None:
    path = changed(tmp_path)
    with pytest.raises(ValueError, match=r"of origin hrnet.* of timm_mobilenet_v3_small"):
        convert(path, origin="hrnet")
    with pytest.raises(ValueError, match=r"Unknown origin 'hrmet'\. Did you mean 'hrnet'"):
        convert(path, origin="hrmet")


def test_names_of_nobody(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"odd.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"\(odd\.weight, \.\.\.\) have names of no origin known"):
        convert(path)


def test_msras_names(tmp_path: Path) -> None:
    """No stand-in is at hand: names are made from ours, and what is special is looked at."""
    network = build_backbone("resnet50", output_stride=32)
    values = {}
    for name, weight in network.state_dict().items():
        if "running" in name or "batches" in name:
            continue
        key = re.sub(r"^stem\.0\.conv", "conv1", name).replace("stem.0.norm", "res_conv1_bn")
        key = re.sub(r"^stages\.(\d)\.(\d)\.", lambda m: f"res{int(m[1]) + 2}_{m[2]}_branch", key)
        for ours, theirs in (("shortcut", "1"), ("reduce", "2a"), ("spatial", "2b")):
            key = key.replace(ours, theirs)
        key = key.replace("expand", "2c").replace(".conv", "").replace(".norm", "_bn")
        last = "_s" if ".norm.weight" in name else "_w"
        key = key.replace(".weight", last).replace(".bias", "_b")
        values[key] = weight.numpy() if weight.ndim else weight
    values["fc1000_w"], values["fc1000_b"] = np.zeros((1000, 2048)), np.zeros(1000)
    assert {"conv1_w", "res_conv1_bn_s", "res5_2_branch2c_bn_b", "res2_0_branch1_w"} <= set(values)
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": values}, protocol=2))
    found = convert(path)
    assert isinstance(found, BackboneWeights)
    assert found.config.pixel_std == (1, 1, 1)
    backbone = load_backbone_strictly(found, {}, path).eval()
    assert backbone.stages[1][0].reduce.conv.stride == (2, 2)
    ours = torch.from_numpy(values["conv1_w"])
    assert torch.equal(found.tensors["backbone.stem.0.conv.weight"], ours[:, [2, 1, 0]])
    norm = backbone.stem[0].norm
    x = torch.randn(1, 64, 3, 3)
    plain = x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    assert torch.allclose(norm(x), plain, atol=1e-6)


def test_classifiers_may_be_missing(tmp_path: Path) -> None:
    found = convert(changed(tmp_path, classifier__weight=None, classifier__bias=None))
    assert found.provenance["left_out"] == ["conv_head.bias", "conv_head.weight"]


def test_pickles_of_the_catalogue_are_detectron2s() -> None:
    """What is listed under a name and can be fetched is of an origin that is known."""
    for entry in published().values():
        if entry.url and not entry.embedded:
            assert entry.file.endswith(".pkl")
