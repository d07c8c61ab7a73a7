"""What holds for the metrics whatever the maps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics import AveragePrecision, MeanIoU, PanopticQuality
from panoptic_deeplab.metrics.counts import count_image
from panoptic_deeplab.metrics.joint import count_joint
from panoptic_deeplab.metrics.matching import match_image
from panoptic_deeplab.structures import PanopticMap, Segment

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
LABELS = LabelSpace("toy", tuple(ClassInfo(f"c{i}", i, i >= 2, (0, 0, 0)) for i in range(4)))
METRICS = (
    PanopticQuality,
    MeanIoU,
    AveragePrecision,
    lambda labels: AveragePrecision(labels, "cityscapes", min_area_px=20),
)


def random_map(rng: np.random.Generator, is_truth: bool) -> PanopticMap:
    ids = np.zeros((24, 32), np.int32)
    for number in range(1, 10):
        y, x, height, width = rng.integers(0, [20, 28, 18, 24])
        ids[y : y + height, x : x + width] = number
    crowds = rng.random(10) < (0.3 if is_truth else 0)
    scores = [None] * 10 if is_truth else rng.permutation(10) / 10
    segments = []
    for number in np.unique(ids[ids > 0]).tolist():
        area, class_id = int((ids == number).sum()), int(rng.integers(0, 4))
        score = None if is_truth else float(scores[number])
        segments.append(Segment(number, class_id, area, score, bool(crowds[number])))
    return PanopticMap(ids, tuple(segments))


def images(seed: int, count: int = 4) -> list[tuple[PanopticMap, PanopticMap]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        truth = random_map(rng, True)
        noisy = random_map(rng, False)
        if rng.random() < 0.7:  # mostly right: the truth with one corner replaced
            ids = truth.segment_map.copy()
            ids[:8, :8] = 0
            listed = tuple(
                Segment(s.id, s.class_id, int((ids == s.id).sum()), float(rng.random()))
                for s in truth.segments
            )
            noisy = PanopticMap(ids, tuple(s for s in listed if s.area_px))
        pairs.append((noisy, truth))
    return pairs


def renamed(panoptic: PanopticMap, shift: int) -> PanopticMap:
    ids = np.where(panoptic.segment_map > 0, panoptic.segment_map * 1001 + shift, 0)
    segments = (
        Segment(s.id * 1001 + shift, s.class_id, s.area_px, s.score, s.is_crowd)
        for s in panoptic.segments
    )
    return PanopticMap(ids.astype(np.int32), tuple(segments))


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_split_in_any_order_and_merged_equals_the_whole(seed: int) -> None:
    pairs = images(seed)
    for make in METRICS:
        whole, left, right = (make(LABELS) for _ in range(3))
        for i, pair in enumerate(pairs):
            whole.update(*pair, str(i))
        for i in reversed(range(len(pairs))):
            (left if i % 2 else right).update(*pairs[i], str(i))
        right.merge(left)
        assert right.result() == whole.result()


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6))
def test_other_ids_change_nothing(seed: int, shift: int) -> None:
    for make in METRICS:
        ours, theirs = make(LABELS), make(LABELS)
        for prediction, truth in images(seed):
            ours.update(prediction, truth)
            theirs.update(renamed(prediction, shift), renamed(truth, 7 * shift))
        assert ours.result() == theirs.result()


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_joint_counts_equal_a_count_pair_by_pair(seed: int) -> None:
    for prediction, truth in images(seed, count=1):
        joint = count_joint(prediction, truth)
        assert sum(joint.pairs.values()) == truth.segment_map.size
        for (t, p), pixels in joint.pairs.items():
            both = (truth.segment_map == t) & (prediction.segment_map == p)
            assert pixels == both.sum() > 0
        assert list(joint.pairs) == sorted(joint.pairs)


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_the_truth_itself_is_perfect(seed: int) -> None:
    for _, truth in images(seed, count=1):
        scored = tuple(
            Segment(s.id, s.class_id, s.area_px, 0.5) for s in truth.segments if not s.is_crowd
        )
        listed = {s.id for s in scored}
        ids = np.where(np.isin(truth.segment_map, list(listed)), truth.segment_map, 0)
        prediction = PanopticMap(ids.astype(np.int32), scored)
        quality, precision = PanopticQuality(LABELS), AveragePrecision(LABELS)
        quality.update(prediction, truth)
        precision.update(prediction, truth)
        assert quality.result().all.pq in (1.0, None)
        for rated in precision.result().per_class.values():
            assert rated.ap is None or abs(rated.ap - 1) < 1e-12


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_without_a_false_segment_no_quality_falls(seed: int) -> None:
    """Nor does it with one more invented, the other way round."""
    for prediction, truth in images(seed):
        whole = PanopticQuality(LABELS)
        whole.update(prediction, truth)
        matching = match_image(count_image(prediction, truth, LABELS))
        for false in matching.false:
            ids = np.where(prediction.segment_map == false.id, 0, prediction.segment_map)
            rest = tuple(s for s in prediction.segments if s.id != false.id)
            less = PanopticQuality(LABELS)
            less.update(PanopticMap(ids.astype(np.int32), rest), truth)
            for name, before in whole.result().per_class.items():
                after = less.result().per_class[name]
                assert after.tp == before.tp
                assert after.fn == before.fn
                assert after.fp == before.fp - (name == LABELS.names[false.class_id])
                assert after.pq is None or after.pq >= before.pq
