"""The quick way through a list gives what the careful way gives, or gives way to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panoptic_deeplab.data import DATASETS
from panoptic_deeplab.data.coco_list import read_list
from panoptic_deeplab.data.coco_quick import read_quickly


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    DATASETS["coco_panoptic"].write_example(tmp_path)
    return json.loads((tmp_path / "annotations/panoptic_train.json").read_bytes())


def read(whole: dict[str, Any]) -> Any:
    return read_list(json.dumps(whole).encode(), name="x.json", labels_name="x")


def test_both_ways_read_the_same(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    turned = dict(reversed(whole.items()))  # categories before annotations
    assert read_quickly(json.dumps(whole)) is not None
    quick, other = read(whole), read(turned)
    monkeypatch.setattr("panoptic_deeplab.data.coco_list.read_quickly", lambda text: None)
    careful = read(whole)
    for found in (quick, other):
        assert found.labels == careful.labels
        assert found.entries == careful.entries
        assert np.array_equal(found.segments, careful.segments)
        assert np.array_equal(found.scores, careful.scores, equal_nan=True)


def _segment(whole: dict[str, Any]) -> dict[str, Any]:
    return whole["annotations"][0]["segments_info"][0]


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "id too large": (lambda w: _segment(w).update(id=2**24), "expected an id from 1"),
    "id of text": (lambda w: _segment(w).update(id="1"), "needs 'id'"),
    "unknown class": (lambda w: _segment(w).update(category_id=99), "Unknown class id 99"),
    "id twice": (lambda w: _segment(w).update(id=2), "segment id once"),
    "annotated twice": (
        lambda w: w["annotations"].append(w["annotations"][0]),
        "no annotation yet",
    ),
    "no such image": (lambda w: w["annotations"][0].update(image_id=77), "no annotation yet"),
    "image twice": (lambda w: w["images"].append(w["images"][0]), "image id once"),
    "no annotation": (lambda w: w["annotations"].clear(), "empty list"),
    "no categories": (lambda w: w.pop("categories"), "list of objects under 'categories'"),
    "category of text": (lambda w: w["categories"].append("car"), "list of objects"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_said_the_careful_way(whole: dict[str, Any], fault: str) -> None:
    plant, message = FAULTS[fault]
    plant(whole)
    with pytest.raises(ValueError, match=message):
        read(whole)


def test_scores_and_missing_areas_are_read_the_careful_way(whole: dict[str, Any]) -> None:
    _segment(whole)["score"] = 0.5
    assert read_quickly(json.dumps(whole)) is None
    assert read(whole).scores[0, 0] == 0.5
    del _segment(whole)["area"]
    assert read(whole).segments[0, 2] == -1
