"""Panoptic quality on maps small enough to check by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics.joint import count_joint
from panoptic_deeplab.metrics.panoptic import PanopticQuality
from panoptic_deeplab.structures import PanopticMap, Segment

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("road", 7, False, (128, 64, 128)),
        ClassInfo("car", 26, True, (0, 0, 142)),
        ClassInfo("bus", 28, True, (0, 60, 100)),
    ),
)


def panoptic(rows: list[list[int]], **class_ids: int) -> PanopticMap:
    """`s3=1` lists segment 3 as class 1, `crowd4=1` segment 4 as a crowd of class 1."""
    ids = np.array(rows, np.int32)
    segments = []
    for name, class_id in class_ids.items():
        number = int(name.removeprefix("crowd").removeprefix("s"))
        area = int((ids == number).sum())
        segments.append(Segment(number, class_id, area, is_crowd=name.startswith("crowd")))
    return PanopticMap(ids, tuple(segments))


def test_joint_counts() -> None:
    truth = panoptic([[0, 0, 3], [3, 3, 3]], s3=1)
    prediction = panoptic([[9, 9, 9], [0, 9, 9]], s9=1)
    joint = count_joint(prediction, truth)
    assert joint.pairs == {(0, 9): 2, (3, 0): 1, (3, 9): 3}
    assert joint.truth_areas == {0: 2, 3: 4}
    assert joint.prediction_areas == {9: 5, 0: 1}


def test_joint_counts_of_no_pixels() -> None:
    empty = PanopticMap(np.zeros((0, 5), np.int32), ())
    assert count_joint(empty, empty).pairs == {}


def test_one_match_one_miss_one_false_alarm() -> None:
    truth = panoptic([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]], s1=0, s2=1, s3=2)
    # Segment 5 covers three of the car's four pixels and none else: IoU 3/4. Segment 6 is of
    # the bus's class but meets half of it: IoU 2/4 is not above 0.5.
    prediction = panoptic([[4, 4, 4, 4], [5, 5, 5, 0], [6, 6, 0, 0]], s4=0, s5=1, s6=2)
    quality = PanopticQuality(LABELS)
    quality.update(prediction, truth)
    result = quality.result()
    car, bus = result.per_class["car"], result.per_class["bus"]
    assert (car.pq, car.sq, car.rq, car.tp, car.fp, car.fn) == (0.75, 0.75, 1, 1, 0, 0)
    assert (bus.pq, bus.sq, bus.rq, bus.tp, bus.fp, bus.fn) == (0, 0, 0, 0, 1, 1)
    assert result.stuff.pq == 1
    assert result.things.pq == pytest.approx(0.375)
    assert result.all.num_classes == 3
    assert str(result.stuff) == "PQ 100.00  SQ 100.00  RQ 100.00"
    assert json.loads(json.dumps(result.to_dict()))["per_class"]["car"]["pq"] == 0.75


def test_void_of_the_truth_does_not_count_in_the_union() -> None:
    truth = panoptic([[0, 0, 2, 2]], s2=1)
    prediction = panoptic([[5, 5, 5, 5]], s5=1)
    quality = PanopticQuality(LABELS)
    quality.update(prediction, truth)
    assert quality.result().per_class["car"].pq == 1


@pytest.mark.parametrize(("crowd_class", "false_alarms"), [(1, 0), (2, 1)])
def test_crowd_excuses_its_own_class_only(crowd_class: int, false_alarms: int) -> None:
    truth = panoptic([[4, 4, 4, 1]], crowd4=crowd_class, s1=0)
    prediction = panoptic([[5, 5, 5, 6]], s5=1, s6=0)
    quality = PanopticQuality(LABELS)
    quality.update(prediction, truth)
    assert quality.result().per_class["car"].fp == false_alarms
    assert quality.result().per_class["car"].fn == 0


def test_nothing_counted() -> None:
    quality = PanopticQuality(LABELS)
    result = quality.result()
    assert result.all.pq is None
    assert str(result.all) == "no segments"
    assert result.per_class["car"].pq is None


def test_merge_adds_up_and_refuses_other_labels() -> None:
    truth = panoptic([[1, 1, 2, 2, 2]], s1=0, s2=1)
    prediction = panoptic([[1, 1, 1, 2, 2]], s1=0, s2=1)
    whole, left, right = (PanopticQuality(LABELS) for _ in range(3))
    for quality in (whole, whole, left, right):
        quality.update(prediction, truth)
    left.merge(right)
    assert left.result() == whole.result()
    assert left.result().num_images == 2
    with pytest.raises(ValueError, match="same label space were expected, got 'toy' and 'other'"):
        left.merge(PanopticQuality(replace(LABELS, name="other")))


def test_guards_name_image_and_segment() -> None:
    truth = panoptic([[1, 1]], s1=0)
    quality = PanopticQuality(LABELS)
    with pytest.raises(ValueError, match=r"Image 'a': prediction and truth must have the same"):
        quality.update(panoptic([[1]], s1=0), truth, "a")
    with pytest.raises(ValueError, match=r"Image 'a'.*segment 3 is not"):
        quality.update(panoptic([[1, 3]], s1=0), truth, "a")
    with pytest.raises(ValueError, match=r"Image 'a'.*segment 3 has none"):
        quality.update(panoptic([[1, 1]], s1=0, s3=1), truth, "a")
    with pytest.raises(ValueError, match=r"Image 'a': predicted segment 1 .* got 3"):
        quality.update(panoptic([[1, 1]], s1=3), truth, "a")
    with pytest.raises(ValueError, match=r"Image 'a': true segment 1 .* got 9"):
        quality.update(truth, panoptic([[1, 1]], s1=9), "a")
    with pytest.raises(ValueError, match=r"Image 'a': segment ids must be 0 \(void\) or more"):
        quality.update(truth, panoptic([[1, -1]], s1=0), "a")
    assert quality.result().num_images == 0


def test_a_true_segment_without_pixels_is_missed(caplog: pytest.LogCaptureFixture) -> None:
    truth = PanopticMap(np.ones((1, 2), np.int32), (Segment(1, 0, 2), Segment(8, 1, 5)))
    quality = PanopticQuality(LABELS)
    quality.update(panoptic([[1, 1]], s1=0), truth, "a")
    assert quality.result().per_class["car"].fn == 1
    assert "Image 'a': true segment 8 is listed with 5 pixels, its map has 0" in caplog.text


def test_an_unlisted_true_segment_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    quality = PanopticQuality(LABELS)
    quality.update(panoptic([[1, 1]], s1=0), panoptic([[1, 6]], s1=0), "a")
    assert "segment 6 of the true map is not listed" in caplog.text
