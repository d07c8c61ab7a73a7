"""`panoptic-deeplab figure` as a user meets it."""

from pathlib import Path

import pytest


def test_rows_of_a_data_set(run, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.svg"
    words = ("--data", "synthetic", "--weights", tiny_weights, "--rows", 1, "--out", out)
    assert run("figure", *words, "--columns", "image", "truth", "instance").code == 0
    assert out.read_text().startswith("<?xml")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]


def test_several_looks(run, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.png"
    words = ("--data", "synthetic", "--weights", tiny_weights, "--rows", 1, "--out", out)
    looks = ("--scales", 0.5, 1, "--flip", "--tile", 128, "--tile-overlap", 64)
    assert run("figure", *words, *looks).code == 0
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Name image files, or a data set with --data, and not both."),
        (("nowhere.png",), "nowhere.png: expected a picture, found no such file."),
        (("--data", "synthetic", "--rows", 0), "--rows must be 1 or more"),
        (("--data", "synthetic", "--images", "moon"), "has no image 'moon'"),
        (("--data", "synthetic", "--flip", "--no-flip"), "--flip and --no-flip exclude"),
        (("a.png", "--predictions", "found"), "Name the data set too."),
    ],
)
def test_slips(run, words, sentence, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("figure", *words)
    assert ended.code == 2
    assert sentence in ended.err
    assert not list(tmp_path.iterdir())
