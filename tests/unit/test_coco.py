"""COCO panoptic: what is written is read back, in every layout; each kind of damage has a name."""

import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from toy import LABELS, Toy

from panoptic_deeplab.data.coco import CocoPanoptic, decode_ids, open_coco_panoptic
from panoptic_deeplab.data.coco_writer import (
    encode_ids,
    write_dataset,
)
from panoptic_deeplab.data.store import Place, TarStore
from panoptic_deeplab.structures import Sample

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(Toy(), tmp_path / "toy", "val")
    return tmp_path / "toy"


def same(one: Sample, two: Sample) -> bool:
    return (
        np.array_equal(one.image, two.image)
        and np.array_equal(one.panoptic.segment_map, two.panoptic.segment_map)
        and one.panoptic.segments == two.panoptic.segments
        and one.image_id == two.image_id
    )


def assert_is_toy(dataset: CocoPanoptic) -> None:
    assert dataset.labels == LABELS
    assert len(dataset) == 2
    for i in range(2):
        assert same(dataset[i], Toy()[i])
        assert dataset.image_id(i) == Toy().image_id(i)


def pack(folder: Path, target: Path, inside: str = "") -> Path:
    with tarfile.open(target, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, f"{inside}{path.relative_to(folder).as_posix()}")
    return target


# ---------------------------------------------------------------------------- layouts


def test_folder(root: Path) -> None:
    assert_is_toy(open_coco_panoptic(root, "val"))
    assert_is_toy(open_coco_panoptic(str(root), "val"))


def test_folder_above(root: Path) -> None:
    assert_is_toy(open_coco_panoptic(root.parent, "val"))


def test_coco_names_with_year(root: Path) -> None:
    (root / "val").rename(root / "val2017")
    for suffix in ("", ".json"):
        path = root / "annotations" / f"panoptic_val{suffix}"
        path.rename(path.with_name(f"panoptic_val2017{suffix}"))
    assert_is_toy(open_coco_panoptic(root, "val"))
    assert_is_toy(open_coco_panoptic(root, "val2017"))


def test_images_folder(root: Path) -> None:
    (root / "images").mkdir()
    (root / "val").rename(root / "images" / "val")
    assert_is_toy(open_coco_panoptic(root, "val"))
    (root / "images" / "val").rename(root / "rest")
    (root / "images").rmdir()
    (root / "rest").rename(root / "images")
    assert_is_toy(open_coco_panoptic(root, "val"))


def test_tar_of_all(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tars"
    folder.mkdir()
    tar = pack(root, folder / "toy_val.tar", inside="toy/")
    assert_is_toy(open_coco_panoptic(folder, "val"))
    assert_is_toy(open_coco_panoptic(tar, "val"))
    pack(root, folder / "toy_train.tar", inside="toy/")
    assert_is_toy(open_coco_panoptic(folder, "val"))


def test_tar_without_folder_and_with_dots(root: Path, tmp_path: Path) -> None:
    tar = pack(root, tmp_path / "toy_val.tar")
    assert_is_toy(open_coco_panoptic(tar, "val"))
    tar = pack(root, tmp_path / "toy_val.tar", inside="./")
    assert_is_toy(open_coco_panoptic(tar, "val"))


def test_images_in_a_tar_of_their_own(root: Path) -> None:
    pack(root / "val", root / "val.tar", inside="some/where/")
    for path in (root / "val").iterdir():
        path.unlink()
    (root / "val").rmdir()
    assert_is_toy(open_coco_panoptic(root, "val"))


def test_parts_named_one_by_one(root: Path, tmp_path: Path) -> None:
    pngs = pack(root / "annotations" / "panoptic_val", tmp_path / "pngs.tar")
    dataset = CocoPanoptic(
        root / "val", root / "annotations" / "panoptic_val.json", pngs, name="toy"
    )
    assert_is_toy(dataset)


def test_is_small_when_pickled_and_works_after(root: Path, tmp_path: Path) -> None:
    tar = pack(root, tmp_path / "toy_val.tar", inside="toy/")
    content = pickle.dumps(open_coco_panoptic(tar, "val"))
    assert len(content) < 10_000
    assert_is_toy(pickle.loads(content))


def test_later_member_of_a_tar_wins(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for text in ("old", "newer"):
            (tmp_path / "x").write_text(text)
            tar.add(tmp_path / "x", "x")
    assert TarStore(tmp_path / "a.tar").read("x") == b"newer"


# ---------------------------------------------------------------------------- a damaged list


def edit_list(root: Path, change: Edit) -> None:
    path = root / "annotations" / "panoptic_val.json"
    whole = json.loads(path.read_text())
    change(whole)
    path.write_text(json.dumps(whole))


def infos(whole: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    return whole["annotations"][index]["segments_info"]


DAMAGES: dict[str, tuple[Edit, str]] = {
    "no annotations": (
        lambda w: w.update(annotations=[]), r"panoptic_val\.json: .*one annotation per image.*empty"
    ),
    "no list of images": (
        lambda w: w.pop("images"), r"expected a list of objects under 'images', got nothing"
    ),
    "categories are text": (
        lambda w: w.update(categories=["cell"]), r"objects under 'categories', got list"
    ),
    "image twice": (
        lambda w: w["images"].append(w["images"][0]), r"each image id once, got 17 twice"
    ),
    "category twice": (
        lambda w: w["categories"].append(w["categories"][0]), r"each category id once, got 3 twice"
    ),
    "segment twice": (
        lambda w: infos(w).append(infos(w)[0]),
        r"annotations\[0\]: expected each segment id once, got 16777215 twice",
    ),
    "annotation twice": (
        lambda w: w["annotations"].append(w["annotations"][0]),
        r"annotations\[2\] has image_id 17: expected the id of an image",
    ),
    "annotation of no image": (
        lambda w: w["annotations"][1].update(image_id=5), r"annotations\[1\] has image_id 5"
    ),
    "unknown category": (
        lambda w: infos(w)[1].update(category_id=8),
        r"segments_info\[1\] \(segment 300\): Unknown class id 8: .* has 3 cell, 7 ground",
    ),
    "id is void": (lambda w: infos(w)[0].update(id=0), r"expected an id from 1 to 16777215.*got 0"),
    "id too large": (lambda w: infos(w)[0].update(id=2**24), r"got 16777216\. Number"),
    "id is text": (lambda w: infos(w)[0].update(id="x"), r"needs 'id' \(int\), got 'x'"),
    "segment is no object": (
        lambda w: infos(w).append(5), r"segments_info\[3\]: expected an object, got 5"
    ),
    "area is no number": (
        lambda w: infos(w)[0].update(area=float("nan")), r"needs 'area' as a finite number, got nan"
    ),
    "detection file": (
        lambda w: w["categories"][0].pop("isthing"),
        r"categories\[0\] needs 'isthing'.*got nothing.*Files of the detection task",
    ),
    "detection annotations": (
        lambda w: w["annotations"][0].pop("segments_info"),
        r"annotations\[0\] needs 'segments_info'.*one annotation per object",
    ),
    "color": (lambda w: w["categories"][0].update(color="red"), r"needs 'color' as three whole"),
    "path climbs": (
        lambda w: w["images"][0].update(file_name="../../x.png"),
        r"expected a file name relative to this folder, got '\.\./\.\./x\.png'",
    ),
}  # fmt: skip


ODD: list[Any] = [None, -1, 0, 2**70, 1.5, float("inf"), "", "x", [], [None], {}, True]


def leaves(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value of a tree."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    found = [(node, key) for key in keys]
    for key in keys:
        if isinstance(node[key], dict | list):
            found += leaves(node[key])
    return found


def test_any_odd_value_is_refused_by_name_or_harmless(root: Path) -> None:
    path = root / "annotations" / "panoptic_val.json"
    content = path.read_text()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        whole = json.loads(content)
        places = leaves(whole)
        container, key = places[generator.integers(len(places))]
        container[key] = ODD[generator.integers(len(ODD))]
        path.write_text(json.dumps(whole))
        try:
            open_coco_panoptic(root, "val")[0]
        except (ValueError, FileNotFoundError) as error:
            refused += len(str(error)) > 40
    assert refused > 100


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_list(root: Path, kind: str) -> None:
    change, message = DAMAGES[kind]
    edit_list(root, change)
    with pytest.raises(ValueError, match=message):
        open_coco_panoptic(root, "val")


def test_no_json(root: Path) -> None:
    path = root / "annotations" / "panoptic_val.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"panoptic_val\.json: expected JSON, reading it failed"):
        open_coco_panoptic(root, "val")
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"expected an object with 'images'.*got list"):
        open_coco_panoptic(root, "val")


def test_images_without_annotation_are_left_out(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_list(root, lambda w: w["annotations"].pop())
    assert len(open_coco_panoptic(root, "val")) == 1
    assert "1 images have no annotation" in caplog.text


def test_colors_are_made_up_where_there_are_none(root: Path) -> None:
    edit_list(root, lambda w: [c.pop("color") for c in w["categories"]])
    assert len({c.color for c in open_coco_panoptic(root, "val").labels.classes}) == 3


def test_classes_are_in_the_order_of_their_ids(root: Path) -> None:
    edit_list(root, lambda w: w["categories"].reverse())
    assert_is_toy(open_coco_panoptic(root, "val"))


def test_wrong_area_is_counted_anew(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_list(root, lambda w: infos(w)[1].update(area=99))
    dataset = open_coco_panoptic(root, "val")
    assert same(dataset[0], Toy()[0])
    assert "000000000017.png: segment 300 has 18 pixels" in caplog.text
    assert caplog.text.count("lists 99") == 1
    dataset[0]
    assert caplog.text.count("lists 99") == 1


# ---------------------------------------------------------------------------- damaged pictures


def png(root: Path) -> Path:
    return root / "annotations" / "panoptic_val" / "000000000017.png"


def rewrite(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    ids = decode_ids(png(root).read_bytes(), name="")
    png(root).write_bytes(encode_ids(change(ids).astype(np.int32), name=""))


def first(root: Path) -> Sample:
    return open_coco_panoptic(root, "val")[0]


def test_segment_without_pixels(root: Path) -> None:
    rewrite(root, lambda ids: np.where(ids == 300, 0, ids))
    with pytest.raises(ValueError, match=r"17\.png: expected pixels of segment 300 \(ground\)"):
        first(root)


def test_pixels_without_segment(root: Path) -> None:
    rewrite(root, lambda ids: np.where(ids == 0, 41, ids))
    with pytest.raises(ValueError, match=r"17\.png: expected only segments that .* lists, got 41"):
        first(root)


def test_sizes_differ(root: Path) -> None:
    rewrite(root, lambda ids: ids.T)
    with pytest.raises(ValueError, match=r"size of its picture .*6x9 \(height x width\), got 9x6"):
        first(root)


def test_png_of_another_kind(root: Path) -> None:
    cv2.imwrite(str(png(root)), np.zeros((6, 9), np.uint8))
    with pytest.raises(ValueError, match=r"17\.png: expected an 8-bit RGB PNG .* PNG of mode L"):
        first(root)
    png(root).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="got something else"):
        first(root)


def test_png_cut_short(root: Path) -> None:
    png(root).write_bytes(png(root).read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"17\.png: expected a whole picture"):
        first(root)


def test_picture_cut_short(root: Path) -> None:
    path = root / "val" / "000000000017.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"val/000000000017\.png: expected a whole picture"):
        first(root)


# ---------------------------------------------------------------------------- missing files


def test_missing_picture_and_png(root: Path) -> None:
    dataset = open_coco_panoptic(root, "val")
    png(root).unlink()
    with pytest.raises(FileNotFoundError, match=r"expected 000000000017\.png, which .* lists"):
        dataset[0]
    with pytest.raises(FileNotFoundError, match=r"expected the PNGs .* found none\. Put them"):
        open_coco_panoptic(root, "val")
    (root / "annotations" / "panoptic_val.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"Unpack panoptic_val\.zip there"):
        open_coco_panoptic(root, "val")


def test_missing_picture_folder(root: Path) -> None:
    (root / "val").rename(root / "pictures")
    with pytest.raises(FileNotFoundError, match=r"expected the pictures.*val, images/val, images"):
        open_coco_panoptic(root, "val")
    annotations = root / "annotations"
    with pytest.raises(FileNotFoundError, match=r"expected 000000000017\.png, which"):
        CocoPanoptic(root, annotations / "panoptic_val.json", annotations / "panoptic_val")


def test_missing_list(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected annotations/panoptic_train\.json"):
        open_coco_panoptic(root, "train")
    with pytest.raises(FileNotFoundError, match="expected a folder or a tar, found nothing"):
        open_coco_panoptic(root / "nowhere", "val")
    with pytest.raises(FileNotFoundError, match="expected the JSON that lists the labels"):
        CocoPanoptic(root / "val", root / "none.json", root / "val")


def test_several_data_sets_in_one_folder(root: Path) -> None:
    write_dataset(Toy(), root.parent / "other", "val")
    with pytest.raises(ValueError, match="expected one list of split 'val', got other/anno"):
        open_coco_panoptic(root.parent, "val")


def test_several_tars_of_a_split(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tars"
    folder.mkdir()
    pack(root, folder / "a_val.tar")
    pack(root, folder / "b_val.tar")
    with pytest.raises(ValueError, match=r"expected one tar of split 'val', got a_val\.tar, b_val"):
        open_coco_panoptic(folder, "val")


def test_compressed_and_cut_tars(root: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "toy_val.tar", "w:gz") as tar:
        tar.add(root, "toy")
    with pytest.raises(ValueError, match=r"expected an uncompressed tar.*tar -cf"):
        open_coco_panoptic(tmp_path / "toy_val.tar", "val")
    tar_path = pack(root, tmp_path / "toy_val.tar")
    store = TarStore(tar_path)
    tar_path.write_bytes(tar_path.read_bytes()[:700])
    with pytest.raises(ValueError, match="The tar was cut short"):
        store.read("val/dusk.png")
    with pytest.raises(FileNotFoundError, match="has no nothing"):
        store.read("nothing")


def test_tar_of_other_pictures(root: Path, tmp_path: Path) -> None:
    tar = pack(root / "annotations", tmp_path / "x.tar")
    annotations = root / "annotations"
    edit_list(root, lambda w: w["images"][0].update(file_name="y.png"))
    with pytest.raises(FileNotFoundError, match=r"expected y\.png in this tar, in any folder"):
        CocoPanoptic(tar, annotations / "panoptic_val.json", annotations / "panoptic_val")


def test_absolute_names_are_refused(root: Path) -> None:
    place = Place(TarStore(pack(root, root.parent / "a.tar")))
    with pytest.raises(ValueError, match="expected a file name relative to this folder"):
        place.read("/etc/passwd")
