"""What holds for targets whatever the scene."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Segment
from panoptic_deeplab.targets import make_targets

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
LABELS = LabelSpace("toy", tuple(ClassInfo(f"c{i}", i, i >= 2, (0, 0, 0)) for i in range(5)))
SIZE = (25, 33)  # odd, so that mirrored centers fall on pixels' middles again


def scene(seed: int) -> PanopticMap:
    rng = np.random.default_rng(seed)
    ids = np.zeros(SIZE, np.int32)
    for number in range(1, int(rng.integers(2, 9))):
        y, x = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
        ids[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = number * 7
    segments = (
        Segment(int(i), int(i) % 5, int((ids == i).sum()), is_crowd=bool(i % 4 == 0))
        for i in np.unique(ids[ids > 0])
    )
    return PanopticMap(ids, tuple(segments))


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_offsets_of_one_thing_lead_to_one_point(seed: int) -> None:
    truth = scene(seed)
    targets = make_targets(truth, LABELS)
    grid = np.stack(np.indices(SIZE))
    for segment in truth.segments:
        pixels = truth.segment_map == segment.id
        points = (grid + targets.offset.numpy())[:, pixels]
        if segment.class_id < 2:
            assert not targets.offset.numpy()[:, pixels].any()
            continue
        middle = np.stack(np.nonzero(pixels)).mean(axis=1)
        np.testing.assert_allclose(points, np.repeat(middle[:, None], pixels.sum(), 1), atol=1e-5)


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_order_and_names_of_segments_change_nothing(seed: int) -> None:
    truth = scene(seed)
    rng = np.random.default_rng(seed)
    names = dict(zip([s.id for s in truth.segments], rng.permutation(90) + 1000, strict=False))
    ids = np.zeros(SIZE, np.int32)
    for old, new in names.items():
        ids[truth.segment_map == old] = new
    segments = [
        Segment(int(names[s.id]), s.class_id, s.area_px, None, s.is_crowd) for s in truth.segments
    ]
    other = PanopticMap(ids, tuple(segments[::-1]))
    for ours, theirs in zip(make_targets(truth, LABELS), make_targets(other, LABELS), strict=True):
        assert ours.equal(theirs)


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_mirroring_commutes_with_targets(seed: int) -> None:
    truth = scene(seed)
    mirrored = PanopticMap(np.ascontiguousarray(truth.segment_map[:, ::-1]), truth.segments)
    ours, theirs = make_targets(truth, LABELS), make_targets(mirrored, LABELS)
    for name in ("semantic", "semantic_weight", "center_weight", "offset_weight"):
        assert getattr(ours, name).flip(-1).equal(getattr(theirs, name))
    dy, dx = ours.offset.flip(-1)
    np.testing.assert_allclose(theirs.offset[0], dy, atol=1e-5)
    np.testing.assert_allclose(theirs.offset[1], -dx, atol=1e-5)
