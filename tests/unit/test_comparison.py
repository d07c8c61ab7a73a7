"""Paired bootstrap and the side by side of two evaluations."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from panoptic_deeplab.assessment import Meters
from panoptic_deeplab.comparison import comparison_page, comparison_table
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics.bootstrap import compare_counts
from panoptic_deeplab.metrics.counts import ImageCounts, count_image
from panoptic_deeplab.structures import PanopticMap, Segment

LABELS = LabelSpace(
    "toy",
    tuple(ClassInfo(n, i, i > 0, (0, 0, i)) for i, n in enumerate(("road", "car", "bus"))),
)


def panoptic(seed: int, noise: float) -> PanopticMap:
    """Blocks of segments; noise replaces some of them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 7, (4, 5))
    other = np.random.default_rng(seed + int(1e6 * noise)).random((4, 5)) < noise
    blocks[other] = 1 + blocks[other] % 6
    ids = blocks.repeat(6, 0).repeat(6, 1).astype(np.int32)
    return PanopticMap(
        ids,
        tuple(Segment(i, i % 3, int((ids == i).sum()), i % 4 / 4) for i in np.unique(ids).tolist()),
    )


def model(noise: float, count: int = 24) -> list[ImageCounts]:
    return [
        count_image(panoptic(n, noise), panoptic(n, 0), LABELS, f"{n:03d}") for n in range(count)
    ]


def test_the_whole_equals_the_metrics() -> None:
    counts = model(0.2)
    meters = Meters(LABELS)
    for image in counts:
        meters.add(image)
    report = meters.report()
    found = compare_counts(counts, counts, LABELS, draws=0)
    assert found["PQ"].first == pytest.approx(report.panoptic.all.pq, abs=1e-12)
    assert found["PQ things"].second == pytest.approx(report.panoptic.things.pq, abs=1e-12)
    assert found["SQ"].first == pytest.approx(report.panoptic.all.sq, abs=1e-12)
    assert found["AP"].first == pytest.approx(report.instance.ap, abs=1e-12)
    assert found["mIoU"].first == pytest.approx(report.semantic.mean, abs=1e-12)
    car = report.panoptic.per_class["car"].pq
    assert found["PQ car"].first == pytest.approx(car, abs=1e-12)
    assert found["PQ"].low is None


def test_a_model_against_itself() -> None:
    for d in compare_counts(model(0.2), model(0.2), LABELS, draws=60).values():
        assert (d.low, d.high, d.change, d.share_better) == (0, 0, 0, 0.5)


def test_a_better_model_and_the_seed() -> None:
    found = compare_counts(model(0.4), model(0.1), LABELS, draws=120, seed=3)
    assert found["PQ"].change > 0
    assert 0 < found["PQ"].low < found["PQ"].change < found["PQ"].high
    assert found["PQ"].share_better == 1
    shuffled = model(0.1)[::-1]
    assert compare_counts(model(0.4), shuffled, LABELS, draws=120, seed=3) == found
    assert compare_counts(model(0.4), shuffled, LABELS, draws=120, seed=4) != found


def test_a_draw_of_images_is_an_evaluation_of_them() -> None:
    """Drawn once each from the first half: the same as evaluating that half."""
    from panoptic_deeplab.metrics.bootstrap import _Sample

    counts = model(0.3)
    weights = np.zeros((1, len(counts)))
    weights[0, :12] = 1
    meters = Meters(LABELS)
    for image in counts[:12]:
        meters.add(image)
    report, found = meters.report(), _Sample(counts, LABELS).measure(weights)
    assert found["PQ"][0] == pytest.approx(report.panoptic.all.pq, abs=1e-12)
    assert found["AP"][0] == pytest.approx(report.instance.ap, abs=1e-12)
    assert found["mIoU"][0] == pytest.approx(report.semantic.mean, abs=1e-12)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images, '005' is in one of them only"):
        compare_counts(model(0.1, 5), model(0.1, 6), LABELS)
    with pytest.raises(ValueError, match="same images, there is none"):
        compare_counts([], [], LABELS)


def test_shown_as_table_and_page() -> None:
    first, second = model(0.4, 6), model(0.1, 6)
    found = compare_counts(first, second, LABELS, draws=20)
    console = Console(file=StringIO(), width=100)
    console.print(comparison_table(found, ("one", "two"), num_images=6))
    text = console.file.getvalue()
    assert "PQ car" in text
    assert "B: two" in text
    page = comparison_page(found, (first, second), LABELS, ("one", "two")).decode()
    assert 'id="classes"' in page
    assert "005" in page
