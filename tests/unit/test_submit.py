"""Zips for evaluation servers: their content, and what the check refuses."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.data.id_images import encode_numbers
from panoptic_deeplab.data.predictions import Predictions
from panoptic_deeplab.data.submit import SERVERS, find_server, write_submission
from panoptic_deeplab.data.submit_check import check_submission
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Segment

NAMES = {"cityscapes": "ulm_000000_000019", "coco_panoptic": "000000000007", "mapillary_v1_2": "k"}


def predict(folder: Path, labels: LabelSpace, name: str, score: float | None = 0.5) -> Predictions:
    """One stuff segment of the first class and one thing of the last, beside void."""
    ids = np.array([[0, 5, 5], [0, 9, 9]], np.int32)
    stuff, thing = labels.stuff_ids[0], labels.thing_ids[-1]
    segments = (Segment(5, stuff, 2), Segment(9, thing, 2, score))
    with CocoPanopticWriter(folder, labels, name="predictions") as writer:
        writer.add(name, PanopticMap(ids, segments))
    return Predictions(folder)


@pytest.mark.parametrize("server", SERVERS)
def test_every_evaluation(server: str, tmp_path: Path) -> None:
    table = SERVERS[server].table
    predictions = predict(tmp_path / "p", read_table(table).labels, NAMES[table])
    counts = write_submission(predictions, tmp_path / "r.zip", server, expected=[NAMES[table]])
    assert counts["images"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "r.zip"]


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return sorted(archive.namelist())


def test_cityscapes_instances(tmp_path: Path) -> None:
    labels = read_table("cityscapes").labels
    predictions = predict(tmp_path, labels, "ulm_000000_000019_leftImg8bit")
    write_submission(predictions, tmp_path / "r.zip", "cityscapes-instance")
    assert names_in(tmp_path / "r.zip") == [
        "masks/ulm_000000_000019_0000.png",
        "ulm_000000_000019.txt",
    ]
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        line = archive.read("ulm_000000_000019.txt").decode()
    assert line == "masks/ulm_000000_000019_0000.png 33 0.500000\n"  # 33: bicycle


def test_coco_panoptic(tmp_path: Path) -> None:
    labels = read_table("coco_panoptic").labels
    write_submission(
        predict(tmp_path, labels, NAMES["coco_panoptic"]), tmp_path / "r.zip", "coco-panoptic"
    )
    assert names_in(tmp_path / "r.zip") == ["r.json", "r/000000000007.png"]
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        whole = json.loads(archive.read("r.json"))
    assert whole == {
        "annotations": [
            {
                "image_id": 7,
                "file_name": "000000000007.png",
                "segments_info": [{"id": 5, "category_id": 92}, {"id": 9, "category_id": 90}],
            }
        ]
    }


def test_mapillary_numbers_count_from_zero(tmp_path: Path) -> None:
    labels = read_table("mapillary_v1_2").labels
    predictions = predict(tmp_path, labels, "k")
    write_submission(predictions, tmp_path / "s.zip", "mapillary-semantic")
    write_submission(predictions, tmp_path / "i.zip", "mapillary-instance")
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist() == ["k.png"]
    with zipfile.ZipFile(tmp_path / "i.zip") as archive:
        assert archive.read("k.txt") == b"masks/k_0000.png 62 0.500000\n"  # wheeled-slow


def test_what_is_refused(tmp_path: Path) -> None:
    labels = read_table("cityscapes").labels
    target = tmp_path / "r.zip"
    odd = predict(tmp_path / "odd", labels, "holiday")
    with pytest.raises(ValueError, match="holiday: expected a name of the form CITY_SEQUENCE"):
        write_submission(odd, target, "cityscapes-panoptic")
    bare = predict(tmp_path / "bare", labels, "ulm_000000_000019", None)
    with pytest.raises(ValueError, match="expected a score for segment 9"):
        write_submission(bare, target, "cityscapes-instance")
    others = ["ulm_000000_000019", "ulm_000001_000019"]
    with pytest.raises(ValueError, match=r"ulm_000001_000019: expected a result for each of 2"):
        write_submission(bare, target, "cityscapes-panoptic", expected=others)
    with pytest.raises(ValueError, match=r"expected only images of the split, got 1 others"):
        check_submission(target, "semantic", labels, images=["a", "b"], expected=["a"])
    with pytest.raises(ValueError, match="Did you mean 'cityscapes-panoptic'"):
        find_server("cityscapes-panopt")
    assert not list(tmp_path.glob("*.zip"))
    assert not list(tmp_path.glob(".*"))


def _zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


PNG = encode_numbers(np.full((2, 2), 255, np.int32))
EMPTY = encode_numbers(np.zeros((2, 2), np.int32))


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("instance", {}, "expected a.txt in the zip"),
        ("instance", {"a.txt": b"m.png 33 0.5\n"}, "m.png: expected this file"),
        ("instance", {"a.txt": b"m.png 33\n", "m.png": PNG}, "lines of mask, label id"),
        ("instance", {"a.txt": b"m.png 33 nan\n", "m.png": PNG}, "finite confidence"),
        ("instance", {"a.txt": b"m.png 7 0.5\n", "m.png": PNG}, "label id of a thing"),
        ("instance", {"a.txt": b"m.png 33 0.5\n", "m.png": EMPTY}, "pixels of an instance"),
        ("instance", {"a.txt": b"", "../x": b""}, "relative name without spaces"),
        ("semantic", {}, "expected one PNG in the zip, got 0"),
        ("semantic", {"a.png": PNG}, "label ids of the benchmark, got 255"),
        ("panoptic", {"x/l.json": b"{}"}, "expected one JSON at the top"),
        ("panoptic", {"l.json": b'{"annotations": []}'}, "an annotation per image, 1, got 0"),
    ],
)
def test_faults_of_zips(task: str, content: dict, message: str, tmp_path: Path) -> None:
    path = _zip(tmp_path / "r.zip", content)
    with pytest.raises(ValueError, match=message):
        check_submission(path, task, read_table("cityscapes").labels, images=["a"])


def test_predictions_must_agree_with_their_list(tmp_path: Path) -> None:
    predictions = predict(tmp_path, read_table("cityscapes").labels, "a")
    (tmp_path / "predictions" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png: expected this PNG"):
        list(predictions)
    with pytest.raises(FileNotFoundError, match="expected the list of predictions, found none"):
        Predictions(tmp_path / "nowhere")
