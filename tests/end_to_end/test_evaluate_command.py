"""`evaluate` from saved results, resumed, and `compare`, as a user meets them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import panoptic_deeplab
from panoptic_deeplab.counts_file import NAME, PART

DEFAULT = Path(panoptic_deeplab.__file__).parent / "weights" / "default.safetensors"


@pytest.fixture
def scenes(run: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    words = ("--images", 3, "--split", "val", "--size", 64, 96)
    assert run("data", "synthetic", "--out", folder, *words).code == 0
    return folder


def test_saved_predictions_give_the_same_numbers(
    run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    kept, page = tmp_path / "kept", tmp_path / "page.html"
    words = ("evaluate", "--data", scenes, "--scores", "all", "--boundary", "--json")
    now = run(*words, "--weights", tiny_weights, "--save", kept)
    later = run(*words, "--predictions", kept, "--html", page)
    assert (now.code, later.code) == (0, 0)
    first, second = json.loads(now.out), json.loads(later.out)
    assert first.pop("seconds_per_image") > second.pop("seconds_per_image") == 0
    assert first == second
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    table = run(*words[:-1], "--predictions", kept).out
    assert "instances rated by" in table
    assert "boundaries" in table


def test_resume(run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path) -> None:
    kept, weights = tmp_path / "kept", tmp_path / "weights.safetensors"
    shutil.copy(tiny_weights, weights)
    words = ("evaluate", "--data", scenes, "--weights", weights, "--json", "--save", kept)
    whole = json.loads(run(*words).out)
    lines = (kept / NAME).read_text().splitlines(keepends=True)
    (kept / NAME).unlink()
    (kept / PART).write_text("".join(lines[:2]))  # as if killed after the first image
    resumed = json.loads(run(*words, "--resume").out)
    assert resumed["panoptic"] == whole["panoptic"]
    assert resumed["num_images"] == 3
    # Other weights at the same place would mix two models in one result.
    shutil.copy(DEFAULT, weights)
    other = run(*words, "--resume")
    assert other.code == 2
    assert "expected the counts of this evaluation" in other.err


def segments_of(counts: Path) -> dict[str, list[list[int]]]:
    """Of each image, without scores, whose last digit depends on the number of threads."""
    lines = [json.loads(line) for line in counts.read_text().splitlines()[1:]]
    return {line["image"]: [segment[:3] for segment in line["prediction"]] for line in lines}


def test_two_processes_find_what_one_does(
    run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    """Three images for two processes; then they go on with what one of them had counted."""
    alone, kept = tmp_path / "alone", tmp_path / "kept"
    words = ("evaluate", "--data", scenes, "--weights", tiny_weights, "--json", "--save")
    expected = json.loads(run(*words, alone).out)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node=2", "-m", "panoptic_deeplab", *map(str, words), str(kept)]
    for resume in ((), ("--resume",)):
        result = subprocess.run([*launcher, *resume], capture_output=True, text=True, check=True)
        found = json.loads(result.stdout)  # the first process alone speaks
        assert found.pop("seconds_per_image") > 0
        assert found == {k: v for k, v in expected.items() if k != "seconds_per_image"}
        assert {path.name for path in kept.iterdir()} == {NAME, "report.json"}
        lines = (kept / NAME).read_text().splitlines(keepends=True)
        assert segments_of(kept / NAME) == segments_of(alone / NAME)
        (kept / NAME).unlink()
        (kept / PART).write_text("".join(lines[:2]))


def test_compare(run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path) -> None:
    words = ("evaluate", "--data", scenes, "--json", "--save")
    for name, weights in (("a", tiny_weights), ("b", "default")):
        assert run(*words, tmp_path / name, "--weights", weights).code == 0
    page = tmp_path / "page.html"
    result = run("compare", tmp_path / "a", tmp_path / "b", "--draws", 50, "--json", "--html", page)
    found = json.loads(result.out)["differences"]["PQ"]
    assert found["low"] <= found["change"] <= found["high"]
    assert found["change"] > 0.1  # trained weights against random ones
    assert page.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--predictions", "gone"), "expected the list of predictions, found none"),
        (("--predictions", "gone", "--oracle", "center"), "--predictions has none"),
        (("--resume",), "--resume goes on with what --save has kept"),
        (("--html", "."), "Expected a file to write, . is a folder"),
        (("--limit", -1), "limit must be 0 (all images) or more, got -1"),
    ],
)
def test_slips(
    words: tuple[object, ...],
    sentence: str,
    run: Any,
    scenes: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = run("evaluate", "--data", scenes, "--weights", tiny_weights, *words)
    assert result.code == 2
    assert sentence in result.err
    assert result.out == ""
    assert list(Path().iterdir()) == []
