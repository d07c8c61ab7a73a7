"""Lists of files, and folders of results."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

from panoptic_deeplab.data.coco import CocoPanoptic
from panoptic_deeplab.files import make_folder
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.predict_files import _names, find_images, predict_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.png, a.jpg, c/a.png and a text."""
    folder = tmp_path / "in"
    (folder / "c").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("b.png", "a.JPG", "c/a.png"):
        pixels = generator.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_folders_patterns_and_files(folder: Path) -> None:
    a, b, c = folder / "a.JPG", folder / "b.png", folder / "c" / "a.png"
    assert find_images([str(folder)]) == [a, b]
    assert find_images([f"{folder}/**/*.png"]) == [b, c]
    assert find_images([str(b), str(folder)]) == [b, a]  # each once
    assert find_images([str(b), f"{folder}/c/../b.png"]) == [b]
    assert find_images([str(folder / "notes.txt")]) == [folder / "notes.txt"]
    assert find_images([str(folder / "gone.png")]) == [folder / "gone.png"]


def test_a_name_with_brackets_is_a_file_first(folder: Path) -> None:
    odd = folder / "a[1].png"
    (folder / "b.png").rename(odd)
    assert find_images([str(odd)]) == [odd]


def test_nothing_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for inputs, message in (
        ([str(tmp_path / "empty")], r"empty: expected images \(.*\), the folder has none\. Check"),
        ([str(tmp_path / "deep")], r"subfolders pass the pattern '.*deep/\*\*/\*\.jpg'"),
        ([f"{folder}/*.bmp"], r"No file fits the pattern"),
        ([], r"Expected at least one image file"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            find_images(inputs)


def test_results_can_be_read_as_a_data_set(
    tiny_predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    paths = find_images([str(folder), f"{folder}/c/*.png"])
    with Progress(disable=True) as progress:
        results = predict_files(tiny_predictor, paths, out, progress=progress)
    assert list(results.done) == paths
    assert not results.failed
    assert sorted(p.name for p in out.rglob("*.*")) == sorted(
        ["predictions.json", "a.png", "b.png", "a.png", "a.jpg", "b.jpg", "a.jpg"]
    )
    listed = json.loads((out / "predictions.json").read_text())
    assert [i["id"] for i in listed["images"]] == ["a", "b", "c/a"]
    # The pictures of images 0 and 1 lie directly in the folder.
    dataset = CocoPanoptic(folder, out / "predictions.json", out / "predictions")
    for index in range(2):
        sample = dataset[index]
        expected = tiny_predictor.predict(paths[index])
        assert (sample.panoptic.segment_map == expected.segment_map).all()
        assert len(results.done[paths[index]]) == len(expected.segments)


def test_same_name_with_two_endings(
    tiny_predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    Image.open(folder / "b.png").save(folder / "b.bmp")
    predict_files(tiny_predictor, find_images([str(folder)]), tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out" / "predictions").iterdir())
    assert names == ["a.png", "b.bmp.png", "b.png.png"]


def test_names_that_would_meet(folder: Path) -> None:
    names = ("7.png", "007.png", "x.jpg", "x.png", "x.jpg.png", "c/../y.png", "c/7.png", "bare")
    found = _names([folder / name for name in names])
    assert list(found.values()) == [
        *("7.png", "007.png", "x.jpg", "x.png", "x.jpg.png", "y", "c/7", "bare"),
    ]


def test_a_file_that_fails_does_not_stop_the_rest(
    tiny_predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    broken, gone = folder / "aa.png", folder / "gone.png"
    broken.write_bytes((folder / "b.png").read_bytes()[:500])
    paths = [gone, broken, folder / "b.png"]
    results = predict_files(tiny_predictor, paths, tmp_path / "out")
    assert list(results.done) == [folder / "b.png"]
    assert list(results.failed) == [gone, broken]
    assert "aa.png: expected a whole picture" in results.failed[broken]
    plain = json.loads(json.dumps(results.to_dict()))
    assert plain["failed"][0] == {"image": str(gone), "error": results.failed[gone]}
    assert plain["images"][0]["segments"]


def test_a_file_that_may_not_be_read_does_not_stop_the_rest(
    tiny_predictor: Predictor, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.JPG":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    results = predict_files(tiny_predictor, find_images([str(folder)]), tmp_path / "out")
    assert list(results.done) == [folder / "b.png"]
    assert "Permission denied" in results.failed[folder / "a.JPG"]


def test_a_slip_does_not_touch_earlier_results(
    tiny_predictor: Predictor, folder: Path, tmp_path: Path
) -> None:
    predict_files(tiny_predictor, [folder / "b.png"], tmp_path / "out")
    before = (tmp_path / "out" / "predictions.json").read_bytes()
    assert not predict_files(tiny_predictor, [folder / "bb.png"], tmp_path / "out").done
    assert (tmp_path / "out" / "predictions.json").read_bytes() == before


def test_folder_for_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Expected a folder for results at .*file/x, it cannot be"):
        make_folder(tmp_path / "file" / "x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"cannot be written\. Choose another"):
        make_folder(tmp_path)
