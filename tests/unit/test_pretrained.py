"""Sharing models: folders, and repositories of a server on this machine in place of the hub."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from file_server import FileServer, status
from panoptic_deeplab.checkpoint import Checkpoint
from panoptic_deeplab.find_weights import find_checkpoint
from panoptic_deeplab.hub.card import figures, model_card
from panoptic_deeplab.hub.pretrained import pretrained_source, push_to_hub, save_pretrained
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.predict import Predictor, load

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


# --- a folder -------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_with_the_settings_of_the_moment(tiny_weights, tmp_path):
    predictor = load(tiny_weights)
    predictor.grouping = predictor.grouping.model_copy(update={"threshold": 0.25})
    predictor.save_pretrained(tmp_path / "shared")
    assert {p.name for p in (tmp_path / "shared").iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    again = Predictor.from_pretrained(tmp_path / "shared")
    assert again.grouping.threshold == 0.25
    assert (again.predict(IMAGE).segment_map == predictor.predict(IMAGE).segment_map).all()
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert config["experiment"]["grouping"]["threshold"] == 0.25
    assert config["labels"] == predictor.labels.to_dict()


def test_a_card_that_people_wrote_in_stays(tiny_weights, tmp_path, caplog):
    checkpoint = find_checkpoint(tiny_weights)
    (tmp_path / "README.md").write_text("mine")
    assert [p.name for p in save_pretrained(checkpoint, tmp_path)] == [
        "model.safetensors",
        "config.json",
    ]
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "is kept as it is" in caplog.text


def test_half_precision(tiny_weights, tmp_path):
    checkpoint = find_checkpoint(tiny_weights)
    save_pretrained(checkpoint, tmp_path, dtype=torch.float16)
    half = (tmp_path / "model.safetensors").stat().st_size
    assert half < 0.6 * tiny_weights.stat().st_size


def test_a_network_of_unknown_settings_is_not_shared(tiny_predictor, tmp_path):
    with pytest.raises(ValueError, match="not loaded from a checkpoint"):
        tiny_predictor.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_from_pretrained_takes(tmp_path):
    assert pretrained_source(tmp_path) == tmp_path / "model.safetensors"
    assert pretrained_source("org/repo") == "hf://org/repo"
    for other in ("nuclei", "a/b/c.safetensors", "hf://org/repo@v1", "https://example.org/x"):
        assert pretrained_source(other) == other
    (tmp_path / "file").touch()
    assert pretrained_source(tmp_path / "file") == tmp_path / "file"


# --- the card -------------------------------------------------------------------------------


def checkpoint_with(tiny_weights: Path, **provenance: Any) -> Checkpoint:
    found = find_checkpoint(tiny_weights)
    return Checkpoint(found.model, found.labels, found.experiment, provenance)


def front_matter(card: str) -> Any:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_says_what_the_file_knows(tiny_weights):
    metrics = {
        "num_images": 12,
        "panoptic": {"all": {"pq": 0.5}, "things": {"pq": None}},
        "instance": {"ap": 0.25},
        "semantic": {"mean": 1},
    }
    card = model_card(
        checkpoint_with(
            tiny_weights,
            licence="My terms",
            credit="Everyone.",
            steps=5,
            data={"format": "coco_panoptic", "root": ""},
            command="panoptic-deeplab train --out 'a|b'",
            metrics=metrics,
        ),
        "org/repo",
        "hf://org/repo",
    )
    assert front_matter(card) == {
        "license": "other",
        "license_name": "My terms",
        "library_name": "panoptic_deeplab",
        "pipeline_tag": "image-segmentation",
        "tags": ["panoptic-segmentation", "panoptic-deeplab"],
    }
    assert "\n# org/repo\n" in card
    assert "--weights hf://org/repo\n" in card
    assert "panoptic_deeplab.load('hf://org/repo')" in card
    assert "On 12 validation images, in percent:" in card
    assert "| PQ | 50.0 |\n| AP | 25.0 |\n| mIoU | 100.0 |\n" in card
    assert "PQ of things" not in card
    assert "| data | format coco_panoptic |" in card
    assert r"train --out 'a\|b' |" in card
    assert "## Licence\n\nMy terms\n\nEveryone.\n" in card
    assert "| 7 | car | thing |" in card


def test_the_card_of_a_file_that_knows_nothing(tiny_weights, toy_labels):
    card = model_card(checkpoint_with(tiny_weights), "mine", "runs/x/model.safetensors")
    assert "license" not in front_matter(card)
    assert "None are stored with these weights." in card
    assert "Nothing is stored with these weights." in card
    assert "None is stored with these weights; ask" in card
    assert "panoptic-deeplab predict photo.jpg --out results --weights runs/x/model" in card


@pytest.mark.parametrize("licence", ["CC BY-SA 3.0", "Apache-2.0", "mit"])
def test_known_licences_are_written_as_the_hub_writes_them(tiny_weights, licence):
    card = model_card(checkpoint_with(tiny_weights, licence=licence), "n", "w")
    assert front_matter(card)["license"] == licence.lower().replace(" ", "-")
    assert "license_name" not in front_matter(card)


def test_class_names_cannot_break_the_card(tiny_weights):
    found = find_checkpoint(tiny_weights)
    bad = LabelSpace("bad", (ClassInfo("a|b\n<script>", 1, True, (0, 0, 0)),))
    card = model_card(Checkpoint(found.model, bad, found.experiment, {}), "n", "w")
    assert "| 1 | a\\|b \\<script> | thing |" in card


@pytest.mark.parametrize("metrics", [None, {}, [], {"panoptic": 3}, {"semantic": {"mean": "x"}}])
def test_figures_of_odd_reports(metrics):
    assert figures(metrics) == {}


# --- a server in place of the hub -----------------------------------------------------------


class Hub(FileServer):
    """Repositories by name, each a table of files; new ones by the hub's own way of committing."""

    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[str, dict[str, bytes]] = {}
        self.posted: list[tuple[str, Any]] = []

    def answer(self, handler: Any) -> None:
        path = handler.path.partition("?")[0]
        self.asked.append((f"{handler.command} {path}", handler.headers.get("Range", "")))
        if handler.command == "POST":
            return self.post(handler, path)
        if path.startswith("/api/models/"):
            repo = "/".join(path.split("/")[3:5])
            if repo not in self.repos:
                return self.refuse(handler, "RepoNotFound")
            return self.send(handler, {"id": repo, "sha": COMMIT, "siblings": []})
        org, name, _, revision, *rest = path.lstrip("/").split("/")
        files = self.repos.get(f"{org}/{name}")
        if files is None:
            return self.refuse(handler, "RepoNotFound")
        if revision not in ("main", COMMIT, "v1"):
            return self.refuse(handler, "RevisionNotFound")
        content = files.get("/".join(rest))
        if content is None:
            return self.refuse(handler, "EntryNotFound")
        handler.send_response(200)
        handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(content)
        return None

    def post(self, handler: Any, path: str) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repo = f"{wanted['organization']}/{wanted['name']}"
            self.posted.append(("create", wanted))
            self.repos.setdefault(repo, {})
            return self.send(handler, {"url": f"{self.url}/{repo}", "id": repo, "name": repo})
        if path == "/api/validate-yaml":
            self.posted.append(
                ("card", yaml.safe_load(json.loads(body)["content"].split("---")[1]))
            )
            return self.send(handler, {"errors": [], "warnings": []})
        repo = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            names = [f["path"] for f in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            return self.send(handler, {"files": modes, "commitOid": COMMIT})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                value = entry["value"]
                self.repos[repo][value["path"]] = base64.b64decode(value["content"])
        url = f"{self.url}/{repo}/commit/{COMMIT}"
        return self.send(handler, {"success": True, "commitOid": COMMIT, "commitUrl": url})

    def refuse(self, handler: Any, code: str) -> None:
        status(404, X_Error_Code=code, Content_Length="0")(handler)

    def send(self, handler: Any, plain: Any) -> None:
        body = json.dumps(plain).encode()
        status(200, body, Content_Type="application/json", Content_Length=str(len(body)))(handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from huggingface_hub import constants

    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "PANOPTIC_DEEPLAB_OFFLINE", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


def test_a_repository_is_loaded_by_its_name(server, tiny_weights, monkeypatch):
    server.repos["org/repo"] = {"model.safetensors": tiny_weights.read_bytes(), "sub/w.bin": b"w"}
    assert load("hf://org/repo").labels == load(tiny_weights).labels
    assert Predictor.from_pretrained("org/repo").labels.num_classes == 11
    assert find_checkpoint("hf://org/repo@v1").provenance == {"made_for": "tests"}
    from panoptic_deeplab.hub import resolve

    assert resolve("hf://org/repo/sub/w.bin").read_bytes() == b"w"
    monkeypatch.setenv("PANOPTIC_DEEPLAB_OFFLINE", "1")
    asked = len(server.asked)
    assert load("hf://org/repo").labels.num_classes == 11
    with pytest.raises(FileNotFoundError, match="PANOPTIC_DEEPLAB_OFFLINE forbids the network"):
        load("hf://org/other")
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://org/none", "there is no such repository, or it is closed"),
        ("hf://org/repo/none.bin", "the repository has no file"),
        ("hf://org/repo@v9", "the repository has no such revision"),
    ],
)
def test_what_a_repository_lacks(server, address, message):
    server.repos["org/repo"] = {}
    with pytest.raises(FileNotFoundError, match=message) as caught:
        load(address)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_not_there(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    with pytest.raises(ConnectionError, match="hf://org/repo"):
        load("hf://org/repo")


def test_what_is_published_is_loaded(server, tiny_weights):
    predictor = load(tiny_weights)
    address = predictor.push_to_hub("org/new", private=True)
    assert address == f"{server.url}/org/new"
    wanted = server.posted[0][1]  # older releases of the package say it in the first form
    assert wanted.get("private") is True or wanted.get("visibility") == "private"
    assert server.posted[1][1]["library_name"] == "panoptic_deeplab"
    files = server.repos["org/new"]
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    assert b"# org/new" in files["README.md"]
    again = Predictor.from_pretrained("org/new")
    assert (again.predict(IMAGE).segment_map == predictor.predict(IMAGE).segment_map).all()
    files["README.md"] = b"mine"
    push_to_hub(predictor.checkpoint(), "hf://org/new")
    assert server.repos["org/new"]["README.md"] == b"mine"


def test_names_of_repositories_are_checked(tiny_weights):
    with pytest.raises(ValueError, match="Expected ORG/REPO"):
        push_to_hub(find_checkpoint(tiny_weights), "just-a-name")
