"""Mapillary Vistas: values, void, versions and layouts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_deeplab.data.class_tables import TABLES, read_table
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.formats import DATASETS, recognise
from panoptic_deeplab.data.mapillary import open_mapillary
from panoptic_deeplab.structures import Segment

V1_2 = read_table("mapillary_v1_2").labels
BIRD, CAR, SKY = (
    V1_2.names.index(n) for n in ("animal--bird", "object--vehicle--car", "nature--sky")
)


def write_one(root: Path, values: np.ndarray, folder: str = "training/v1.2/instances") -> None:
    """A picture and its instance values."""
    image = np.zeros((*values.shape, 3), np.uint8)
    for path, array in (
        (root / "training" / "images" / "k.jpg", image),
        (root / folder / "k.png", values.astype(np.uint16)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), array)


def test_values_to_segments(tmp_path: Path) -> None:
    # Label 0 is a bird: value 0 is its first instance, not void. 27 sky, 55 car, 65 unlabeled.
    write_one(tmp_path, np.array([[0, 1, 27 * 256], [55 * 256, 55 * 256 + 255, 65 * 256]]))
    sample = open_mapillary(Source(tmp_path, "train"), "v1.2")[0]
    assert sample.panoptic.segment_map.tolist() == [[256, 257, 7168], [14336, 14591, 0]]
    assert sample.panoptic.segments == (
        Segment(256, BIRD, 1),
        Segment(257, BIRD, 1),
        Segment(7168, SKY, 1),
        Segment(14336, CAR, 1),
        Segment(14591, CAR, 1),
    )


def test_older_layout(tmp_path: Path) -> None:
    """v1.1 has no folder of the version, and its list is config.json."""
    DATASETS["mapillary_v1_2"].write_example(tmp_path)
    before = DATASETS["mapillary_v1_2"].open(Source(tmp_path, "val"))[0].panoptic.segments
    for split in ("training", "validation"):
        for folder in ("labels", "instances"):
            (tmp_path / split / "v1.2" / folder).rename(tmp_path / split / folder)
        (tmp_path / split / "v1.2").rmdir()
    (tmp_path / "config_v1.2.json").rename(tmp_path / "config.json")
    assert recognise(tmp_path).name == "mapillary_v1_2"
    assert DATASETS["mapillary_v1_2"].open(Source(tmp_path, "val"))[0].panoptic.segments == before


def test_both_versions_in_one_folder(tmp_path: Path) -> None:
    for name in ("mapillary_v1_2", "mapillary_v2_0"):
        DATASETS[name].write_example(tmp_path)
    found = recognise(tmp_path)
    assert (found.name, found.also) == ("mapillary_v1_2", ("mapillary_v2_0",))
    assert "can also be read as mapillary_v2_0" in found.sentence(tmp_path)


def test_own_list_decides(tmp_path: Path) -> None:
    write_one(tmp_path, np.array([[0, 257]]))
    labels = [
        {"name": "water", "color": [0, 0, 9], "instances": False, "evaluate": True},
        {"name": "boat", "color": [9, 0, 9], "instances": True, "evaluate": True},
    ]
    (tmp_path / "config_v1.2.json").write_text(json.dumps({"labels": labels}))
    dataset = open_mapillary(Source(tmp_path, "train"), "v1.2")
    assert dataset.labels.names == ("water", "boat")
    assert dataset[0].panoptic.segments == (Segment(256, 0, 1), Segment(513, 1, 1))


def test_picture_without_labels_is_named(tmp_path: Path) -> None:
    write_one(tmp_path, np.array([[0]]))
    cv2.imwrite(str(tmp_path / "training" / "images" / "more.jpg"), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"more\.jpg: expected its labels of the same name"):
        open_mapillary(Source(tmp_path, "train"), "v1.2")


def test_unknown_label_is_named(tmp_path: Path) -> None:
    write_one(tmp_path, np.array([[70 * 256 + 3]]))
    with pytest.raises(ValueError, match=r"k\.png \(value 17923\): Unknown class id 71"):
        open_mapillary(Source(tmp_path, "train"), "v1.2")[0]


@pytest.mark.parametrize(
    ("name", "classes", "things", "void"),
    [  # papers and download pages of the data sets
        ("cityscapes", 19, 8, 15),
        ("coco_panoptic", 133, 80, 0),
        ("mapillary_v1_2", 65, 37, 1),
        ("mapillary_v2_0", 116, 70, 8),
        ("ade20k", 150, 100, 0),
    ],
)
def test_tables(name: str, classes: int, things: int, void: int) -> None:
    table = read_table(name)
    assert (table.labels.num_classes, len(table.labels.thing_ids)) == (classes, things)
    assert len(table.void) == void
    assert len(table.colors) == classes + void


def test_unknown_table() -> None:
    with pytest.raises(ValueError, match="Did you mean 'cityscapes'"):
        read_table("cityscape")
    assert {t for t in TABLES if read_table(t)} == set(TABLES)
