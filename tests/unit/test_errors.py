"""What went wrong, on rows of pixels worked by hand; sizes and boundaries beside it."""

import numpy as np
import pytest

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics.bands import BAND_SHARES, INSIDE, band_ids, band_width_px
from panoptic_deeplab.metrics.counts import ImageCounts, count_image
from panoptic_deeplab.metrics.errors import KINDS, ErrorCounts
from panoptic_deeplab.metrics.matching import match_image
from panoptic_deeplab.metrics.sizes import SizeQuality
from panoptic_deeplab.structures import PanopticMap, Segment

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("road", 7, False, (0, 0, 0)),
        ClassInfo("car", 26, True, (0, 0, 1)),
        ClassInfo("bus", 28, True, (0, 0, 2)),
    ),
)
ROAD, CAR, BUS = range(3)


def row(ids: str, classes: dict[int, int]) -> PanopticMap:
    values = np.array([[int(c) for c in ids]], np.int32)
    present = {n: int((values == n).sum()) for n in classes}
    return PanopticMap(values, tuple(Segment(n, classes[n], a) for n, a in present.items() if a))


def errors(truth: PanopticMap, prediction: PanopticMap) -> dict:
    metric = ErrorCounts(LABELS)
    metric.add(count_image(prediction, truth, LABELS))
    return metric.result()


def only(count: dict[str, int]) -> dict[str, int]:
    return {kind: n for kind, n in count.items() if n}


@pytest.mark.parametrize(
    ("truth", "prediction", "missed", "false"),
    [
        # Nothing there, something there.
        ("1111000000", "0000000000", {"missed": 1}, {}),
        # One prediction over two cars. It matches none: IoU 4 / 8.
        ("1111222299", "5555555599", {"merged": 2}, {"merged": 1}),
        # One car in two halves.
        ("1111111199", "5555666699", {"split": 1}, {"split": 2}),
        # IoU 3 / 10 with the car.
        ("1111111999", "5559999999", {"poor mask": 1}, {"poor mask": 1}),
    ],
)
def test_kinds(truth: str, prediction: str, missed: dict, false: dict) -> None:
    classes = {1: CAR, 2: CAR, 5: CAR, 6: CAR, 9: ROAD}
    car = errors(row(truth, classes), row(prediction, classes))["car"]
    assert only(car.missed) == missed
    assert only(car.false) == false


def test_a_wrong_class_names_the_right_one() -> None:
    found = errors(row("1111199999", {1: BUS, 9: ROAD}), row("5555599999", {5: CAR, 9: ROAD}))
    assert only(found["bus"].missed) == {"wrong class": 1}
    assert only(found["car"].false) == {"wrong class": 1}
    assert found["car"].taken_for == {"bus": 1}
    assert only(found["road"].missed) == only(found["road"].false) == {}


def test_invented_and_a_crumb_beside_a_match() -> None:
    # Car 1 is matched by 5 (6 of 8); 6 lies in it as well: the car was split. 7 is on the road.
    classes = {1: CAR, 5: CAR, 6: CAR, 7: CAR, 9: ROAD}
    car = errors(row("1111111199999", classes), row("5555556699977", classes))["car"]
    assert only(car.missed) == {}
    assert only(car.false) == {"split": 1, "invented": 1}
    # PQ is 0.75 / (1 + 2 / 2); without the invented one 0.75 / 1.5.
    assert car.cost["invented"] == pytest.approx(0.75 / 1.5 - 0.75 / 2)
    assert car.of("split") == 1
    assert set(car.to_dict()["cost"]) == set(KINDS)


def test_every_error_has_one_kind() -> None:
    rng = np.random.default_rng(0)
    metric, parts = ErrorCounts(LABELS), [ErrorCounts(LABELS) for _ in range(2)]
    missed = false = 0
    for n in range(40):
        maps = []
        for _ in range(2):
            ids = np.repeat(np.repeat(rng.integers(0, 6, (4, 4)), 3, 0), 3, 1).astype(np.int32)
            maps.append(
                PanopticMap(
                    ids,
                    tuple(
                        Segment(i, i % 3, int((ids == i).sum()))
                        for i in range(1, 6)
                        if (ids == i).any()
                    ),
                )
            )
        counts = count_image(*maps, LABELS, str(n))
        metric.add(counts)
        parts[n % 2].add(counts)
        matching = match_image(counts)
        missed, false = missed + len(matching.missed), false + len(matching.false)
    result = metric.result()
    assert sum(sum(c.missed.values()) for c in result.values()) == missed
    assert sum(sum(c.false.values()) for c in result.values()) == false
    parts[0].merge(parts[1])
    assert parts[0].result() == result


def test_counts_survive_a_file() -> None:
    prediction = row("5555566699", {5: CAR, 6: BUS, 9: ROAD})
    truth = row("1111122209", {1: CAR, 2: BUS, 9: ROAD})
    counts = count_image(prediction, truth, LABELS, "a", band_share=0.02)
    again = ImageCounts.from_plain(counts.to_plain())
    assert again.joint.pairs == counts.joint.pairs
    assert again.bands is not None
    assert again.bands.pairs == counts.bands.pairs
    assert (again.truth, again.prediction, again.size) == (
        counts.truth,
        counts.prediction,
        counts.size,
    )


def test_bands_are_masks_without_themselves_eroded() -> None:
    import cv2

    rng = np.random.default_rng(1)
    ids = np.repeat(np.repeat(rng.integers(0, 4, (5, 6)), 8, 0), 8, 1).astype(np.int32)
    for width in (1, 2, 3):
        bands = band_ids(ids, width)
        for number in (1, 2, 3):
            mask = np.pad((ids == number).astype(np.uint8), 1)
            inside = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
            assert np.array_equal(bands == number, (ids == number) & (inside == 0))
        assert ((bands == 0) == (ids == 0)).all()
        assert set(np.unique(bands)) <= {0, 1, 2, 3, INSIDE}
    assert band_width_px((1024, 2048), BAND_SHARES["coco"]) == 46
    assert band_width_px((1024, 2048), BAND_SHARES["cityscapes"]) == 11
    assert band_width_px((4, 4), 0.02) == 1


def test_boundaries_are_stricter_than_masks() -> None:
    ids = np.zeros((100, 100), np.int32)
    ids[10:90, 10:90] = 1
    moved = np.roll(ids, 4, 1)
    maps = [PanopticMap(m, (Segment(1, CAR, 6400),)) for m in (moved, ids)]
    counts = count_image(*maps, LABELS, "a", band_share=0.02)
    ((_, _, mask),) = match_image(counts).found
    # Void around the car excuses the prediction's pixels there: 76 of 80 columns.
    assert mask == pytest.approx(76 / 80)
    assert match_image(counts, "boundary").found == ()  # bands of 3 pixels have moved by 4
    with pytest.raises(ValueError, match="bands along borders, they were not counted"):
        match_image(count_image(*maps, LABELS, "a"), "boundary")


def test_sizes_count_at_the_truth() -> None:
    truth = PanopticMap(np.full((40, 40), 1, np.int32), (Segment(1, CAR, 1600),))
    ids = np.full((40, 40), 2, np.int32)
    ids[:10, :30] = 3
    prediction = PanopticMap(ids, (Segment(2, CAR, 1300), Segment(3, CAR, 300)))
    metric = SizeQuality(LABELS)
    metric.add(count_image(prediction, truth, LABELS))
    result = metric.result()
    car = result.per_class["car"]
    assert (car["medium"].tp, car["medium"].fp, car["small"].fp) == (1, 0, 1)
    assert result.means["medium"].pq == pytest.approx(1300 / 1600)
    assert result.means["large"].pq is None
