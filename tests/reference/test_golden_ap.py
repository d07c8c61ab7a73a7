"""Cityscapes' average precision equals cityscapesScripts' (2.3.0) on `ap/cityscapes.npz`."""

import json
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics import AveragePrecision
from panoptic_deeplab.structures import PanopticMap, Segment

ROAD = 7
THINGS = {
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
LABELS = LabelSpace(
    "cityscapes",
    (
        ClassInfo("road", ROAD, False, (0, 0, 0)),
        *(ClassInfo(name, number, True, (0, 0, 0)) for name, number in THINGS.items()),
    ),
)

with np.load(Path(__file__).parent / "ap" / "cityscapes.npz") as file:
    ARRAYS = {name: file[name] for name in file.files}
CASES = json.loads(bytes(ARRAYS["meta"]).decode())


def truth(ids: np.ndarray) -> PanopticMap:
    """Ids of 1000 and more are class * 1000 + instance, below they are stuff and groups."""
    segments = []
    for number in np.unique(ids[ids > 0]).tolist():
        dataset_id = number // 1000 if number >= 1000 else number
        segments.append(
            Segment(
                number,
                LABELS.class_id(dataset_id),
                int((ids == number).sum()),
                is_crowd=number < 1000 and number != ROAD,
            )
        )
    return PanopticMap(ids, tuple(segments))


def prediction(ids: np.ndarray, listed: dict[str, list]) -> PanopticMap:
    segments = []
    for number, (dataset_id, score) in listed.items():
        area = int((ids == int(number)).sum())
        if area:
            class_id = LABELS.class_id(dataset_id)
            segments.append(Segment(int(number), class_id, area, score=score))
    return PanopticMap(ids.astype(np.int32), tuple(segments))


@pytest.mark.parametrize("case", sorted(CASES))
def test_precision_equals_the_reference(case: str) -> None:
    metric = AveragePrecision(LABELS, "cityscapes")
    for i, listed in enumerate(CASES[case]["predictions"]):
        metric.update(
            prediction(ARRAYS[f"pred_{case}_{i}"], listed), truth(ARRAYS[f"gt_{case}_{i}"]), str(i)
        )
    result = metric.result()
    assert result.ap == pytest.approx(CASES[case]["ap"], rel=0, abs=1e-12)
    assert result.ap50 == pytest.approx(CASES[case]["ap50"], rel=0, abs=1e-12)
    for name, (ap, ap50) in CASES[case]["classes"].items():
        ours = result.per_class[name]
        assert ours.ap == (None if ap is None else pytest.approx(ap, rel=0, abs=1e-12))
        assert ours.ap50 == (None if ap50 is None else pytest.approx(ap50, rel=0, abs=1e-12))
