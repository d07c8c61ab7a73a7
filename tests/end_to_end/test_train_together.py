"""Two processes on one machine train what one does, and go on after one of them has died."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

# Batch norms share their statistics and all pixels count: the sums are those of one process.
SMALL = [
    *("--recipe", "synthetic", "--data.size", "64", "96", "--augment.crop-size", "65", "97"),
    *("--data.val-images", "5", "--data.train-images", "8", "--data.workers", "0"),
    *("--schedule.iterations", "6", "--schedule.batch-size", "4"),
    *("--schedule.precision", "float32", "--schedule.learning-rate", "1e-3"),
    *("--model.backbone", "mobilenet_v3_small", "--model.norm", "sync"),
    *("--model.aspp-channels", "16", "--model.semantic-channels", "16"),
    *("--model.semantic-head-channels", "16", "--model.instance-channels", "16"),
    *("--model.aspp-dropout", "0", "--loss.hardest-fraction", "1"),
    *("--run.threads", "1", "--run.log-every", "1", "--run.checkpoint-every", "2"),
    *("--run.validate-every", "6", "--run.pictures", "0"),
]


def start(out: Path, count: int, *more: str) -> subprocess.Popen[str]:
    together = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    module = ["-m", "panoptic_deeplab", "train", *SMALL, "--out", str(out)]
    module += [word for word in more if word != "restarts"]
    restarts = ["--max-restarts=2"] if "restarts" in more else []
    words = [sys.executable, *(together + restarts if count > 1 else []), *module]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]


def wait_for_steps(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "log.jsonl").exists() and len(lines(out, "train")) >= count:
            return
        time.sleep(0.01)


def lines(out: Path, kind: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def assert_same_network(one: Path, other: Path) -> None:
    """Sums are taken in another order: rounding, and what Adam makes of it in six steps."""
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert a.keys() == b.keys()
    for name, weight in a.items():
        if weight.is_floating_point():
            assert torch.allclose(b[name], weight, rtol=2e-3, atol=2e-3), name
    away = sum(float((a[n] - b[n]).norm() ** 2) for n in a if a[n].is_floating_point())
    size = sum(float(a[n].norm() ** 2) for n in a if a[n].is_floating_point())
    assert (away / size) ** 0.5 < 1e-3


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "alone"
    finish(start(out, 1))
    return out


def test_two_processes_learn_what_one_does(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    finish(start(out, 2))
    for ours, theirs in zip(lines(out, "train"), lines(alone, "train"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3, abs=1e-3)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-2)
    first = [lines(run, "train")[0] for run in (out, alone)]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-5)
    assert_same_network(alone, out)


# A batch in two parts, clipped gradients, an average: all that meets weights in parts.
IN_PARTS = [
    *("--schedule.accumulate", "2", "--schedule.clip-norm", "5", "--schedule.ema-decay", "0.5"),
    *("--model.norm", "frozen", "--run.keep", "2", "--schedule.shard-weights"),
]


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "parts"
    finish(start(out, 2, *IN_PARTS))
    return out


def test_weights_in_parts_learn_the_same(in_parts: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    finish(start(whole, 1, *IN_PARTS))
    for ours, theirs in zip(lines(in_parts, "train"), lines(whole, "train"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3, abs=1e-3)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-2)
    assert_same_network(whole, in_parts)
    assert {path.name for path in in_parts.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_with_weights_in_parts_is_resumed_by_any_number_of_processes(
    in_parts: Path, tmp_path: Path, count: int
) -> None:
    out = tmp_path / "killed"
    process = start(out, 2, *IN_PARTS)
    wait_for_steps(process, out, 3)
    for child in children_of(process.pid):
        os.kill(child, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (out / "model.safetensors").exists()
    finish(start(out, count, *IN_PARTS, "--resume"))
    assert [line["step"] for line in lines(out, "train")] == [1, 2, 3, 4, 5, 6]
    assert_same_network(in_parts, out)
    if count == 2:
        a, b = load_file(in_parts / "model.safetensors"), load_file(out / "model.safetensors")
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_process_that_dies_is_started_anew(alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "restarted"
    process = start(out, 2, "restarts")
    wait_for_steps(process, out, 3)
    os.kill(second_of(process.pid), signal.SIGKILL)
    finish(process)
    assert [line["step"] for line in lines(out, "train")] == [1, 2, 3, 4, 5, 6]
    assert_same_network(alone, out)


def children_of(parent: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def second_of(parent: int) -> int:
    """The process of rank 1 among a process's children."""
    children = children_of(parent)
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if b"RANK=1" in environment:
            return child
    raise AssertionError(f"no process of rank 1 among {children}")
