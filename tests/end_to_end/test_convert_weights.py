"""Other publishers' weights through the real command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import publishers
from panoptic_deeplab.checkpoint import load_checkpoint

SMALL = "bowenc_mbnv2_cityscapes"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publishers.write(SMALL, tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publishers.write("timm_mobilenetv3_small_100", tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (65, 97, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_convert_and_show(run: Any, foreign: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "street.safetensors"
    result = run("convert", foreign, "--out", out, "--names")
    assert (result.code, result.err) == (0, "")
    assert "bowenc0221_mobilenet" in result.out
    assert "backbone.features.17.conv.2.weight" in result.out
    shown = run("weights", "show", out, "--json").json
    assert shown["experiment"]["model"]["backbone"] == "mobilenet_v2"
    assert shown["provenance"]["converted_from"] == foreign.name
    for weights in (foreign, out):
        folder = tmp_path / weights.stem
        assert run("predict", photo, "--weights", weights, "--out", folder).code == 0
    same = "predictions/photo.png"
    assert (tmp_path / foreign.stem / same).read_bytes() == (
        tmp_path / out.stem / same
    ).read_bytes()


def test_report_as_json(run: Any, foreign: Path, tmp_path: Path) -> None:
    words = ("convert", foreign, "--out", tmp_path / "half.safetensors", "--half", "--json")
    report = run(*words).json
    assert report["origin"].startswith("bowenc0221_mobilenet: ")
    assert report["names"]["backbone.features.0.0.weight"] == "backbone.stem.conv.weight"
    assert report["left out"] == []
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * foreign.stat().st_size


def test_show_without_converting(run: Any, foreign: Path) -> None:
    shown = run("weights", "show", foreign)
    assert "Panoptic-DeepLab of bowenc0221 on MobileNetV2" in shown.out
    listed = run("weights", "show", foreign, "--json").json
    assert listed["num_tensors"] == len(publishers.shapes(SMALL))


def test_a_backbone_cannot_predict(run: Any, backbone: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "backbone.safetensors"
    assert run("convert", backbone, "--out", out).code == 0
    for weights in (backbone, out):
        result = run("predict", photo, "--weights", weights, "--out", tmp_path / "results")
        assert result.code == 2
        assert "heads behind it were never trained" in result.err
        assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from panoptic_deeplab.cli import main

    folder = tmp_path_factory.mktemp("data") / "scenes"
    for split in ("train", "val"):
        words = ["data", "synthetic", "--out", folder, "--images", 2, "--split", split]
        with pytest.raises(SystemExit):
            main([*map(str, words), "--size", "65", "97"])
    return folder


STEPS = (
    *("--schedule.iterations", 1, "--schedule.batch-size", 2, "--augment.crop-size", 65, 97),
    *("--data.workers", 0, "--run.pictures", 0),
)


def test_finetune_with_other_classes(run: Any, foreign: Path, scenes: Path, tmp_path: Path) -> None:
    words = ("train", "--recipe", "facades", "--data", scenes, "--out", tmp_path / "run", *STEPS)
    result = run(*words, "--finetune", foreign)
    assert result.code == 0, result.err
    assert "left random, since the classes differ: semantic_head.predict.weight" in result.err
    trained = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert trained.experiment.model.backbone == "mobilenet_v2"
    assert trained.labels.num_classes == 11
    assert trained.provenance["start_from"] == str(foreign)


def test_finetune_from_a_backbone(run: Any, backbone: Path, scenes: Path, tmp_path: Path) -> None:
    words = ("train", "--recipe", "facades", "--data", scenes, "--out", tmp_path / "run", *STEPS)
    result = run(*words, "--finetune", backbone)
    assert result.code == 0, result.err
    assert "Backbone from" in result.err
    settings = json.loads((tmp_path / "run" / "experiment.json").read_text())["model"]
    assert settings["backbone"] == "mobilenet_v3_small"
    assert settings["semantic_channels"] == 64, "the decoders are the recipe's"
    other = run(*words[:6], tmp_path / "other", *STEPS, "--run.start-from", backbone)
    assert other.code == 2
    assert "the backbone to start from (mobilenet_v3_small) do not fit" in other.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--origin", "detectron2"), "is said to be of origin detectron2"),
        (("--labels", "LABELS"), "has 19 classes, 'toy' 1"),
        (("--labels", "nowhere.json"), "Expected a file with classes at nowhere.json"),
    ],
)
def test_slips(run: Any, foreign: Path, tmp_path: Path, words: Any, message: str) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text('{"name": "toy", "classes": [{"name": "car", "id": 1}]}')
    words = [str(labels) if word == "LABELS" else word for word in words]
    result = run("convert", foreign, "--out", tmp_path / "out.safetensors", *words)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()
