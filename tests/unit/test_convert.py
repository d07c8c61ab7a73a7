"""Conversion: what is lost is counted, what fails leaves nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.data.account import losses_of
from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.convert import convert, sentences
from panoptic_deeplab.data.examples import LABELS, Examples
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.formats import DATASETS
from panoptic_deeplab.data.relabel import Relabelled, exchange_classes, match_classes
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample, Segment

CITY = read_table("cityscapes").labels
VISTAS = read_table("mapillary_v1_2").labels
TO_CITY = {"ground": "terrain", "tree": "vegetation"}


def sample(rows: list[list[int]], *segments: Segment) -> Sample:
    ids = np.array(rows, np.int32)
    counted = tuple(
        Segment(s.id, s.class_id, int((ids == s.id).sum()), s.score, s.is_crowd) for s in segments
    )
    return Sample(np.zeros((*ids.shape, 3), np.uint8), PanopticMap(ids, counted), "x")


@pytest.mark.parametrize("name", ["coco_panoptic", "coco_instances", "cvat", "labelme", "id_pngs"])
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    result = convert({"train": Examples()}, tmp_path / "new", DATASETS[name])
    assert result.is_lossless
    assert result.images == {"train": 2}
    assert sentences(result)[-1] == "nothing is lost: read back, every image is as it was"
    written = DATASETS[name].open(Source(tmp_path / "new", "train"))
    for i in range(2):
        assert not losses_of(Examples()[i], written[i], LABELS.names, written.labels)


def test_classes_of_the_format_and_new_names(tmp_path: Path) -> None:
    result = convert({"val": Examples()}, tmp_path / "new", DATASETS["cityscapes"], rename=TO_CITY)
    assert result.is_lossless
    assert result.classes == {"ground": "terrain", "tree": "vegetation"}
    assert result.renamed == {"a": "converted_000000_000000", "b": "converted_000001_000000"}
    assert any("2 images got new names" in line for line in sentences(result))


def test_what_cannot_be_held_is_counted(tmp_path: Path) -> None:
    """YOLO has no crowd regions; label PNGs have no things."""
    crowd = sum(s.area_px for i in range(2) for s in Examples()[i].panoptic.segments if s.is_crowd)
    result = convert({"train": Examples()}, tmp_path / "yolo", DATASETS["yolo_seg"])
    assert result.losses == {"pixels of person became void": crowd}
    assert f"lost: {crowd} pixels of person became void" in sentences(result)
    result = convert({"train": Examples()}, tmp_path / "png", DATASETS["label_pngs"])
    assert set(result.losses) == {"pixels of person became void", "pixels of car became void"}


def test_fields_of_the_list_that_are_left_out_are_told(tmp_path: Path) -> None:
    DATASETS["coco_panoptic"].write_example(tmp_path / "old")
    path = tmp_path / "old" / "annotations" / "panoptic_train.json"
    listed = json.loads(path.read_text())
    listed["images"][0] |= {"image_type": "dusk", "group": 3}
    path.write_text(json.dumps(listed))
    old = DATASETS["coco_panoptic"].open(Source(tmp_path / "old", "train"))
    result = convert({"train": old}, tmp_path / "new", DATASETS["coco_panoptic"])
    assert not result.is_lossless
    lines = [line for line in sentences(result) if line.startswith("lost")]
    assert lines == [
        "lost: 1 values of the field 'group', which the list had for its images",
        "lost: 1 values of the field 'image_type', which the list had for its images",
    ]


def test_overlaps_are_told(tmp_path: Path) -> None:
    import json

    DATASETS["coco_instances"].write_example(tmp_path / "old")
    path = tmp_path / "old" / "annotations" / "instances_val.json"
    whole = json.loads(path.read_bytes())
    box = {**whole["annotations"][0], "segmentation": [[0, 14, 56, 14, 56, 36, 0, 36]], "id": 999}
    whole["annotations"].append(box)
    path.write_text(json.dumps(whole))
    dataset = DATASETS["coco_instances"].open(Source(tmp_path / "old", "val"))
    result = convert({"val": dataset}, tmp_path / "new", DATASETS["coco_panoptic"])
    assert result.is_lossless
    assert result.conflicts["pixels"] > 0
    assert any("pixels were claimed by several" in line for line in sentences(result))


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'cityscapes' has no class 'ground', 'tree'\. Say what"):
        convert({"val": Examples()}, tmp_path / "new", DATASETS["cityscapes"])
    assert list(tmp_path.iterdir()) == []


def test_target_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(ValueError, match="expected an empty or a new folder"):
        convert({"val": Examples()}, tmp_path / "full", DATASETS["coco_panoptic"])
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "mine.txt"]
    (tmp_path / "empty").mkdir()
    assert convert({"val": Examples()}, tmp_path / "empty", DATASETS["cvat"]).is_lossless


def test_losses_worked_by_hand() -> None:
    before = sample(
        [[1, 1, 2, 2, 3, 3, 4, 0]],
        Segment(1, 0, 0),
        Segment(2, 3, 0),
        Segment(3, 3, 0),
        Segment(4, 4, 0, None, True),
    )
    # 1 lost a pixel to void; 2 and 3 became one; 4 is no crowd now; void became ground.
    after = sample([[7, 0, 8, 8, 8, 8, 9, 7]], Segment(7, 0, 0), Segment(8, 3, 0), Segment(9, 4, 0))
    assert losses_of(before, after, LABELS.names, LABELS) == {
        "pixels of ground became void": 1,
        "pixels of void became ground": 1,
        "segments of car joined to others": 1,
        "crowd regions of person no longer marked": 1,
    }
    assert losses_of(after, before, LABELS.names, LABELS)["segments of car split in parts"] == 2


# ---------------------------------------------------------------------------- classes


def test_names_match_whatever_their_spelling() -> None:
    labels = LabelSpace(
        "mine",
        (
            ClassInfo("Traffic_Light", 1, True, (0, 0, 0)),
            ClassInfo("car", 2, True, (0, 0, 0)),
            ClassInfo("construction--flat--road", 3, False, (0, 0, 0)),
        ),
    )
    names = [CITY.names[i] for i in match_classes(labels, CITY).values() if i is not None]
    assert names == ["traffic light", "car", "road"]
    names = [VISTAS.names[i] for i in match_classes(labels, VISTAS).values() if i is not None]
    assert names[1] == "object--vehicle--car"


def test_dropping_and_renaming() -> None:
    found = match_classes(LABELS, CITY, rename={"ground": "road"}, drop=("*",))
    assert [None if i is None else CITY.names[i] for i in found.values()] == [
        "road",
        "sky",
        None,
        "car",
        "person",
    ]
    with pytest.raises(ValueError, match=r"The data have no class 'grund'. Did you mean 'ground'"):
        match_classes(LABELS, CITY, drop=("grund",))
    with pytest.raises(ValueError, match=r"has no class 'raod'. Did you mean 'road'"):
        match_classes(LABELS, CITY, rename={"ground": "raod"}, drop=("*",))


def test_things_that_become_stuff_and_back() -> None:
    labels = LabelSpace(
        "two", (ClassInfo("a", 1, False, (0, 0, 0)), ClassInfo("b", 2, True, (0, 0, 0)))
    )
    before = sample([[1, 2, 3, 3]], Segment(1, 3, 0), Segment(2, 4, 0), Segment(3, 0, 0))
    matched = {0: 1, 1: None, 2: None, 3: 0, 4: 0}
    after = exchange_classes(before.panoptic, LABELS, labels, matched)
    assert after.segments == (Segment(1, 0, 2), Segment(3, 1, 2, None, True))
    assert after.segment_map.tolist() == [[1, 1, 3, 3]]
    after.check()


def test_relabelled_is_a_dataset() -> None:
    matched = match_classes(LABELS, CITY, rename=TO_CITY)
    seen = Relabelled(Examples(), CITY, matched)
    assert (len(seen), seen.image_id(1), seen.labels) == (2, "b", CITY)
    seen[0].panoptic.check()
