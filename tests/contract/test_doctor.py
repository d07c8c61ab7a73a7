"""The doctor invents nothing on clean data of any format, and finds whatever is planted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_deeplab.data import DATASETS
from panoptic_deeplab.data.coco_writer import encode_ids, encode_png
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.id_images import encode_numbers, read_numbers
from panoptic_deeplab.doctor import Report, check
from panoptic_deeplab.doctor.page import write_page
from panoptic_deeplab.doctor.repair import repair


def examine(name: str, root: Path) -> Report:
    return check(name, Source(root, "val"), workers=1)


def kinds(report: Report) -> set[str]:
    return {f.kind for f in report.findings if f.severity != "note"}


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    DATASETS[request.param].write_example(tmp_path / "data")
    return request.param


def test_nothing_is_invented_on_clean_data(name: str, tmp_path: Path) -> None:
    report = examine(name, tmp_path / "data")
    assert not kinds(report), report.findings
    assert {f.kind for f in report.findings} <= {"never-used-class"}
    assert [len(facts) for facts in report.facts.values()] == [2, 2]
    assert all(f.is_kept for facts in report.facts.values() for f in facts)


def pictures_of(name: str, root: Path) -> list[Path]:
    """Of all splits, through what the doctor itself opens."""
    labels = (
        "labels",
        "ids",
        "masks",
        "annotations",
        "instances",
        "panoptic",
        "gtFine",
        "gtCoarse",
    )
    found = [p for p in root.rglob("*.png") if not {*p.relative_to(root).parts} & {*labels}]
    return sorted(p for p in found if "_panoptic_" not in p.as_posix())


@pytest.mark.parametrize("name", [n for n in DATASETS if n != "tar_shards"])
def test_missing_cut_and_leaked_pictures_are_found(name: str, tmp_path: Path) -> None:
    """In every format whose pictures are files; `test_shards_are_examined` has the other."""
    root = tmp_path / "data"
    DATASETS[name].write_example(root)
    pictures = pictures_of(name, root)
    assert len(pictures) == 4
    whole = {p: p.read_bytes() for p in pictures}
    for content, kind in (
        (None, "missing-picture"),
        (whole[pictures[0]][:900], "unreadable-picture"),
    ):
        if content is None:
            pictures[0].unlink()
        else:
            pictures[0].write_bytes(content)
        report = examine(name, root)
        assert kinds(report) == {kind}, report.findings
        assert any(pictures[0].stem.split("_left")[0] in f.what for f in report.findings)
        assert report.has_errors
        pictures[0].write_bytes(whole[pictures[0]])
    pictures[-1].write_bytes(whole[pictures[0]])
    found = kinds(examine(name, root))
    assert found in ({"leak"}, {"duplicate"}), "a rule of chance may put both into one split"


def test_the_page_is_whole_and_escapes_names(name: str, tmp_path: Path) -> None:
    if name == "tar_shards":
        path = tmp_path / "data/annotations/panoptic_val.json"
        path.write_text(path.read_text().replace('"name": "car"', '"name": "<script>"'))
    else:
        pictures_of(name, tmp_path / "data")[0].write_bytes(b"<script>")
    page = write_page(examine(name, tmp_path / "data"))
    assert page.startswith("<!doctype html>")
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    assert "http" not in page


# What follows plants faults by hand, in COCO's panoptic form unless it says otherwise.


class Coco:
    """A COCO data set whose list and PNGs can be changed."""

    def __init__(self, root: Path) -> None:
        DATASETS["coco_panoptic"].write_example(root)
        self.root, self.path = root, root / "annotations/panoptic_train.json"
        self.whole: dict[str, Any] = json.loads(self.path.read_bytes())
        self.segments = self.whole["annotations"][0]["segments_info"]
        self.picture = root / "train/000000000000.png"
        self.png = root / "annotations/panoptic_train/000000000000.png"
        bgr = cv2.imread(str(self.png))
        self.ids = bgr[..., 2].astype(np.int32) + 256 * bgr[..., 1].astype(np.int32)

    def save(self) -> None:
        self.path.write_text(json.dumps(self.whole))
        self.png.write_bytes(encode_ids(self.ids, name="x"))

    def recount(self, number: int) -> None:
        """Make area and box of a segment right again."""
        rows, columns = np.nonzero(self.ids == number)
        record = next(s for s in self.segments if s["id"] == number)
        record["area"] = len(rows)
        box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        record["bbox"] = [int(v) for v in box]


def id_not_listed(data: Coco) -> None:
    data.segments.pop(3)


def segment_without_pixels(data: Coco) -> None:
    data.segments.append({"id": 99, "category_id": 4, "area": 9, "bbox": [0, 0, 3, 3]})


def unknown_class(data: Coco) -> None:
    data.segments[3]["category_id"] = 77


def wrong_area(data: Coco) -> None:
    data.segments[2]["area"] += 1


def wrong_box(data: Coco) -> None:
    data.segments[2]["bbox"][0] += 3


def size_mismatch(data: Coco) -> None:
    data.ids = np.ascontiguousarray(data.ids.T)
    for s in data.segments:
        x, y, w, h = s["bbox"]
        s["bbox"] = [y, x, h, w]


def tiny_instance(data: Coco) -> None:
    data.ids[data.ids == 4] = 2
    data.ids[20, 20:25] = 4
    data.recount(4)
    data.recount(2)


def torn_instance(data: Coco) -> None:
    data.ids[data.ids == 4] = 2
    data.ids[20:24, 4:9], data.ids[20:24, 40:45] = 4, 4
    for number in (2, 3, 4):
        data.recount(number)


def stuff_twice(data: Coco) -> None:
    data.ids[0:4, 40:50] = 50
    data.recount(1)
    data.segments.append({"id": 50, "category_id": 2, "area": 40, "bbox": [40, 0, 10, 4]})


def unlisted_file(data: Coco) -> None:
    shutil.copy(data.png, data.png.with_name("from_before.png"))


def unlabelled_picture(data: Coco) -> None:
    data.whole["images"].append({"id": 5, "file_name": "000000000005.png"})


def listed_size(data: Coco) -> None:
    data.whole["images"][0]["width"] = 400


def doubled_entry(data: Coco) -> None:
    data.whole["annotations"].append(data.whole["annotations"][0])


def blank_picture(data: Coco) -> None:
    data.picture.write_bytes(encode_png(np.full((40, 56, 3), 7, np.uint8)))


def empty_truth(data: Coco) -> None:
    data.ids[:] = 0
    data.segments.clear()


def duplicate(data: Coco) -> None:
    shutil.copy(data.picture, data.picture.with_name("000000000001.png"))


def leak(data: Coco) -> None:
    shutil.copy(data.picture, data.root / "val/000000000003.png")


def missing_labels(data: Coco) -> None:
    data.save()
    data.png.unlink()
    data.save = lambda: None  # type: ignore[method-assign]


def unreadable_labels(data: Coco) -> None:
    data.save()
    data.png.write_bytes(data.png.read_bytes()[:80])
    data.save = lambda: None  # type: ignore[method-assign]


def classes_differ(data: Coco) -> None:
    data.whole["categories"][0]["isthing"] = 1


def untrained_class(data: Coco) -> None:
    for annotation in data.whole["annotations"]:
        for segment in annotation["segments_info"]:
            segment["category_id"] = {5: 4}.get(segment["category_id"], segment["category_id"])


def faulty_list(data: Coco) -> None:
    data.segments[0]["id"] = "one"


PLANTED: dict[Callable[[Coco], None], set[str]] = {
    id_not_listed: {"id-not-listed"},
    segment_without_pixels: {"segment-without-pixels"},
    unknown_class: {"unknown-class"},
    wrong_area: {"wrong-area"},
    wrong_box: {"wrong-box"},
    size_mismatch: {"size-mismatch"},
    tiny_instance: {"tiny-instance"},
    torn_instance: {"torn-instance"},
    stuff_twice: {"stuff-twice"},
    unlisted_file: {"unlisted-file"},
    unlabelled_picture: {"unlabelled-picture"},
    listed_size: {"listed-size"},
    doubled_entry: {"faulty-list"},
    blank_picture: {"blank-picture"},
    empty_truth: {"empty-truth"},
    duplicate: {"duplicate"},
    leak: {"leak"},
    missing_labels: {"missing-labels"},
    unreadable_labels: {"unreadable-labels"},
    classes_differ: {"classes-differ"},
    untrained_class: {"untrained-class"},
    faulty_list: {"faulty-list", "id-not-listed"},
}
"""Fault -> what is found, and nothing else."""


@pytest.mark.parametrize("plant", PLANTED, ids=lambda f: f.__name__)
def test_planted_faults_are_found_and_repaired(
    plant: Callable[[Coco], None], tmp_path: Path
) -> None:
    data = Coco(tmp_path / "data")
    plant(data)
    data.save()
    report = examine("coco_panoptic", data.root)
    assert kinds(report) == PLANTED[plant], report.findings
    finding = next(f for f in report.findings if f.kind in PLANTED[plant])
    assert finding.what.endswith(".")
    before = {p: p.read_bytes() for p in data.root.rglob("*") if p.is_file()}
    done = repair(report, Source(data.root, "val"), tmp_path / "copy", workers=1, progress=None)
    assert {p: p.read_bytes() for p in data.root.rglob("*") if p.is_file()} == before
    left = kinds(examine("coco_panoptic", tmp_path / "copy"))
    stays = {"tiny-instance", "torn-instance", "classes-differ", "untrained-class"}
    assert left == PLANTED[plant] & stays
    assert bool(done.not_repaired) == bool(left)
    assert sum(done.images.values()) + len(done.left_out) == sum(map(len, report.facts.values()))


def test_ten_kinds_of_damage_at_once(tmp_path: Path) -> None:
    data = Coco(tmp_path / "data")
    chosen = (id_not_listed, wrong_box, segment_without_pixels, unlisted_file, unlabelled_picture,
              listed_size, wrong_area, stuff_twice, leak, duplicate)  # fmt: skip
    for plant in chosen:
        plant(data)
    data.save()
    expected = set().union(*(PLANTED[plant] for plant in chosen))
    assert kinds(examine("coco_panoptic", data.root)) == expected
    assert len(expected) == 10


@pytest.mark.parametrize(
    ("name", "pattern", "divisor", "other"),
    [
        ("cityscapes", "*_instanceIds.png", 1000, 256),
        ("mapillary_v1_2", "instances/*.png", 256, 1000),
        ("id_pngs", "ids/*/*.png", 1000, 256),
    ],
)
def test_wrong_divisors_are_found_and_translated(
    name: str, pattern: str, divisor: int, other: int, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    DATASETS[name].write_example(root)
    truth = [DATASETS[name].open(Source(root, "val"))[i].panoptic for i in range(2)]
    for path in root.rglob(pattern):
        values = read_numbers(path)
        alone = (values < divisor) if name == "cityscapes" else np.zeros_like(values, bool)
        exchanged = np.where(alone, values, values // divisor * other + values % divisor)
        path.write_bytes(encode_numbers(exchanged.astype(np.int32), bits=16))
    report = examine(name, root)
    assert kinds(report) - {"only-crowd"} == {"wrong-divisor"}
    assert f"class * {other} + instance" in report.findings[0].what
    repair(report, Source(root, "val"), tmp_path / "copy", workers=1, progress=None)
    again = DATASETS[name].open(Source(tmp_path / "copy", "val"))
    for i in range(2):
        assert np.array_equal(again[i].panoptic.segment_map, truth[i].segment_map)


def test_objects_that_overlap_hide_or_lie_about_themselves(tmp_path: Path) -> None:
    root = tmp_path / "data"
    DATASETS["coco_instances"].write_example(root)
    path = root / "annotations/instances_train.json"
    whole = json.loads(path.read_bytes())
    first, second, *_ = (a for a in whole["annotations"] if a["image_id"] == 0)

    def box(x0: int, y0: int, x1: int, y1: int) -> list[list[float]]:
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]

    extra = {"image_id": 0, "category_id": 4, "iscrowd": 0}
    whole["annotations"] += [
        {
            **extra,
            "id": 100,
            "segmentation": box(2, 2, 12, 12),
            "area": 100,
            "bbox": [2, 2, 10, 10],
        },
        {
            **extra,
            "id": 101,
            "segmentation": box(2, 2, 12, 12),
            "area": 100,
            "bbox": [2, 2, 10, 10],
        },
    ]
    path.write_text(json.dumps(whole))
    assert kinds(examine("coco_instances", root)) == {"overlap", "hidden-instance"}
    del whole["annotations"][-1]
    first["area"], second["bbox"], second["category_id"] = 5000, [0, 0, 3, 3], 4
    whole["annotations"].append(
        {**extra, "id": 102, "segmentation": box(1, 1, 3, 3), "category_id": 66}
    )
    path.write_text(json.dumps(whole))
    found = kinds(examine("coco_instances", root))
    assert found == {"wrong-area", "wrong-box", "unknown-class"}


def test_things_that_are_crowds_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    DATASETS["cityscapes"].write_example(root)
    for path in root.rglob("*_instanceIds.png"):  # as if saved with 8 bits
        values = read_numbers(path)
        clipped = np.where(values >= 1000, values // 1000, values)
        path.write_bytes(encode_numbers(clipped.astype(np.int32), bits=16))
    assert kinds(examine("cityscapes", root)) == {"only-crowd"}


def test_what_cannot_be_repaired_leaves_nothing_behind(tmp_path: Path) -> None:
    data = Coco(tmp_path / "data")
    data.path.write_text("{")
    report = examine("coco_panoptic", data.root)
    assert kinds(report) == {"cannot-open"}
    source = Source(data.root, "val")
    with pytest.raises(ValueError, match="cannot be repaired"):
        repair(report, source, tmp_path / "copy", workers=1, progress=None)
    data = Coco(tmp_path / "other")
    report = examine("coco_panoptic", data.root)
    with pytest.raises(ValueError, match="outside the data set"):
        repair(report, Source(data.root, "val"), data.root / "new", workers=1, progress=None)
    for picture in data.root.glob("train/*.png"):
        picture.unlink()
    report = examine("coco_panoptic", data.root)
    with pytest.raises(ValueError, match="nothing of the split 'train' can be saved"):
        repair(report, Source(data.root, "val"), tmp_path / "copy", workers=1, progress=None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "other"]


def test_fields_of_the_list_are_kept(tmp_path: Path) -> None:
    data = Coco(tmp_path / "data")
    data.whole["images"][0]["image_type"] = "dusk"
    data.whole["licenses"] = ["CC0"]
    wrong_area(data)
    data.save()
    report = examine("coco_panoptic", data.root)
    repair(report, Source(data.root, "val"), tmp_path / "copy", workers=1, progress=None)
    whole = json.loads((tmp_path / "copy/annotations/panoptic_train.json").read_bytes())
    assert whole["images"][0]["image_type"] == "dusk"
    assert whole["licenses"] == ["CC0"]


def test_any_number_of_processes_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Coco(tmp_path / "data")
    wrong_area(data)
    leak(data)
    data.save()
    alone = examine("coco_panoptic", data.root)
    monkeypatch.setattr("panoptic_deeplab.doctor.examination._ALONE", 0)
    shared = check("coco_panoptic", Source(data.root, "val"), workers=2)
    assert shared.findings == alone.findings
    assert shared.to_dict() == alone.to_dict()


def test_shards_are_examined(tmp_path: Path) -> None:
    root = tmp_path / "data"
    DATASETS["tar_shards"].write_example(root)
    path = root / "annotations/panoptic_train.json"
    whole = json.loads(path.read_bytes())
    whole["annotations"][0]["segments_info"].pop()
    whole["images"][1]["file_name"] = "nowhere.png"
    path.write_text(json.dumps(whole))
    report = examine("tar_shards", root)
    assert kinds(report) == {"id-not-listed", "missing-picture"}
    repair(report, Source(root, "val"), tmp_path / "new", progress=None)
    again = examine("tar_shards", tmp_path / "new")
    assert not again.has_errors
    assert [len(f) for f in again.facts.values()] == [1, 2]
    (root / "shards/val-000000.tar").unlink()
    assert "val-000000.tar" in str([f.what for f in examine("tar_shards", root).findings])
