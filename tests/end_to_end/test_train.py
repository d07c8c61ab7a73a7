"""Training through the real command line: it learns, it resumes, it refuses."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import panoptic_deeplab

SMALL = [
    *("--recipe", "synthetic", "--data.size", "64", "96", "--augment.crop-size", "65", "97"),
    *("--data.val-images", "2", "--data.train-images", "8", "--data.workers", "0"),
    *(
        "--schedule.iterations",
        "8",
        "--schedule.batch-size",
        "4",
        "--schedule.precision",
        "float32",
    ),
    *("--schedule.warmup-iterations", "2", "--model.backbone", "mobilenet_v3_small"),
    *("--model.aspp-channels", "16", "--model.semantic-channels", "16"),
    *("--model.semantic-head-channels", "16", "--model.instance-channels", "16"),
    *("--run.threads", "1", "--run.log-every", "1", "--run.checkpoint-every", "3"),
    *("--run.validate-every", "4", "--run.pictures", "1", "--run.keep", "2"),
    *("--schedule.accumulate", "2", "--schedule.ema-decay", "0.9", "--schedule.clip-norm", "5"),
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "panoptic_deeplab", *arguments]


def train(out: Path, *more: str, **process: Any) -> subprocess.CompletedProcess[str]:
    words = command("train", *SMALL, "--out", str(out), *more)
    return subprocess.run(words, capture_output=True, text=True, **process)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    result = train(out)
    assert result.returncode == 0, result.stderr
    return out


def start_and_stop(out: Path, step: int, how: signal.Signals, *more: str) -> int:
    """Start a run and send it and its loader's workers a signal once its log has reached a step."""
    process = subprocess.Popen(
        command("train", *SMALL, "--out", str(out), *more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    log = out / "log.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_text().count('"kind": "train"') >= step:
            os.killpg(process.pid, how)
            break
        time.sleep(0.005)
    return process.wait(timeout=60)


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].numpy().tobytes() != b[name].numpy().tobytes()]
    assert not different


@pytest.mark.parametrize(
    "step", [4, pytest.param(1, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)]
)
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(unbroken, tmp_path, step):
    out = tmp_path / "killed"
    assert start_and_stop(out, step, signal.SIGKILL) == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    result = train(out, "--resume")
    assert result.returncode == 0, result.stderr
    assert_same_weights(unbroken, out)
    assert [(e["kind"], e["step"]) for e in entries(out)] == [
        (e["kind"], e["step"]) for e in entries(unbroken)
    ]
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
def test_twenty_kills_at_random_moments(unbroken, tmp_path):
    """One run, killed again and again, also while it writes a checkpoint, as it does each step."""
    out = tmp_path / "tormented"
    chance = random.Random(0)
    words = command("train", *SMALL, "--out", str(out), "--resume", "--run.checkpoint-every", "1")
    kills = 0
    while kills < 20:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        log, before = out / "log.jsonl", steps_of(out)
        deadline = time.monotonic() + 120
        # Until it has begun, or gone on: else twenty kills would all meet the imports.
        while process.poll() is None and steps_of(out) <= before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.6)
        if process.poll() is not None:  # it came to its end: let it start anew
            assert process.returncode == 0
            assert_same_weights(unbroken, out)
            shutil.rmtree(out)
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        kills += 1
        assert log.exists()
    result = train(out, "--resume", "--run.checkpoint-every", "1")
    assert result.returncode == 0, result.stderr
    assert_same_weights(unbroken, out)
    assert not list(out.rglob("*.part"))


def steps_of(out: Path) -> int:
    """Steps a run has logged, whatever its last line looks like."""
    log = out / "log.jsonl"
    return log.read_text().count('"kind": "train"') if log.exists() else 0


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_terminated_run_saves_its_step_and_resumes(unbroken, tmp_path, workers):
    out = tmp_path / "terminated"
    assert start_and_stop(out, 2, signal.SIGTERM, "--data.workers", workers) == 130
    assert (out / "state.safetensors").exists()
    assert train(out, "--resume").returncode == 0
    assert_same_weights(unbroken, out)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process")
def test_a_full_disk_ends_a_run_in_a_sentence_and_loses_nothing(unbroken, tmp_path):
    """The disk takes the log, yet no file as large as the network."""
    import resource

    def fill_disk() -> None:
        limit = (unbroken / "model.safetensors").stat().st_size // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    out = tmp_path / "full"
    assert start_and_stop(out, 2, signal.SIGTERM) == 130
    before = (out / "state.safetensors").read_bytes()
    result = train(out, "--resume", preexec_fn=fill_disk)
    assert result.returncode == 2
    told = result.stderr.split("error:")[-1]
    assert ".safetensors: File too large; what was there before is kept; free some" in told
    assert (out / "state.safetensors").read_bytes() == before
    assert not list(out.rglob("*.part"))
    assert train(out, "--resume").returncode == 0
    assert_same_weights(unbroken, out)


def entries(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_model_log_curves_and_pictures(unbroken):
    names = {path.name for path in unbroken.iterdir()}
    assert {"experiment.json", "log.jsonl", "curves.png"} <= names
    assert {"model.safetensors", "best.safetensors", "state.safetensors"} <= names
    kinds = [(entry["kind"], entry["step"]) for entry in entries(unbroken)]
    assert kinds.count(("validation", 4)) == kinds.count(("validation", 8)) == 1
    assert len(list((unbroken / "pictures").glob("*.jpg"))) == 2
    assert {n for n in names if n.startswith("step_")} == {
        "step_00000006.safetensors",
        "step_00000008.safetensors",
    }
    step = entries(unbroken)[0]
    assert 0 < step["memory_gb"] < 64
    assert step["gradient_norm"] > 0
    assert list((unbroken / "tensorboard").iterdir())


def test_a_run_has_a_page(unbroken):
    result = subprocess.run(
        command("report", str(unbroken)), capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == str(unbroken / "report.html")
    assert "8 of 8 steps" in (unbroken / "report.html").read_text()


def test_the_model_predicts_and_says_where_it_comes_from(unbroken):
    model = panoptic_deeplab.load(unbroken / "model.safetensors")
    assert not model.training
    sample = panoptic_deeplab.build_dataset(
        panoptic_deeplab.recipe("synthetic").data.model_copy(update={"size": (64, 96)}), "val"
    )[0]
    assert model.predict(sample.image).segment_map.shape == (64, 96)


def test_a_folder_that_holds_a_run_is_not_overwritten(unbroken):
    before = (unbroken / "state.safetensors").read_bytes()
    result = train(unbroken)
    assert result.returncode == 2
    assert "already holds a run" in result.stderr
    assert (unbroken / "state.safetensors").read_bytes() == before


def test_resuming_with_other_settings_is_refused_by_name(unbroken):
    result = train(unbroken, "--resume", "--schedule.learning-rate", "0.5")
    assert result.returncode == 2
    assert "schedule.learning_rate was 0.002, now 0.5" in " ".join(result.stderr.split())


@pytest.mark.slow
def test_four_scenes_are_learnt_by_heart(tmp_path):
    from panoptic_deeplab.config import DataConfig
    from panoptic_deeplab.data.synthetic import SyntheticStreets
    from panoptic_deeplab.evaluate import evaluate
    from panoptic_deeplab.recipes import recipe
    from panoptic_deeplab.train import train as run_training

    small = recipe("synthetic")
    small = small.model_copy(
        update={
            "data": DataConfig(size=(64, 96), train_images=4, val_images=4, workers=0),
            # As the recipe infers, at twice the size; the same four crops again and again.
            "augment": small.augment.model_copy(
                update={
                    **{"crop_size": (129, 193), "min_scale": 2.0, "max_scale": 2.0, "flip": False},
                    **{"brightness": 0.0, "contrast": 0.0, "saturation": 0.0},
                }
            ),
            # A sky of few pixels counts in so small a scene.
            "grouping": small.grouping.model_copy(update={"stuff_area_px": 0}),
            "schedule": small.schedule.model_copy(
                update={"iterations": 900, "batch_size": 4, "warmup_iterations": 20}
            ),
            "run": small.run.model_copy(update={"validate_every": 900, "pictures": 0}),
        }
    )
    model = panoptic_deeplab.load(run_training(small, tmp_path / "heart"))
    seen = SyntheticStreets((64, 96), 4, 0)  # the training scenes themselves
    assert evaluate(model, seen).panoptic.all.pq > 0.95
