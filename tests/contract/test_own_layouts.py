"""One's own data: every layout of folders gives the same images; without splits a seed decides."""

from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import DATASETS, PanopticDataset, build_dataset, recognise
from panoptic_deeplab.structures import Sample

TRUTHS = {
    "id_pngs": "ids",
    "label_pngs": "labels",
    "instance_masks": "masks",
    "instance_tiffs": "masks",
    "yolo_seg": "labels",
}
"""Format -> folder of labels as its writer names it."""


def read(root: Path, name: str, role: str = "val", **more: object) -> list[Sample]:
    dataset = build_dataset(DataConfig(format=name, root=str(root), **more), role)
    return [dataset[i] for i in range(len(dataset))]


def same(one: list[Sample], two: list[Sample]) -> bool:
    return len(one) == len(two) and all(
        a.image_id == b.image_id
        and np.array_equal(a.image, b.image)
        and np.array_equal(a.panoptic.segment_map, b.panoptic.segment_map)
        and a.panoptic.segments == b.panoptic.segments
        for a, b in zip(one, two, strict=True)
    )


@pytest.fixture(params=TRUTHS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    DATASETS[request.param].write_example(tmp_path)
    return request.param


@pytest.mark.parametrize("split", ["val", "validation", "valid"])
def test_split_above_the_folders(name: str, split: str, tmp_path: Path) -> None:
    """SPLIT/images and SPLIT/labels instead of images/SPLIT and labels/SPLIT."""
    before = read(tmp_path, name)
    for folder in ("images", TRUTHS[name]):
        for old, new in (("train", "train"), ("val", split)):
            (tmp_path / new).mkdir(exist_ok=True)
            (tmp_path / folder / old).rename(tmp_path / new / folder)
        (tmp_path / folder).rmdir()
    assert recognise(tmp_path).name == name
    assert same(read(tmp_path, name), before)


def test_a_seed_splits_what_has_no_splits(name: str, tmp_path: Path) -> None:
    everything = read(tmp_path, name, "train") + read(tmp_path, name)
    for folder in ("images", TRUTHS[name]):
        for split in ("train", "val"):
            for path in (tmp_path / folder / split).iterdir():
                path.rename(tmp_path / folder / path.name)
            (tmp_path / folder / split).rmdir()
    assert recognise(tmp_path).name == name
    sides = set()
    for seed in range(8):
        train, val = (
            read(tmp_path, name, role, split_seed=seed, val_fraction=0.25)
            for role in ("train", "val")
        )
        assert (len(train), len(val)) == (3, 1)
        assert same(sorted(train + val, key=lambda s: s.image_id), everything)
        assert same(read(tmp_path, name, "val", split_seed=seed, val_fraction=0.25), val)
        sides.add(val[0].image_id)
    assert len(sides) > 1


def test_mask_files_of_the_data_science_bowl(tmp_path: Path) -> None:
    """NAME/images/NAME.png and NAME/masks/*.png, one class."""
    import cv2

    for i in range(5):
        folder = tmp_path / f"nucleus{i}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        cv2.imwrite(str(folder / "images" / f"nucleus{i}.png"), np.full((4, 6, 3), i, np.uint8))
        for j in range(2):
            mask = np.zeros((4, 6), np.uint8)
            mask[:, 2 * j : 2 * j + 2] = 255
            cv2.imwrite(str(folder / "masks" / f"{j}.png"), mask)
    assert recognise(tmp_path).name == "instance_masks"
    (sample,) = read(tmp_path, "instance_masks")
    assert len(read(tmp_path, "instance_masks", "train")) == 4
    assert sample.panoptic.segment_map[0].tolist() == [1, 1, 2, 2, 3, 3]
    dataset = build_dataset(DataConfig(format="instance_masks", root=str(tmp_path)), "val")
    assert dataset.labels.names == ("background", "object")
    assert [dataset.labels.names[s.class_id] for s in sample.panoptic.segments] == [
        "object",
        "object",
        "background",
    ]


def test_tiffs_beside_their_pictures(tmp_path: Path) -> None:
    """Cellpose's habit: NAME.png and NAME_masks.tif in one folder."""
    from PIL import Image

    for i in range(3):
        Image.fromarray(np.full((4, 6, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        ids = np.zeros((4, 6), np.uint16)
        ids[1:3, 1:3] = 40000
        Image.fromarray(ids).save(tmp_path / f"{i}_masks.tif")
    assert recognise(tmp_path).name == "instance_tiffs"
    (sample,) = read(tmp_path, "instance_tiffs")
    assert {s.id: s.area_px for s in sample.panoptic.segments} == {40000: 4, 40001: 20}


def coco(root: Path) -> PanopticDataset:
    return build_dataset(DataConfig(format="auto", root=str(root)), "val")


def test_coco_pngs_beside_annotations(tmp_path: Path) -> None:
    """detectron2's habit: panoptic_val2017/ lies beside annotations/, not in it."""
    DATASETS["coco_panoptic"].write_example(tmp_path)
    before = [coco(tmp_path)[i] for i in range(2)]
    (tmp_path / "annotations" / "panoptic_val").rename(tmp_path / "panoptic_val")
    assert same([coco(tmp_path)[i] for i in range(2)], before)


def test_coco_instances_with_years_and_stuff(tmp_path: Path) -> None:
    """instances_val2017.json, val2017/ and stuff in a list of its own."""
    import json

    DATASETS["coco_instances"].write_example(tmp_path)
    before = [coco(tmp_path)[i] for i in range(2)]
    path = tmp_path / "annotations" / "instances_val.json"
    whole = json.loads(path.read_bytes())
    stuff = {c["id"] for c in whole["categories"] if not c["isthing"]}
    for name, kept in (("instances", lambda i: i not in stuff), ("stuff", lambda i: i in stuff)):
        part = {
            "images": whole["images"],
            "annotations": [a for a in whole["annotations"] if kept(a["category_id"])],
            "categories": [
                {"id": c["id"], "name": c["name"], "color": c["color"]}
                for c in whole["categories"]
                if kept(c["id"])
            ],
        }
        path.with_name(f"{name}_val2017.json").write_text(json.dumps(part))
    path.unlink()
    (tmp_path / "val").rename(tmp_path / "val2017")
    assert same([coco(tmp_path)[i] for i in range(2)], before)
    path.with_name("stuff_val2017.json").unlink()
    bare = coco(tmp_path)
    assert "background" in bare.labels.names
    assert (bare[0].panoptic.segment_map > 0).all()


def test_cvat_with_subsets(tmp_path: Path) -> None:
    """One list for all, whose images say which part they belong to."""
    import re

    DATASETS["cvat"].write_example(tmp_path)
    before = read(tmp_path, "cvat")
    images = []
    (tmp_path / "images").mkdir()
    for split in ("train", "val"):
        path = tmp_path / split / "annotations.xml"
        text = path.read_text()
        images += re.findall(
            r"<image .*?</image>", text.replace("<image ", f'<image subset="{split}" '), re.DOTALL
        )
        for picture in (tmp_path / split / "images").iterdir():
            picture.rename(tmp_path / "images" / picture.name)
        path.unlink()
    head = text[: text.index("<image ")]
    (tmp_path / "annotations.xml").write_text(head + "\n".join(images) + "</annotations>")
    assert recognise(tmp_path).name == "cvat"
    assert same(read(tmp_path, "cvat"), before)


def test_labelme_labels_in_a_folder(tmp_path: Path) -> None:
    DATASETS["labelme"].write_example(tmp_path)
    before = read(tmp_path, "labelme")
    for split in ("train", "val"):
        (tmp_path / split / "annotations").mkdir()
        for path in (tmp_path / split).glob("*.json"):
            path.rename(tmp_path / split / "annotations" / path.name)
    assert same(read(tmp_path, "labelme"), before)
