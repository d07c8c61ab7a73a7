"""Mean IoU on maps small enough to check by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics import MeanIoU
from panoptic_deeplab.structures import PanopticMap, Segment

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("road", 7, False, (128, 64, 128)),
        ClassInfo("car", 26, True, (0, 0, 142)),
        ClassInfo("bus", 28, True, (0, 60, 100)),
    ),
)


def panoptic(row: list[int], classes: dict[int, int]) -> PanopticMap:
    segments = (Segment(i, c, row.count(i)) for i, c in classes.items())
    return PanopticMap(np.array([row], np.int32), tuple(segments))


def test_ious() -> None:
    # Truth: road road road, two cars of one pixel, void. The prediction takes one road pixel
    # for a car and leaves one out.
    truth = panoptic([1, 1, 1, 2, 3, 0], {1: 0, 2: 1, 3: 1})
    prediction = panoptic([5, 6, 0, 6, 6, 6], {5: 0, 6: 1})
    metric = MeanIoU(LABELS)
    metric.update(prediction, truth)
    result = metric.result()
    assert result.per_class == {"road": 1 / 3, "car": 2 / 3, "bus": None}
    assert result.mean == pytest.approx(0.5)
    assert result.pixel_accuracy == pytest.approx(3 / 5)
    assert metric.confusion.tolist() == [[1, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert json.loads(json.dumps(result.to_dict()))["num_images"] == 1


def test_a_class_that_is_only_predicted_counts() -> None:
    metric = MeanIoU(LABELS)
    metric.update(panoptic([1, 2], {1: 0, 2: 2}), panoptic([1, 1], {1: 0}))
    assert metric.result().per_class == {"road": 0.5, "car": None, "bus": 0.0}


def test_nothing_counted() -> None:
    result = MeanIoU(LABELS).result()
    assert (result.mean, result.pixel_accuracy, result.num_images) == (None, None, 0)


def test_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="same label space were expected, got 'toy' and 'other'"):
        MeanIoU(LABELS).merge(MeanIoU(replace(LABELS, name="other")))
