"""The `weights` commands, and weights by name or address wherever a command takes some."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from file_server import FileServer, as_from_a_terminal
from panoptic_deeplab.checkpoint import load_checkpoint
from panoptic_deeplab.hub.catalogue import published


@pytest.fixture
def server(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PANOPTIC_DEEPLAB_CACHE", str(tmp_path / "cache"))
    for name in ("PANOPTIC_DEEPLAB_OFFLINE", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = FileServer()
    server.files["/tiny.safetensors"] = tiny_weights.read_bytes()
    yield server
    server.close()


def test_the_list_names_everything(run: Any, server: FileServer) -> None:
    code, out, _ = run("weights", "list")
    assert code == 0
    assert all(name in out for name in published())
    code, out, _ = run("weights", "list", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert list(listed) == list(published())
    assert listed["cityscapes-r52"]["pq"] == 60.3
    assert listed["cityscapes-r52"]["here"] is None
    assert Path(listed["default"]["here"]).is_file()


def test_get_prints_the_path_alone(run: Any, server: FileServer, tiny_weights: Path) -> None:
    code, out, err = run("weights", "get", f"{server.url}/tiny.safetensors")
    assert (code, err) == (0, "")
    assert Path(out.strip()).read_bytes() == tiny_weights.read_bytes()
    code, again, _ = run("weights", "get", f"{server.url}/tiny.safetensors", "--json")
    told = json.loads(again)
    assert told["path"] == out.strip()
    assert told["size_bytes"] == tiny_weights.stat().st_size
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cityscapes-r53", "error: No weights named 'cityscapes-r53'"),
        ("cityscapes-r50-bowenc", "needs a browser"),
        ("SERVER/none.pkl", "There is no file at"),
        ("SERVER/tiny.safetensors#sha256=00", "It was thrown away"),
        ("hf://org", "Expected hf://ORG/REPO"),
    ],
)
def test_slips_end_in_a_sentence(run: Any, server: FileServer, source: str, message: str) -> None:
    code, out, err = run("weights", "get", source.replace("SERVER", server.url))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_show(run: Any, server: FileServer, tiny_weights: Path, tmp_path: Path) -> None:
    code, out, _ = run("weights", "show", tiny_weights)
    assert code == 0
    for words in (
        "panoptic_deeplab, model, version 2",
        "mobilenet_v3_small",
        "cyclist",
        "made_for",
    ):
        assert words in out
    code, out, _ = run("weights", "show", "nuclei", "--tensors")
    assert "semantic_head.predict.weight" in out
    assert "PQ 86.2, PQ of things 74.3" in out
    code, out, _ = run("weights", "show", f"{server.url}/tiny.safetensors", "--json")
    assert json.loads(out)["labels"]["name"] == "synthetic streets"
    code, out, err = run("weights", "show", __file__)
    assert (code, out) == (2, "")
    assert "no file of torch, no pickle of detectron2 and no safetensors file" in err


def test_share_into_a_folder(run: Any, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    code, _, _ = run("weights", "share", tiny_weights, "--to", out, "--licence", "MIT", "--half")
    assert code == 0
    assert load_checkpoint(out / "model.safetensors").provenance["licence"] == "MIT"
    assert "license: mit" in (out / "README.md").read_text()
    code, printed, _ = run("weights", "share", tiny_weights, "--to", out, "--json")
    assert json.loads(printed)["written"][0] == str(out / "model.safetensors")
    code, _, err = run("weights", "share", tiny_weights, "--to", "hf://org")
    assert code == 2
    assert "Expected ORG/REPO" in err


def test_commands_take_addresses(run: Any, server: FileServer, tmp_path: Path) -> None:
    address = f"{server.url}/tiny.safetensors"
    photo = tmp_path / "a.png"
    Image.new("RGB", (56, 40), (90, 120, 30)).save(photo)
    assert run("predict", photo, "--out", tmp_path / "out", "--weights", address)[0] == 0
    assert (tmp_path / "out" / "predictions.json").is_file()
    code, out, _ = run(
        "evaluate", "--data", "synthetic", "--weights", address, "--limit", 1, "--json"
    )
    assert code == 0
    assert json.loads(out)["num_images"] == 1
    code, _, err = run("demo", "--out", tmp_path / "demo", "--weights", f"{address}x")
    assert code == 2
    assert "There is no file at" in err
    assert not (tmp_path / "demo").exists()
    assert [path for path, _ in server.asked] == ["/tiny.safetensors", "/tiny.safetensorsx"]


def test_training_starts_from_an_address_and_tells_where_it_comes_from(
    run: Any, server: FileServer, tiny_weights: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(load_checkpoint(tiny_weights).experiment.model_dump_json())
    address = f"{server.url}/tiny.safetensors"
    code, _, err = run(
        *("train", "--recipe", settings, "--data", "synthetic", "--out", tmp_path / "run"),
        *("--data.size", 64, 96, "--augment.crop-size", 65, 97, "--data.workers", 0),
        *("--data.val-images", 1, "--data.train-images", 2, "--schedule.iterations", 1),
        *("--schedule.batch-size", 2, "--schedule.precision", "float32"),
        *("--run.start-from", address, "--run.pictures", 0),
    )
    assert code == 0, err
    told = load_checkpoint(tmp_path / "run" / "model.safetensors").provenance
    assert (told["start_from"], told["steps"], told["recipe"]) == (address, 1, "tiny")
    assert told["data"]["train_images"] == 2
    assert told["metrics"]["num_images"] == 1


def test_ctrl_c_and_again(server: FileServer, tiny_weights: Path, tmp_path: Path) -> None:
    server.go_on.clear()
    words = command("weights", "get", f"{server.url}/tiny.safetensors")
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_from_a_terminal,
    )
    assert server.reading.wait(60)
    deadline = time.monotonic() + 20
    while not list(tmp_path.rglob(".*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "Interrupted." in err
    assert "Traceback" not in err
    server.go_on.set()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == tiny_weights.read_bytes()
    assert not list(tmp_path.rglob(".*.part"))


def command(*words: str) -> list[str]:
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return [sys.executable, "-m", "panoptic_deeplab", *words]
