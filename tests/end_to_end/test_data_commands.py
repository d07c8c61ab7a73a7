"""`data convert`, `data compare`, `data submit` and `--data` as a user meets them."""

import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from panoptic_deeplab.data import DATASETS
from panoptic_deeplab.data.coco_writer import write_dataset
from panoptic_deeplab.data.convert import convert
from panoptic_deeplab.data.synthetic import SyntheticStreets


def test_convert_says_what_it_took_it_for_and_what_is_lost(run, tmp_path: Path) -> None:
    DATASETS["id_pngs"].write_example(tmp_path / "old")
    code, out, err = run(
        "data", "convert", tmp_path / "old", tmp_path / "new", "--to", "coco-panoptic"
    )
    assert code == 0
    assert "taken for pictures with PNGs of ids (found PNGs in ids/train" in err
    assert "nothing is lost: read back, every image is as it was" in out
    code, out, _ = run(
        "data", "convert", tmp_path / "new", tmp_path / "yolo", "--to", "yolo", "--json"
    )
    assert code == 0
    whole = json.loads(out)
    assert list(whole["losses"]) == ["pixels of person became void"]
    assert whole["images"] == {"train": 2, "val": 2}


def test_convert_with_own_classes(run, tmp_path: Path) -> None:
    words = (
        "data",
        "convert",
        "synthetic",
        tmp_path / "city",
        "--to",
        "cityscapes",
        "--splits",
        "val",
    )
    code, _, err = run(*words)
    assert code == 2
    assert "'cityscapes' has no class 'cyclist'. Say what becomes of each: --rename" in err
    assert not (tmp_path / "city").exists()
    code, out, _ = run(*words, "--rename", "cyclist=rider", "--drop", "sky")
    assert code == 0
    assert "class 'cyclist' is 'rider'" in out
    assert "class 'sky' becomes void" in out
    assert "20 images got new names, such as converted_000000_000000 for 000000" in out
    assert "pixels of dropped classes became void" in out


def test_slips(run, tmp_path: Path) -> None:
    for words, sentence in (
        (("data", "convert", tmp_path / "no", "x", "--to", "cvat"), "expected a folder or a tar"),
        (("data", "convert", "synthetic", "x", "--to", "cvt"), "Unknown data format 'cvt'"),
        (("data", "convert", "synthetic", "x", "--to", "cvat", "--rename", "a"), "takes OLD=NEW"),
        (("data", "convert", tmp_path, "x", "--to", "cvat"), "recognised none. Known are: City"),
        (("data", "submit", tmp_path, "--to", "coco-panoptic", "--out", "x.zip"), "found none"),
        (("data", "submit", tmp_path, "--to", "coco", "--out", "x.zip"), "Unknown evaluation"),
        (("data", "submit", tmp_path, "--to", "coco-panoptic", "--out", "x"), "must be a .zip"),
        (("data", "compare", tmp_path), "expected annotations/panoptic_val.json"),
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, ""), words
        assert sentence in err
    assert not Path("x").exists()


def test_compare_draws_and_counts(run, tmp_path: Path) -> None:
    root = tmp_path / "pair"
    write_dataset(SyntheticStreets((96, 160), 2, seed=5), root, "val")
    listed = json.loads((root / "annotations" / "panoptic_val.json").read_bytes())
    things = [c for c in listed["categories"] if c["isthing"]]
    boxes = []
    for annotation in listed["annotations"]:
        for segment in annotation["segments_info"]:
            if segment["category_id"] in {c["id"] for c in things}:
                x, y, w, h = segment["bbox"]
                corners = [x, y, x + w, y, x + w, y + h, x, y + h]
                boxes.append(
                    {
                        "id": len(boxes),
                        "image_id": annotation["image_id"],
                        "category_id": segment["category_id"],
                        "segmentation": [corners],
                    }
                )
    whole = {"images": listed["images"], "annotations": boxes, "categories": things}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(whole))
    code, out, _ = run("data", "compare", root, "--out", tmp_path / "drawn", "--json")
    assert code == 0
    counts = json.loads(out)
    assert [c["image_id"] for c in counts] == ["000000", "000001"]
    assert sum(c["shared_px"] for c in counts) > 0
    assert all(c["different_px"] > 0 for c in counts)
    assert all(c["things"] == c["panoptic_things"] > 0 for c in counts)
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "000000.png"))
    assert (drawn == (255, 0, 200)).all(axis=2).any() or counts[0]["shared_px"] == 0
    assert (drawn == (255, 60, 0)).all(axis=2).any()
    code, out, _ = run("data", "compare", root, "--images", "000001", "--overlap", "file")
    assert code == 0
    assert "overlaps by 'file'" in out
    assert "000000" not in out


def test_evaluate_any_format_and_submit(run, tiny_weights: Path, tmp_path: Path) -> None:
    """Drawn scenes as CVAT, evaluated; the predictions packed for Cityscapes."""
    scenes = SyntheticStreets((96, 160), 3, seed=1)
    convert({"val": scenes}, tmp_path / "cvat", DATASETS["cvat"])
    code, _, err = run(
        "evaluate",
        "--data",
        tmp_path / "cvat",
        "--weights",
        tiny_weights,
        "--limit",
        2,
        "--save",
        tmp_path / "found",
    )
    assert code == 0
    assert "taken for polygons and masks from CVAT" in err
    target = tmp_path / "r.zip"
    words = ("data", "submit", tmp_path / "found", "--out", target, "--rename", "cyclist=rider")
    code, _, err = run(*words, "--to", "cityscapes-panoptic")
    assert code == 2
    assert "expected a name of the form CITY_SEQUENCE_FRAME" in err
    code, out, _ = run(*words, "--to", "mapillary-panoptic", "--drop", "*")
    assert code == 2  # mapillary has no class rider
    assert not target.exists()
    code, out, _ = run(
        "data",
        "submit",
        tmp_path / "found",
        "--out",
        target,
        "--drop",
        "*",
        "--to",
        "mapillary-panoptic",
    )
    assert code == 0
    assert "2 images" in out
    with zipfile.ZipFile(target) as archive:
        assert "r.json" in archive.namelist()
    pictures = tmp_path / "cvat" / "val" / "images"
    code, _, err = run(
        "data",
        "submit",
        tmp_path / "found",
        "--out",
        target,
        "--drop",
        "*",
        "--to",
        "mapillary-panoptic",
        "--pictures",
        pictures,
    )
    assert code == 2
    assert "expected a result for each of 3 images, missing: 1" in err


def test_check_tells_of_faults_and_repairs_a_copy(run, tmp_path: Path) -> None:
    root, page, fixed = tmp_path / "data", tmp_path / "page.html", tmp_path / "fixed"
    DATASETS["coco_panoptic"].write_example(root)
    code, out, err = run("data", "check", root)
    assert code == 0
    assert "taken for COCO panoptic" in err
    assert "4 images examined: 0 errors, 0 warnings and 1 note." in out
    picture = root / "train/000000000001.png"
    picture.write_bytes(picture.read_bytes()[:500])
    code, out, _ = run("data", "check", root, "--html", page, "--fix", fixed)
    assert code == 1
    assert "000000000001.png: expected a whole picture, got one that is cut short" in out
    assert f"repaired copy: {fixed}" in out
    assert page.read_text().count("data:image/jpeg;base64,") == 3
    assert run("data", "check", fixed)[0] == 0
    code, out, _ = run("data", "check", root, "--json")
    whole = json.loads(out)
    assert (code, whole["errors"], whole["warnings"]) == (1, 1, 0)
    assert whole["faults"][0]["kind"] == "unreadable-picture"


def test_check_refuses_places_before_it_reads(run, tmp_path: Path) -> None:
    root = tmp_path / "data"
    DATASETS["coco_panoptic"].write_example(root)
    for place, message in (
        (root, "expected a folder outside the data set"),
        (root / "new", "expected a folder outside the data set"),
        (tmp_path, "expected an empty or a new folder"),
    ):
        code, out, err = run("data", "check", root, "--fix", place)
        assert (code, out) == (2, "")
        assert message in err
    assert run("data", "check", tmp_path / "nowhere")[0] == 2
    assert run("data", "check", root, "--splits", "nowhere")[0] == 2
    assert "--workers must be 0 or more" in run("data", "check", root, "--workers", "-1")[2]
