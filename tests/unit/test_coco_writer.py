"""Writing COCO panoptic: what is written is read back; what could not be read is not written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from toy import LABELS, Toy

from panoptic_deeplab.data.coco import CocoPanoptic, decode_ids
from panoptic_deeplab.data.coco_writer import (
    CocoPanopticWriter,
    encode_ids,
    encode_png,
    measure_boxes,
    write_dataset,
)
from panoptic_deeplab.structures import PanopticMap, Sample, Segment, count_ids


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(Toy(), tmp_path / "toy", "val")
    return tmp_path / "toy"


@settings(max_examples=40, deadline=None)
@given(
    ids=arrays(
        np.int32,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 2**24 - 1]),
    )
)
def test_any_map_survives(ids: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    segments = tuple(
        Segment(number, number % 3, area, score=0.5 if number % 2 else None, is_crowd=area == 1)
        for number, area in count_ids(ids).items()
        if number
    )
    with CocoPanopticWriter(folder, LABELS) as writer:
        writer.add("x", PanopticMap(ids, segments), file_name="x.png")
    (folder / "x.png").write_bytes(encode_png(np.zeros((*ids.shape, 3), np.uint8)))
    read = CocoPanoptic(folder, folder / "panoptic_val.json", folder / "panoptic_val")[0]
    assert np.array_equal(read.panoptic.segment_map, ids)
    assert read.panoptic.segments == segments


def test_ids_in_the_png_by_hand() -> None:
    content = encode_ids(np.array([[1 + 256 * 2 + 65536 * 3]], np.int32), name="a")
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert bgr.tolist() == [[[3, 2, 1]]]
    assert decode_ids(content, name="a.png").tolist() == [[197121]]


def test_list_by_hand(root: Path) -> None:
    whole = json.loads((root / "annotations" / "panoptic_val.json").read_text())
    assert whole["images"][0] == {
        "id": 17, "file_name": "000000000017.png", "height": 6, "width": 9,
    }  # fmt: skip
    assert whole["annotations"][0]["segments_info"][2] == {
        "id": 70_001, "category_id": 3, "area": 6, "bbox": [2, 1, 3, 2], "iscrowd": 1,
    }  # fmt: skip
    assert whole["annotations"][1]["image_id"] == "dusk"
    assert whole["categories"][1] == {"id": 7, "name": "ground", "isthing": 0, "color": [1, 2, 3]}


def test_boxes_of_scattered_segments() -> None:
    ids = np.array([[0, 4, 0, 9], [4, 0, 0, 0], [0, 0, 4, 0]], np.int32)
    panoptic = PanopticMap(ids, (Segment(4, 0, 3), Segment(9, 0, 1)))
    boxes = measure_boxes(panoptic)
    assert boxes[4] == (0, 0, 3, 3)
    assert boxes[9] == (3, 0, 1, 1)
    for number, (x, y, width, height) in boxes.items():  # void, too
        rows, columns = np.nonzero(ids == number)
        assert (x, x + width) == (columns.min(), columns.max() + 1)
        assert (y, y + height) == (rows.min(), rows.max() + 1)


def one_pixel(number: int = 1, area: int = 1) -> PanopticMap:
    return PanopticMap(np.array([[number]], np.int32), (Segment(number, 0, area),))


def test_an_error_leaves_no_list(tmp_path: Path) -> None:
    def write_and_fail() -> None:
        with CocoPanopticWriter(tmp_path, LABELS) as writer:
            writer.add("a", one_pixel())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert not (tmp_path / "panoptic_val.json").exists()


def test_an_old_list_goes_when_the_first_new_map_comes(tmp_path: Path) -> None:
    with CocoPanopticWriter(tmp_path, LABELS) as writer:
        writer.add("a", one_pixel())
    again = CocoPanopticWriter(tmp_path, LABELS)
    assert (tmp_path / "panoptic_val.json").exists()
    again.add("b", one_pixel())
    assert not (tmp_path / "panoptic_val.json").exists()
    again.close()
    whole = json.loads((tmp_path / "panoptic_val.json").read_text())
    assert [a["image_id"] for a in whole["annotations"]] == ["b"]


def test_pngs_from_before_stay_and_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("deep/a", "deep/a", "b"):
        assert not caplog.messages
        with CocoPanopticWriter(tmp_path, LABELS) as writer:
            writer.add(name, one_pixel())
    (message,) = caplog.messages
    assert "panoptic_val holds 1 PNGs from before, such as deep/a.png, which the new" in message
    assert (tmp_path / "panoptic_val" / "deep" / "a.png").exists()


def test_ids_that_no_pixel_holds(tmp_path: Path) -> None:
    writer = CocoPanopticWriter(tmp_path, LABELS)
    with pytest.raises(ValueError, match=r"a: expected segment ids 0 to 16777215.*got 16777216"):
        writer.add("a", one_pixel(2**24))


def test_areas_that_are_not_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Segment 1 is listed with 5 pixels, the map has 1"):
        CocoPanopticWriter(tmp_path, LABELS).add("a", one_pixel(area=5))


def test_image_written_twice(tmp_path: Path) -> None:
    writer = CocoPanopticWriter(tmp_path, LABELS)
    writer.add("7", one_pixel())
    with pytest.raises(ValueError, match="'007' came before"):
        writer.add("007", one_pixel())


@pytest.mark.parametrize("name", ["", "../up", "/abs"])
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must be a file name without ending"):
        CocoPanopticWriter(tmp_path, LABELS).add(name, one_pixel())


def test_only_labelled_images_are_written(tmp_path: Path) -> None:
    class Bare(Toy):
        def __getitem__(self, index: int, /) -> Sample:
            return Sample(super().__getitem__(index).image, None, "bare")

    with pytest.raises(ValueError, match="Only labelled images can be written, 'bare'"):
        write_dataset(Bare(), tmp_path, "val")
