"""Average precision by hand, and COCO's definition against its own tool."""

import json

import numpy as np
import pytest
from pycocotools import coco, mask
from pycocotools import cocoeval as evaluation

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics import AveragePrecision
from panoptic_deeplab.structures import PanopticMap, Segment

ROAD, CAR, BUS = range(3)
LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("road", 7, False, (128, 64, 128)),
        ClassInfo("car", 26, True, (0, 0, 142)),
        ClassInfo("bus", 28, True, (0, 60, 100)),
    ),
)


def panoptic(rows: np.ndarray | list, segments: dict[int, tuple]) -> PanopticMap:
    """`segments`: id -> (class, score) or (class, None, is_crowd)."""
    ids = np.array(rows, np.int32)
    listed = []
    for number, (class_id, score, *crowd) in segments.items():
        area = int((ids == number).sum())
        if area:
            listed.append(Segment(number, class_id, area, score, bool(crowd and crowd[0])))
    return PanopticMap(ids, tuple(listed))


def measure(definition: str, pairs: list[tuple[PanopticMap, PanopticMap]], **settings):
    metric = AveragePrecision(LABELS, definition, **settings)
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, f"{i:03d}")
    return metric


ROWS = [[1] * 10, [2] * 10, [3] * 10, [4] * 10]
TRUTH = panoptic(ROWS, {1: (CAR, None), 2: (CAR, None), 3: (ROAD, None), 4: (ROAD, None)})


@pytest.mark.parametrize("definition", ["coco", "cityscapes"])
def test_perfect_instances(definition: str) -> None:
    prediction = panoptic(ROWS, {1: (CAR, 0.9), 2: (CAR, 0.5), 3: (ROAD, None), 4: (ROAD, None)})
    result = measure(definition, [(prediction, TRUTH)], min_area_px=0).result()
    assert result.ap == pytest.approx(1)
    assert result.ap50 == pytest.approx(1)
    assert result.per_class["car"].num_truths == 2
    assert result.per_class["bus"].ap is None
    assert list(result.per_class) == ["car", "bus"]
    assert json.loads(json.dumps(result.to_dict()))["definition"] == definition


def test_a_false_alarm_of_high_score_costs_precision() -> None:
    prediction = panoptic(ROWS, {1: (CAR, 0.5), 2: (CAR, 0.4), 3: (CAR, 0.9), 4: (ROAD, None)})
    # Ranked: wrong, right, right. Precision at full recall is 2/3, and the best at any recall.
    assert measure("coco", [(prediction, TRUTH)]).result().ap == pytest.approx(2 / 3)
    # Points (recall, precision): (1, 2/3), (1/2, 1/2), (0, 0), (0, 1). Each precision is worth
    # half the way between its neighbors' recalls: 2/3 * 1/4 + 1/2 * 1/2.
    result = measure("cityscapes", [(prediction, TRUTH)], min_area_px=0).result()
    assert result.ap == pytest.approx(2 / 3 / 4 + 1 / 4)


def test_cityscapes_does_not_ask_for_small_instances() -> None:
    prediction = panoptic(ROWS, {1: (CAR, 0.9), 2: (CAR, 0.5), 3: (ROAD, None), 4: (ROAD, None)})
    assert measure("cityscapes", [(prediction, TRUTH)]).result().ap is None
    assert measure("cityscapes", [(prediction, TRUTH)], min_area_px=10).result().ap == 1


@pytest.mark.parametrize("definition", ["coco", "cityscapes"])
def test_predictions_on_crowd_do_not_count(definition: str) -> None:
    truth = panoptic(ROWS, {1: (CAR, None), 2: (CAR, None, True), 3: (ROAD, None), 4: (BUS, None)})
    prediction = panoptic(ROWS, {1: (CAR, 0.5), 2: (CAR, 0.9), 3: (ROAD, None), 4: (ROAD, None)})
    result = measure(definition, [(prediction, truth)], min_area_px=0).result()
    assert result.per_class["car"].ap == pytest.approx(1)
    assert result.per_class["bus"].ap == 0


def test_nothing_counted() -> None:
    result = AveragePrecision(LABELS).result()
    assert (result.ap, result.ap50, result.num_images) == (None, None, 0)


def test_guards() -> None:
    with pytest.raises(ValueError, match=r"one of \['cityscapes', 'coco'\], got 'voc'"):
        AveragePrecision(LABELS, "voc")
    with pytest.raises(ValueError, match=r"Image '000'.*needs a score.*segment 1 has none"):
        measure("coco", [(TRUTH, TRUTH)])
    with pytest.raises(ValueError, match="one label space and definition"):
        AveragePrecision(LABELS).merge(AveragePrecision(LABELS, "cityscapes"))


def random_pair(rng: np.random.Generator) -> tuple[PanopticMap, PanopticMap]:
    """Rectangles, shifted and recolored in the prediction; some truths are crowds."""
    true, predicted = np.full((48, 64), 1, np.int32), np.zeros((48, 64), np.int32)
    truths, predictions = {1: (ROAD, None)}, {}
    for i in range(2, int(rng.integers(4, 14))):
        height, width = rng.integers(4, 20, 2)
        y, x = rng.integers(0, 48 - height), rng.integers(0, 64 - width)
        class_id = int(rng.choice([CAR, BUS]))
        true[y : y + height, x : x + width] = i
        truths[i] = (class_id, None, rng.random() < 0.2)
        if rng.random() < 0.8:
            y, x = max(y + rng.integers(-2, 3), 0), max(x + rng.integers(-2, 3), 0)
            predicted[y : y + height, x : x + width] = i
            predictions[i] = (class_id, round(float(rng.random()), 1 + int(rng.integers(3))))
            if rng.random() < 0.3:
                predicted[y : y + height, x : x + width // 3] = 100 + i
                predictions[100 + i] = (class_id, round(float(rng.random()), 2))
    return panoptic(predicted, predictions), panoptic(true, truths)


def coco_oracle(pairs: list[tuple[PanopticMap, PanopticMap]]) -> np.ndarray:
    """Precision by threshold and class, of pycocotools on one mask per instance."""

    def entries(index: int) -> list[dict]:
        found = []
        for image, pair in enumerate(pairs):
            for s in pair[index].segments:
                if s.class_id == ROAD:
                    continue
                rle = mask.encode(np.asfortranarray(pair[index].segment_map == s.id, np.uint8))
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": image,
                        "category_id": s.class_id,
                        "segmentation": rle,
                        "area": s.area_px,
                        "bbox": mask.toBbox(rle).tolist(),
                        "iscrowd": int(s.is_crowd),
                        "score": s.score,
                    }
                )
        return found

    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": i, "height": 48, "width": 64} for i in range(len(pairs))],
        "annotations": entries(1),
        "categories": [{"id": CAR}, {"id": BUS}],
        "info": {},
    }
    truth.createIndex()
    evaluator = evaluation.COCOeval(truth, truth.loadRes(entries(0)), "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator.eval["precision"][:, :, :, 0, 2].mean(axis=1)  # (T, class)


@pytest.mark.parametrize("seed", range(6))
def test_coco_precision_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [random_pair(rng) for _ in range(1 + seed)]
    expected = coco_oracle(pairs)
    result = measure("coco", pairs).result()
    for column, name in enumerate(("car", "bus")):
        if expected[0, column] == -1:
            assert result.per_class[name].ap is None
            continue
        assert result.per_class[name].ap == pytest.approx(expected[:, column].mean(), abs=1e-12)
        assert result.per_class[name].ap50 == pytest.approx(expected[0, column], abs=1e-12)
