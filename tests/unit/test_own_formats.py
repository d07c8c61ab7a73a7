"""What single formats of one's own data mean, and what they refuse."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import build_dataset
from panoptic_deeplab.data.label_file import LabelFile, read_label_file, things_named, with_rest
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap


def picture(path: Path, size: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))


def only(root: Path, name: str) -> PanopticMap:
    dataset = build_dataset(DataConfig(format=name, root=str(root), train_split="train"), "train")
    assert len(dataset) == 1
    return dataset[0].panoptic


def rows(panoptic: PanopticMap) -> list[list[int]]:
    panoptic.check()
    return panoptic.segment_map.tolist()


# ---------------------------------------------------------------------------- LabelMe


def labelme(root: Path, *shapes: dict, **more: object) -> Path:
    picture(root / "train" / "a.png")
    whole = {"shapes": list(shapes), "imageHeight": 4, "imageWidth": 6, **more}
    (root / "train" / "a.json").write_text(json.dumps(whole))
    return root


BOX = {"label": "car", "points": [[4, 2], [1, 1]], "shape_type": "rectangle"}


def test_labelme_shapes_and_groups(tmp_path: Path) -> None:
    one = {"label": "car", "points": [[0, 0], [1, 0], [1, 1], [0, 1]], "group_id": 3}
    other = {"label": "car", "points": [[5, 3], [6, 3], [6, 4], [5, 4]], "group_id": 3}
    assert rows(only(labelme(tmp_path, one, BOX, other), "labelme")) == [
        [1, 3, 3, 3, 3, 3],
        [3, 2, 2, 2, 3, 3],
        [3, 3, 3, 3, 3, 3],
        [3, 3, 3, 3, 3, 1],
    ]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({**BOX, "shape_type": "line"}, r"shapes\[0\]: expected a polygon, or a rectangle"),
        ({**BOX, "points": [[1, 2], [3]]}, "expected points as pairs"),
        ({**BOX, "points": [[1, 2], [9999, 2]]}, "corners in or near the picture"),
    ],
)
def test_labelme_refuses(shape: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        only(labelme(tmp_path, shape), "labelme")


def test_labelme_size_and_unknown_label(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json: expected the size of its picture .* 4x6"):
        only(labelme(tmp_path, BOX, imageHeight=5), "labelme")
    (tmp_path / "labels.json").write_text('["cart"]')
    with pytest.raises(ValueError, match=r"unknown label 'car'\. Did you mean 'cart'"):
        only(labelme(tmp_path, BOX), "labelme")


# ---------------------------------------------------------------------------- CVAT


def cvat(root: Path, shapes: str, head: str = "") -> Path:
    picture(root / "train" / "images" / "a.png")
    (root / "train" / "annotations.xml").write_text(
        f'{head}<annotations><image name="a.png" width="6" height="4">{shapes}</image>'
        "</annotations>"
    )
    return root


def test_cvat_shapes_masks_and_layers(tmp_path: Path) -> None:
    shapes = (
        '<box label="car" xtl="0" ytl="0" xbr="3" ybr="2" z_order="1"/>'
        '<mask label="car" rle="1, 2, 1" left="2" top="0" width="2" height="2" z_order="0"/>'
        '<polygon label="car" points="5.0,3.0;6.0,3.0;6.0,4.0;5.0,4.0" z_order="0">'
        '<attribute name="crowd">true</attribute></polygon>'
        '<tag label="night"/>'
    )
    panoptic = only(cvat(tmp_path, shapes), "cvat")
    assert rows(panoptic) == [
        [1, 1, 1, 2, 4, 4],
        [1, 1, 1, 4, 4, 4],
        [4, 4, 4, 4, 4, 4],
        [4, 4, 4, 4, 4, 3],
    ]
    assert [s.is_crowd for s in panoptic.segments] == [False, False, True, False]


def test_cvat_never_looks_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("word")
    head = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    with pytest.raises(ValueError, match="expected XML of CVAT without a document type"):
        only(cvat(tmp_path, "&e;", head), "cvat")
    picture(tmp_path / "a.png")
    shapes = '<box label="car" xtl="0" ytl="0" xbr="3" ybr="2"/></image><image name="../../a.png">'
    with pytest.raises(ValueError, match="expected a file name relative to the list"):
        only(cvat(tmp_path, shapes), "cvat")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<points label="car" points="1,1"/>', "expected a polygon, mask, box or ellipse"),
        ('<box label="car" xtl="0"/>', "expected a whole box, 'ytl' is missing"),
        ('<polygon label="car" points="1,1;a,b"/>', "expected points as pairs"),
        (
            '<mask label="car" rle="9" left="0" top="0" width="2" height="2"/>',
            "runs fill its box of 2x2",
        ),
        (
            '<mask label="car" rle="4" left="9" top="0" width="2" height="2"/>',
            "expected a mask in the picture",
        ),
    ],
)
def test_cvat_refuses(shape: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        only(cvat(tmp_path, shape), "cvat")


# ---------------------------------------------------------------------------- YOLO


def yolo(root: Path, text: str, names: str = "names: [car, person]") -> Path:
    picture(root / "images" / "train" / "a.png")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text(text)
    (root / "data.yaml").write_text(names)
    return root


def test_yolo_shares_of_width_and_height(tmp_path: Path) -> None:
    text = "1 0 0 0.5 0 0.5 0.5 0 0.5\n\n"
    assert rows(only(yolo(tmp_path, text), "yolo_seg")) == [
        [1, 1, 1, 4, 4, 4],
        [1, 1, 1, 4, 4, 4],
        [4, 4, 4, 4, 4, 4],
        [4, 4, 4, 4, 4, 4],
    ]


def test_yolo_without_objects(tmp_path: Path) -> None:
    assert len(only(yolo(tmp_path, ""), "yolo_seg").segments) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 1 1", r"line 1: expected corners of a polygon, got four numbers, a box"),
        ("2 0 0 1 0 1 1", "the place of a class, 0 to 1"),
        ("-1 0 0 1 0 1 1", "the place of a class, 0 to 1"),
        ("0 0 0 100 0 100 100", "expected pairs of shares from 0 to 1"),
        ("0 0 0 1 0 1 1 1", "expected pairs of shares from 0 to 1, got 7 numbers"),
        ("0 0 0 1 zero 1 1", "corners x y as shares"),
    ],
)
def test_yolo_refuses(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        only(yolo(tmp_path, text), "yolo_seg")


def test_yolo_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.yaml: expected 'names' with the name of each"):
        only(yolo(tmp_path, "", "names: 3"), "yolo_seg")


# ---------------------------------------------------------------------------- PNGs and masks


def png_pair(root: Path, folder: str, values: list[list[int]], labels: object) -> Path:
    array = np.array(values, np.uint16 if np.max(values) > 255 else np.uint8)
    picture(root / "images" / "train" / "a.png", array.shape)
    (root / folder / "train").mkdir(parents=True)
    cv2.imwrite(str(root / folder / "train" / "a.png"), array)
    if labels is not None:
        (root / "labels.json").write_text(json.dumps(labels))
    return root


CLASSES = [{"name": "road", "id": 1}, {"name": "car", "id": 2, "is_thing": True}]


def test_ids_are_class_times_divisor(tmp_path: Path) -> None:
    labels = {"classes": CLASSES, "divisor": 100}
    panoptic = only(png_pair(tmp_path, "ids", [[0, 100, 103], [201, 202, 200]], labels), "id_pngs")
    assert rows(panoptic) == [[0, 100, 100], [201, 202, 200]]
    assert {s.id: (s.class_id, s.is_crowd) for s in panoptic.segments} == {
        100: (0, False),
        200: (1, True),
        201: (1, False),
        202: (1, False),
    }


def test_ids_without_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png \(id 5000, class 5 with divisor 1000\)"):
        only(png_pair(tmp_path, "ids", [[5000]], CLASSES), "id_pngs")
    (tmp_path / "labels.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected labels\.json, which says what"):
        only(tmp_path, "id_pngs")


def test_label_pngs_without_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = png_pair(tmp_path, "labels", [[0, 3], [255, 3]], None)
    dataset = build_dataset(DataConfig(format="label_pngs", root=str(root)), "train")
    assert dataset.labels.names == ("class 0", "class 3")
    assert dataset[0].panoptic.segment_map.tolist() == [[1, 4], [0, 4]]
    assert "no labels.json, so the 2 numbers in the PNGs become classes" in caplog.text


def test_label_pngs_void_and_things(tmp_path: Path) -> None:
    labels = {"classes": CLASSES[:1], "void": [0]}
    root = png_pair(tmp_path, "labels", [[0, 1], [2, 1]], labels)
    with pytest.raises(ValueError, match=r"a\.png \(number 2\).*list it under \"void\"|number 2"):
        only(root, "label_pngs")
    (root / "labels.json").write_text(json.dumps({"classes": CLASSES}))
    with pytest.raises(ValueError, match="expected stuff only, got the things car"):
        only(root, "label_pngs")


def masks(root: Path, files: dict[str, np.ndarray], labels: object = None) -> Path:
    picture(root / "images" / "train" / "a.jpg")
    for name, mask in files.items():
        path = root / "masks" / "train" / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), mask)
    if labels is not None:
        (root / "labels.json").write_text(json.dumps(labels))
    return root


def part(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((4, 6), np.uint8)
    mask[:, start:stop] = 1
    return mask


def test_masks_named_after_their_class(tmp_path: Path) -> None:
    labels = ["car", "person", {"name": "road", "is_thing": False}]
    files = {"car_1.png": part(0, 3), "person_2.png": part(2, 3), "road.png": part(0, 6)}
    panoptic = only(masks(tmp_path, files, labels), "instance_masks")
    assert rows(panoptic)[0] == [1, 1, 2, 6, 6, 6]  # the smaller lies above; stuff below
    with pytest.raises(ValueError, match=r"expected the name of a class before the number"):
        only(masks(tmp_path, {"cat_3.png": part(0, 1)}), "instance_masks")


def test_empty_mask_and_wrong_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected pixels of an object, got none"):
        only(masks(tmp_path, {"1.png": part(0, 0)}), "instance_masks")
    with pytest.raises(ValueError, match=r"1\.png: expected the size of its picture .*4x6"):
        only(masks(tmp_path, {"1.png": part(0, 2)[:2]}), "instance_masks")


# ---------------------------------------------------------------------------- labels.json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("{}", "expected a list of classes"),
        ('[{"id": 1}]', r"classes\[0\] needs a 'name'"),
        ('[{"name": "a", "id": "1"}]', "needs 'id' as a whole number"),
        ('[{"name": "a", "color": [1, 2]}]', "needs 'color' as three whole numbers"),
        ('["a", "a"]', "needs its own name"),
        ('[{"name": "a", "id": -1}]', "must be 0 or more"),
    ],
)
def test_faulty_label_files(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_label_file(tmp_path)


def test_what_is_not_annotated() -> None:
    labels, rest = with_rest(things_named(["b", "a"], "x"))
    assert [(c.name, c.dataset_id, c.is_thing) for c in labels.classes] == [
        ("background", 0, False),
        ("a", 1, True),
        ("b", 2, True),
    ]
    assert rest == 0
    zero = LabelSpace("x", (ClassInfo("a", 0, True, (0, 0, 0)),))
    labels, rest = with_rest(LabelFile(zero))
    assert (labels.names, rest) == (("a", "background"), 1)
    stuff = LabelSpace("x", (*zero.classes, ClassInfo("sea", 1, False, (0, 0, 0))))
    assert with_rest(LabelFile(stuff)) == (stuff, None)
    assert with_rest(LabelFile(stuff, {"rest": "sea"})) == (stuff, 1)
    with pytest.raises(ValueError, match="expected 'rest' to name a class of stuff, got 'a'"):
        with_rest(LabelFile(stuff, {"rest": "a"}))
