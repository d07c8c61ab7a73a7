"""What the benchmarks compare with gives our results: the comparison is fair."""

import numpy as np
import pytest

from panoptic_deeplab.grouping import group_outputs
from panoptic_deeplab.grouping_plain import segment_boxes
from panoptic_deeplab.metrics import PanopticQuality
from panoptic_deeplab.targets import make_targets

SIZE = (128, 256)


def test_the_dense_reference_groups_alike() -> None:
    from panoptic_deeplab.bench.postprocess import dense_reference
    from panoptic_deeplab.bench.scenes import draw_heads, label_space

    labels = label_space(19)
    outputs = draw_heads(SIZE, 12, labels)
    ids, things = dense_reference(outputs, labels, SIZE, with_scores=True, stuff_area_px=100)
    (ours,) = group_outputs(outputs, labels, size=SIZE, align_corners=False, stuff_area_px=100)
    np.testing.assert_array_equal(ours.segment_map, ids)
    boxes = segment_boxes(ours)
    assert len(things) > 5
    for segment, (class_id, score, (left, top, right, bottom)) in zip(
        ours.segments, things, strict=False
    ):
        assert segment.class_id == class_id
        assert segment.score == pytest.approx(score, abs=1e-6)
        assert boxes[segment.id] == (top, left, bottom, right)


def test_the_masked_references_agree() -> None:
    from panoptic_deeplab.bench.metrics import masked_reference as count_matches
    from panoptic_deeplab.bench.scenes import disturb, draw_map, label_space
    from panoptic_deeplab.bench.targets import masked_reference as paint_targets

    labels = label_space(19)
    rng = np.random.default_rng(0)
    truth = draw_map(SIZE, 30, labels, rng)
    for ours, theirs in zip(make_targets(truth, labels), paint_targets(truth, labels), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    prediction = disturb(truth, rng)
    quality = PanopticQuality(labels)
    quality.update(prediction, truth)
    classes = quality.result().per_class.values()
    tp, fp, fn, iou_sum = count_matches(prediction, truth, labels)
    assert (tp, fp, fn) == tuple(sum(getattr(c, n) for c in classes) for n in ("tp", "fp", "fn"))
    assert iou_sum == pytest.approx(sum(c.tp * (c.sq or 0) for c in classes))


def test_all_of_them_run() -> None:
    from panoptic_deeplab.bench.metrics import bench_metrics
    from panoptic_deeplab.bench.network import bench_network
    from panoptic_deeplab.bench.postprocess import bench_postprocess
    from panoptic_deeplab.bench.scenes import Scene
    from panoptic_deeplab.bench.targets import bench_targets

    scene = Scene(SIZE, num_things=5)
    for rows in (
        bench_postprocess(scene, other_numbers=(3,), repeats=1),
        bench_targets(scene, repeats=1),
        bench_metrics(scene, repeats=1),
        bench_network(backbone="mobilenet_v3_small", size=(65, 97), repeats=1),
    ):
        assert rows["reference"]["speedup"] == 1
        assert all(row["milliseconds"] > 0 for row in rows.values())


def test_measuring() -> None:
    from panoptic_deeplab.bench.measure import compare, copy_milliseconds, peak_mb

    times = compare({"small": lambda: np.zeros(10), "large": lambda: np.ones(10**6)}, repeats=3)
    assert 0 <= times["small"] < times["large"]
    assert copy_milliseconds(10**6) > 0
    assert peak_mb(lambda: np.ones(4 * 10**6)) > 25  # 32 MB
