"""What runs tell about themselves, and how files of older versions are read."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from panoptic_deeplab.checkpoint import load_checkpoint
from panoptic_deeplab.config import DataConfig, Experiment, RunConfig
from panoptic_deeplab.hub.contents import read_contents
from panoptic_deeplab.model import build_model
from panoptic_deeplab.provenance import command_line, from_version_1, of_run, source_commit
from panoptic_deeplab.version import __version__

REFERENCE = Path(__file__).parents[1] / "reference" / "checkpoint"


def test_a_run_tells_what_it_was(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/panoptic-deeplab", "train", "--out", "my run"])
    experiment = Experiment(
        name="facades",
        data=DataConfig(format="coco_panoptic", root="data"),
        run=RunConfig(seed=3, start_from="default"),
    )
    told = of_run(experiment, steps=7, images=(90, 10), metrics={"num_images": 10})
    assert json.loads(json.dumps(told)) == told
    assert datetime.fromisoformat(told["date"]).tzinfo is not None
    told.pop("date")
    told.pop("commit", None)  # there is none where the package is installed
    assert told == {
        "package": __version__,
        "torch": torch.__version__,
        "recipe": "facades",
        "command": "panoptic-deeplab train --out 'my run'",
        "data": {
            "format": "coco_panoptic",
            "root": "data",
            "train_split": "train",
            "val_split": "val",
            "train_images": 90,
            "val_images": 10,
        },
        "seed": 3,
        "steps": 7,
        "start_from": "default",
        "metrics": {"num_images": 10},
    }


def test_commands_can_be_typed_again():
    assert command_line(["/x/panoptic_deeplab/__main__.py", "demo"]) == "panoptic_deeplab demo"
    assert command_line(["", "a"]) == "'' a"
    assert command_line([]) == ""


def test_the_commit_is_that_of_the_source_tree(tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        found = subprocess.run(
            ["git", "-C", tmp_path, *who, *words], capture_output=True, text=True, check=True
        )
        return found.stdout.strip()

    module = tmp_path / "src" / "panoptic_deeplab" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("one")
    assert source_commit(module) is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert source_commit(module) == git("rev-parse", "HEAD")
    module.write_text("two")
    assert source_commit(module) == git("rev-parse", "HEAD") + "-dirty"
    # Another project's repository around an environment says nothing about this package.
    installed = tmp_path / "lib" / "panoptic_deeplab" / "provenance.py"
    installed.parent.mkdir(parents=True)
    assert source_commit(installed) is None


def test_keys_of_version_1_are_translated_and_others_stay():
    old = {
        "trained_with": "panoptic-deeplab 0.1.0, torch 2.13.0+cpu",
        "recipe": "nuclei",
        "step": 5,
        "validation": {"num_images": 2},
        "credit": "somebody",
    }
    assert from_version_1(old) == {
        "package": "0.1.0",
        "torch": "2.13.0+cpu",
        "recipe": "nuclei",
        "steps": 5,
        "metrics": {"num_images": 2},
        "credit": "somebody",
    }
    assert from_version_1({"trained_with": "care", "steps": 1, "step": 2}) == {
        "trained_with": "care",
        "steps": 1,
        "step": 2,
    }


def test_a_file_of_version_1_still_loads(tmp_path: Path):
    """The header is one that version 1 wrote, frozen; the weights are any that fit it."""
    header = json.loads((REFERENCE / "version_1.json").read_text())
    settings = Experiment.model_validate_json(header["experiment"])
    model = build_model(settings.model, 11)
    path = tmp_path / "old.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, header)
    loaded = load_checkpoint(path)
    assert loaded.provenance == {
        "package": "0.1.0",
        "torch": "2.13.0+cpu",
        "recipe": "tiny",
        "seed": 1,
        "steps": 8,
        "metrics": {"num_images": 2, "panoptic": {"all": {"pq": 0.25}}},
        "credit": "Drawn street scenes.",
    }
    assert loaded.labels.names[6] == "car"
    assert loaded.experiment.grouping.top_k == 20
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert read_contents(path).header["provenance"] == loaded.provenance
