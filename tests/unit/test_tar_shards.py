"""Samples in numbered tars: written, read, streamed by their names, and damaged."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import build_dataset
from panoptic_deeplab.data.examples import Examples, write_samples
from panoptic_deeplab.data.shard_store import ShardStore, ShardWriter
from panoptic_deeplab.data.tar_shards import TarShardWriter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four samples of two files each, two samples to a shard."""
    writer = ShardWriter(tmp_path, "train", shard_bytes=4000)
    for i in range(4):
        writer.add({f"{i}.jpg": bytes([i]) * (700 + i), f"{i}.json": b"{}"})
    writer.close()
    return tmp_path


def test_files_are_where_the_index_says(folder: Path) -> None:
    store = ShardStore(folder, "train")
    assert [store.shard_of(f"{i}.jpg") for i in range(4)] == [0, 0, 1, 1]
    assert all(store.read(f"{i}.jpg") == bytes([i]) * (700 + i) for i in range(4))
    assert store.names(".json") == [f"{i}.json" for i in range(4)]
    assert store.root.name == "train-{000000..000001}.tar"
    assert not store.has("4.jpg")


def test_any_tar_program_reads_the_shards(folder: Path) -> None:
    with tarfile.open(folder / "train-000001.tar") as tar:
        assert tar.getnames() == ["2.jpg", "2.json", "3.jpg", "3.json"]
        assert tar.extractfile("3.jpg").read() == b"\x03" * 703


def test_without_index_the_tars_are_scanned(folder: Path) -> None:
    before = ShardStore(folder, "train")
    (folder / "train-index.json").unlink()
    after = ShardStore(folder, "train")
    for name in before.names(""):
        assert before.read(name) == after.read(name)
    assert before.names("") == after.names("")


def test_a_tar_that_changed_is_scanned(folder: Path) -> None:
    with tarfile.open(folder / "train-000001.tar", "a") as tar:
        header = tarfile.TarInfo("new.jpg")
        header.size = 40_000
        tar.addfile(header, io.BytesIO(b"n" * 40_000))
    assert ShardStore(folder, "train").read("new.jpg") == b"n" * 40_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sizes", 10**12),
        ("sizes", 10**30),
        ("sizes", -5),
        ("offsets", -1),
        ("offsets", "0"),
        ("offsets", 0.5),
        ("offsets", None),
        ("members", 7),
    ],
)
def test_an_index_that_lies_is_not_believed(
    folder: Path, key: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "train-index.json"
    whole = json.loads(path.read_bytes())
    whole["shards"][0][key][0] = value
    path.write_text(json.dumps(whole))
    assert ShardStore(folder, "train").read("0.jpg") == b"\x00" * 700
    assert "train-index.json is no index of tars" in caplog.text


def test_missing_tars_are_named(folder: Path) -> None:
    shutil.copy(folder / "train-000001.tar", folder / "train-000003.tar")
    with pytest.raises(FileNotFoundError, match=r"train-000002\.tar: expected this tar"):
        ShardStore(folder, "train")
    (folder / "train-000003.tar").unlink()
    (folder / "train-000001.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-000001\.tar: expected this tar, which"):
        ShardStore(folder, "train")
    with pytest.raises(FileNotFoundError, match=r"val-000000\.tar: .* check the split"):
        ShardStore(folder, "val")


def test_a_name_in_two_tars(folder: Path) -> None:
    shutil.copy(folder / "train-000001.tar", folder / "train-000002.tar")
    with pytest.raises(ValueError, match=r"train-000002\.tar: .* got 2\.jpg again"):
        ShardStore(folder, "train")


def test_a_tar_cut_short_after_it_was_opened(folder: Path) -> None:
    store = ShardStore(folder, "train")
    path = folder / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"train-000001\.tar: expected 702 bytes of 2\.jpg"):
        store.read("2.jpg")


def test_the_data_set_knows_its_shards(tmp_path: Path) -> None:
    names = ("street.001", "b")
    writer = TarShardWriter(tmp_path, "val", Examples().labels, shard_bytes=1)
    assert write_samples(Examples(names=names), writer) == ["street_001", "b"]
    config = DataConfig(format="auto", root=str(tmp_path))
    dataset = build_dataset(config, "val")
    assert dataset.shards.tolist() == [0, 1]
    assert np.array_equal(dataset[1].image, Examples(names=names)[1].image)


def test_samples_can_be_streamed_by_their_stems(tmp_path: Path) -> None:
    writer = TarShardWriter(tmp_path, "val", Examples().labels)
    write_samples(Examples(names=("a", "b")), writer)
    with tarfile.open(tmp_path / "shards/val-000000.tar", "r|") as tar:
        samples: dict[str, dict[str, bytes]] = {}
        for member in tar:
            stem, _, ending = member.name.partition(".")
            samples.setdefault(stem, {})[ending] = tar.extractfile(member).read()
    assert {stem: sorted(files) for stem, files in samples.items()} == {
        "a": ["json", "panoptic.png", "png"],
        "b": ["json", "panoptic.png", "png"],
    }
    listed = json.loads((tmp_path / "annotations/panoptic_val.json").read_bytes())
    assert json.loads(samples["b"]["json"]) == listed["annotations"][1]


def test_a_listed_file_that_no_shard_has(tmp_path: Path) -> None:
    writer = TarShardWriter(tmp_path, "val", Examples().labels)
    write_samples(Examples(names=("a", "b")), writer)
    path = tmp_path / "annotations/panoptic_val.json"
    path.write_text(path.read_text().replace("b.png", "c.png"))
    with pytest.raises(FileNotFoundError, match=r"val-000000\.tar: expected c\.png"):
        build_dataset(DataConfig(format="tar_shards", root=str(tmp_path)), "val")
