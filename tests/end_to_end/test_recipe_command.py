from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from panoptic_deeplab.recipes import RECIPES


def test_list(run: Any) -> None:
    listed = run("recipe", "list")
    assert listed.code == 0
    assert all(name in listed.out for name in RECIPES)
    plain = run("recipe", "list", "--json").json
    assert [entry["name"] for entry in plain] == list(RECIPES)
    assert "PQ 63.0, AP 35.3, mIoU 80.5 (supplement, table 1)" in {e["expected"] for e in plain}


def test_show(run: Any) -> None:
    shown = run("recipe", "show", "mapillary-hrnet-w48-plus")
    assert "schedule.learning_rate" in shown.out
    assert "train --recipe mapillary-hrnet-w48-plus --data DATA" in shown.out
    assert run("recipe", "show", "nuclei", "--json").json["settings"]["inference"]["scale"] == 2.5


def test_slips(run: Any, tmp_path: Path) -> None:
    for words, message in (
        (("show", "cityscapes-xcption71"), "Did you mean 'cityscapes-xception71'"),
        (("export", "nuclei", tmp_path / "a.txt"), "A recipe is written as YAML"),
        (("shw", "nuclei"), "Unknown command 'recipe shw'"),
    ):
        result = run("recipe", *words)
        assert result.code == 2
        assert message in result.err


def test_train_takes_batch_and_parts(run: Any, tmp_path: Path) -> None:
    """Settings typed by name count more than what follows from the batch."""
    common = ("train", "--recipe", "synthetic", "--out", tmp_path / "x", "--help")
    text = " ".join(run(*common, "--batch", 4, "--accumulate", 2).out.split())
    assert "(default: 3000)" in text
    assert "(default: 0.001)" in text
    for option, value in (("--batch", "0"), ("--accumulate", "two")):
        result = run(*common[:-1], option, value)
        assert result.code == 2
        assert f"{option} takes a whole number above 0, got '{value}'" in result.err


def test_dry_run(run: Any, tmp_path: Path) -> None:
    words = (
        *("train", "--recipe", "synthetic", "--out", tmp_path / "dry", "--dry-run"),
        *("--data.size", 64, 96, "--augment.crop-size", 65, 97, "--data.workers", 0),
        *("--schedule.batch-size", 2, "--schedule.iterations", 900),
        *("--model.backbone", "mobilenet_v3_small", "--model.aspp-channels", 16),
    )
    plan = run(*words, "--json").json
    assert plan["network"] == "mobilenet_v3_small"
    assert plan["training_hours"] == pytest.approx(plan["seconds_per_step"] * 900 / 3600, abs=0.01)
    assert plan["loss"] > 0
    with Image.open(tmp_path / "dry" / "first_batch.jpg") as picture:
        assert picture.width > picture.height / 2 > 200
    assert [p.name for p in (tmp_path / "dry").iterdir()] == ["first_batch.jpg"]
    assert "what this run needs" in run(*words).out
