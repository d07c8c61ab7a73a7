"""Cityscapes: groups, void, layouts, and the numbers in the files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_deeplab.data.cityscapes import CityscapesWriter, cityscapes_name, open_cityscapes
from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.file_set import Entry
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.formats import DATASETS
from panoptic_deeplab.data.pictures import PictureFile, encode_picture
from panoptic_deeplab.structures import PanopticMap, Sample, Segment

LABELS = read_table("cityscapes").labels
ROAD, CAR = LABELS.names.index("road"), LABELS.names.index("car")


def write_one(root: Path, values: np.ndarray, stem: str = "aachen_000000_000019") -> None:
    """A picture and its instance ids."""
    image = np.zeros((*values.shape, 3), np.uint8)
    for folder, ending, array in (
        ("leftImg8bit", "leftImg8bit", image),
        ("gtFine", "gtFine_instanceIds", values.astype(np.uint16)),
    ):
        path = root / folder / "train" / "aachen" / f"{stem}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), array)


def test_values_to_segments(tmp_path: Path) -> None:
    # 7 road; 26 a group of cars; 26000 and 26001 cars; 0 unlabeled, 3 out of roi: void;
    # 29001 a caravan, not evaluated: void.
    write_one(tmp_path, np.array([[7, 7, 26, 26000], [26001, 0, 3, 29001]]))
    sample = open_cityscapes(Source(tmp_path, "train"))[0]
    assert sample.panoptic.segment_map.tolist() == [[7, 7, 26, 26000], [26001, 0, 0, 0]]
    assert sample.panoptic.segments == (
        Segment(7, ROAD, 2),
        Segment(26, CAR, 1, None, True),
        Segment(26000, CAR, 1),
        Segment(26001, CAR, 1),
    )
    assert sample.image_id == "aachen_000000_000019"


def test_train_ids_are_the_order_of_classes() -> None:
    # cityscapesScripts, helpers/labels.py: road 0, person 11, bicycle 18.
    assert [LABELS.names[i] for i in (0, 11, 18)] == ["road", "person", "bicycle"]
    assert [LABELS.classes[i].dataset_id for i in (0, 11, 18)] == [7, 24, 33]
    assert LABELS.thing_ids == tuple(range(11, 19))


def test_unknown_value_is_named(tmp_path: Path) -> None:
    write_one(tmp_path, np.array([[7, 40]]))
    with pytest.raises(ValueError, match=r"_instanceIds.png \(segment 40\): Unknown class id 40"):
        open_cityscapes(Source(tmp_path, "train"))[0]


def test_color_labels_are_refused(tmp_path: Path) -> None:
    write_one(tmp_path, np.zeros((2, 2)))
    path = next(tmp_path.glob("gtFine/*/*/*.png"))
    cv2.imwrite(str(path), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"got mode RGB\. Colours of a drawing are no labels"):
        open_cityscapes(Source(tmp_path, "train"))[0]


def test_size_must_fit(tmp_path: Path) -> None:
    write_one(tmp_path, np.full((2, 3), 7))
    path = next(tmp_path.glob("gtFine/*/*/*.png"))
    cv2.imwrite(str(path), np.full((3, 2), 7, np.uint16))
    with pytest.raises(ValueError, match=r"2x3 \(height x width\), got 3x2"):
        open_cityscapes(Source(tmp_path, "train"))[0]


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes_panoptic"])
def test_folders_of_the_downloads(name: str, tmp_path: Path) -> None:
    """Each zip unpacked into a folder of its own name."""
    DATASETS[name].write_example(tmp_path)
    plain = DATASETS[name].open(Source(tmp_path, "val"))
    expected = [plain[i].panoptic.segments for i in range(2)]
    for folder in ("leftImg8bit", "gtFine"):
        (tmp_path / f"{folder}_trainvaltest").mkdir()
        (tmp_path / folder).rename(tmp_path / f"{folder}_trainvaltest" / folder)
    if name == "cityscapes_panoptic":  # pictures stay where the list does not lie
        (tmp_path / "leftImg8bit_trainvaltest" / "leftImg8bit").rename(tmp_path / "leftImg8bit")
    assert DATASETS[name].detect(tmp_path) is not None
    moved = DATASETS[name].open(Source(tmp_path, "val"))
    assert [moved[i].panoptic.segments for i in range(2)] == expected


def test_list_with_train_ids(tmp_path: Path) -> None:
    """Categories are numbered 0 to 18 there; ids of segments stay."""
    import json

    DATASETS["cityscapes_panoptic"].write_example(tmp_path)
    path = tmp_path / "gtFine" / "cityscapes_panoptic_val.json"
    whole = json.loads(path.read_bytes())
    train_id = {c.dataset_id: i for i, c in enumerate(LABELS.classes)}
    for category in whole["categories"]:
        category["id"] = train_id[category["id"]]
    for annotation in whole["annotations"]:
        for segment in annotation["segments_info"]:
            segment["category_id"] = train_id[segment["category_id"]]
    before = DATASETS["cityscapes_panoptic"].open(Source(tmp_path, "val"))[0].panoptic.segments
    path.with_name("cityscapes_panoptic_val_trainId.json").write_text(json.dumps(whole))
    path.with_suffix("").rename(path.with_name("cityscapes_panoptic_val_trainId"))
    path.unlink()
    dataset = DATASETS["cityscapes_panoptic"].open(Source(tmp_path, "val"))
    assert dataset[0].panoptic.segments == before
    assert dataset.labels.names == LABELS.names


def test_list_of_annotations_alone(tmp_path: Path) -> None:
    """As in deeplab2's test data: pictures without folders of cities, no categories."""
    import json

    DATASETS["cityscapes_panoptic"].write_example(tmp_path)
    before = DATASETS["cityscapes_panoptic"].open(Source(tmp_path, "val"))[1].panoptic
    path = tmp_path / "gtFine" / "cityscapes_panoptic_val.json"
    annotations = json.loads(path.read_bytes())["annotations"]
    path.write_text(json.dumps({"annotations": annotations}))
    for picture in (tmp_path / "leftImg8bit" / "val" / "example").iterdir():
        picture.rename(tmp_path / "leftImg8bit" / "val" / picture.name)
    dataset = DATASETS["cityscapes_panoptic"].open(Source(tmp_path, "val"))
    assert dataset.labels == LABELS
    assert dataset[1].panoptic.segments == before.segments


def test_other_names_are_numbered() -> None:
    assert cityscapes_name("ulm_000001_000019", 7) == "ulm_000001_000019"
    assert cityscapes_name("photo", 7) == "converted_000007_000000"


def test_too_many_instances(tmp_path: Path) -> None:
    ids = np.arange(1, 1002, dtype=np.int32)[None]
    panoptic = PanopticMap(ids, tuple(Segment(i, CAR, 1) for i in range(1, 1002)))
    image = np.zeros((1, 1001, 3), np.uint8)
    picture = PictureFile(encode_picture(image), ".png")
    with pytest.raises(ValueError, match="at most 1000 instances of 'car'"):
        CityscapesWriter(tmp_path, "train", LABELS).add(Sample(image, panoptic, "x"), picture)
    assert not list(tmp_path.rglob("*.png"))


def test_entries_are_small() -> None:
    assert not hasattr(Entry("a", "b", "c"), "__dict__")
