"""Several looks and several networks through the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab.checkpoint import load_checkpoint, save_checkpoint
from panoptic_deeplab.labels import ClassInfo, LabelSpace


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_scales_flip_and_ensemble(
    run: Any, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    words = ("predict", photo, "--weights", tiny_weights, "--out", tmp_path / "out")
    looks = ("--scales", 0.5, 1, "--flip", "--ensemble", tiny_weights, "--shares", 2, 1)
    result = run(*words, *looks)
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "out" / "predictions" / "photo.png").is_file()


def test_looks_that_the_weights_ask_for(run: Any, photo: Path, tmp_path: Path) -> None:
    maps = []
    for looks in ((), ("--flip",), ("--no-flip",)):
        out = tmp_path / "-".join(("out", *looks))
        assert run("predict", photo, "--weights", "nuclei", "--out", out, *looks).code == 0
        maps.append((out / "predictions.json").read_bytes())
    assert maps[0] == maps[1] != maps[2]


def test_tiles(run: Any, tiny_weights: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    np.save(tmp_path / "large.npy", pixels)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    maps = []
    for name in ("large.npy", "large.png"):
        out = tmp_path / name.replace(".", "_")
        words = ("predict", tmp_path / name, "--weights", tiny_weights, "--out", out)
        result = run(*words, "--tile", 160, "--tile-overlap", 64, "--flip")
        assert (result.code, result.err) == (0, "")
        maps.append((out / "predictions" / "large.png").read_bytes())
    assert maps[0] == maps[1]


def test_evaluate_with_looks(run: Any, tiny_weights: Path, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    run("data", "synthetic", "--out", scenes, "--images", 2, "--split", "val", "--size", 64, 96)
    words = ("evaluate", "--data", scenes, "--weights", tiny_weights, "--json")
    plain, looked = run(*words), run(*words, "--scales", 0.5, 1, "--flip")
    assert plain.code == looked.code == 0
    assert plain.json["panoptic"] != looked.json["panoptic"]
    saved = ("--save", tmp_path / "saved")
    assert run(*words, *saved, "--flip").code == 0
    again = run(*words, *saved, "--resume")
    assert again.code == 2, "results of other looks do not mix"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flip", "--no-flip"), "--flip and --no-flip exclude each other"),
        (("--scales", 0), "--scales takes factors above 0 and up to 8, got 0.0."),
        (("--tile", 16), "Tiles of 16 pixels must overlap by 64 pixels or more"),
        (("--tile", -1), "tile: input should be greater than or equal to 0, got -1"),
        (("--shares", 1, 2), "--shares weighs the networks of an ensemble"),
        (
            ("--ensemble", "default", "--shares", 1),
            "a share for each, or none, got 2 weights and 1",
        ),
        (("--ensemble", "default", "--shares", 1, -1), "share must be above 0, got [1.0, -1.0]"),
        (("--ensemble", "nuclei"), "need the same classes, nuclei was trained on"),
    ],
)
def test_slips(run: Any, photo: Path, tmp_path: Path, words: Any, message: str) -> None:
    result = run("predict", photo, "--out", tmp_path / "out", *words)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_weights_average(run: Any, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    result = run("weights", "average", tiny_weights, tiny_weights, "--out", out)
    assert (result.code, result.out) == (0, f"mean of 2 in {out}\n")
    mean, part = load_checkpoint(out), load_checkpoint(tiny_weights)
    for name, weight in mean.model.state_dict().items():
        assert (weight == part.model.state_dict()[name]).all()
    assert mean.provenance["averaged"] == [str(tiny_weights)] * 2
    alone = run("weights", "average", tiny_weights, "--out", tmp_path / "x.safetensors")
    assert alone.code == 2
    assert "needs two sets of weights or more, got 1" in alone.err
    other = tmp_path / "other.safetensors"
    labels = LabelSpace(
        "other",
        tuple(ClassInfo(f"c{i}", i, True, (i, i, i)) for i in range(part.labels.num_classes)),
    )
    save_checkpoint(other, part.model, labels, part.experiment, {})
    mixed = run("weights", "average", tiny_weights, other, "--out", tmp_path / "x.safetensors")
    assert mixed.code == 2
    assert "number 2 knows 'other'" in mixed.err
    assert not (tmp_path / "x.safetensors").exists()
