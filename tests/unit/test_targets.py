"""Targets on maps small enough to check by hand."""

import sys

import numpy as np
import pytest

from panoptic_deeplab import backends
from panoptic_deeplab.labels import IGNORED, ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Segment
from panoptic_deeplab.targets import make_targets, segment_index

LABELS = LabelSpace(
    "toy",
    (ClassInfo("road", 7, False, (128, 64, 128)), ClassInfo("car", 26, True, (0, 0, 142))),
)


def scene(crowd: bool = False) -> PanopticMap:
    """5 x 6 pixels: row 0 void, a car of 2 x 2 pixels at (2, 1), road elsewhere."""
    ids = np.full((5, 6), 7, np.int32)
    ids[0] = 0
    ids[2:4, 1:3] = 30
    return PanopticMap(ids, (Segment(7, 0, 21), Segment(30, 1, 4, is_crowd=crowd)))


def test_classes_offsets_and_weights() -> None:
    targets = make_targets(scene(), LABELS, small_instance_area_px=5, small_instance_weight=2.5)
    assert targets.semantic[0].tolist() == [IGNORED] * 6
    assert targets.semantic[2].tolist() == [0, 1, 1, 0, 0, 0]
    # The car's center is (2.5, 1.5): half a pixel down and right of its first pixel.
    assert targets.offset[:, 2, 1].tolist() == [0.5, 0.5]
    assert targets.offset[:, 3, 2].tolist() == [-0.5, -0.5]
    assert targets.offset[:, 4, 4].tolist() == [0, 0]
    assert targets.semantic_weight[2].tolist() == [1, 2.5, 2.5, 1, 1, 1]
    assert targets.center_weight[:, 0].tolist() == [0, 1, 1, 1, 1]
    assert targets.offset_weight[2].tolist() == [0, 1, 1, 0, 0, 0]
    # Center (2.5, 1.5) goes to the even pixel on both axes: (2, 2).
    assert targets.center[0].argmax() == 2 * 6 + 2
    assert targets.center.max() == 1


def test_offset_loss_on_stuff_can_be_kept() -> None:
    targets = make_targets(scene(), LABELS, ignore_stuff_in_offset=False)
    assert targets.offset_weight[2].tolist() == [1] * 6
    assert targets.offset_weight[0].tolist() == [0] * 6


def test_area_at_the_limit_is_not_small() -> None:
    targets = make_targets(scene(), LABELS, small_instance_area_px=4)
    assert targets.semantic_weight.unique().tolist() == [1]


def test_crowd_draws_a_center_without_weight() -> None:
    targets = make_targets(scene(crowd=True), LABELS)
    assert targets.semantic[2].tolist() == [0, IGNORED, IGNORED, 0, 0, 0]
    assert targets.center.max() == 1
    assert targets.center_weight[2].tolist() == [1, 0, 0, 1, 1, 1]
    assert targets.offset_weight.sum() == 0


def test_crowd_can_be_kept_in_semantic_and_left_out_of_centers() -> None:
    targets = make_targets(
        scene(crowd=True), LABELS, ignore_crowd_in_semantic=False, exclude_crowd_instances=True
    )
    assert targets.semantic[2].tolist() == [0, 1, 1, 0, 0, 0]
    assert targets.center.max() == 0
    assert targets.offset.abs().max() == 0
    assert targets.semantic_weight.unique().tolist() == [1]


def test_map_without_segments_gives_no_weight() -> None:
    targets = make_targets(PanopticMap(np.zeros((3, 4), np.int32), ()), LABELS)
    assert targets.semantic.unique().tolist() == [IGNORED]
    assert all(t.sum() == 0 for t in (targets.center, targets.center_weight, targets.offset_weight))


def test_ids_too_large_for_a_table() -> None:
    ids = np.array([[0, 2**31 - 1, 5], [2**30, 2**30, 7]], np.int32)
    panoptic = PanopticMap(ids, (Segment(2**31 - 1, 1, 1), Segment(2**30, 0, 2)))
    assert segment_index(panoptic).tolist() == [[0, 1, 0], [2, 2, 0]]


def test_ids_too_large_for_a_table_give_the_same_targets() -> None:
    small, large = scene(), scene()
    large.segment_map[large.segment_map == 30] = 2**31 - 1
    large = PanopticMap(large.segment_map, (Segment(7, 0, 21), Segment(2**31 - 1, 1, 4)))
    for ours, theirs in zip(make_targets(small, LABELS), make_targets(large, LABELS), strict=True):
        assert ours.equal(theirs)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptic_deeplab.backends.has_numba", lambda: False)
    with pytest.raises(ImportError, match=r"panoptic-deeplab\[fast\]"):
        make_targets(scene(), LABELS, backend="numba")
    assert make_targets(scene(), LABELS).semantic.shape == (5, 6)  # "auto" does without


def test_a_package_that_cannot_be_imported_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a numba that is older than NumPy."""
    monkeypatch.setitem(sys.modules, "numba", None)
    backends.has_numba.cache_clear()
    try:
        assert backends.choose_backend("auto", ("plain",)) == "plain"
    finally:
        backends.has_numba.cache_clear()


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown backend 'tensor'\. Known are: auto, numba, plain"
    ):
        make_targets(scene(), LABELS, backend="tensor")


def test_negative_id_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 \(void\) or more, got -1"):
        make_targets(PanopticMap(np.full((2, 2), -1, np.int32), ()), LABELS)


def test_unknown_class_is_refused() -> None:
    panoptic = PanopticMap(np.full((2, 2), 1, np.int32), (Segment(1, 2, 4),))
    with pytest.raises(ValueError, match=r"Segment 1 must have a class id .* got 2"):
        make_targets(panoptic, LABELS)
