import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Segment
from panoptic_deeplab.tracks import Tracks

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("ground", 0, False, (0, 0, 0)),
        ClassInfo("box", 1, True, (9, 0, 0)),
        ClassInfo("ball", 2, True, (0, 9, 0)),
    ),
)


def frame(*things: tuple[int, int, int], seed: int = 0) -> PanopticMap:
    """Squares of 10 at (y, x) of a class, in an order of their own, on the ground."""
    ids = np.full((40, 60), 1, np.int32)
    numbers = np.random.default_rng(seed).permutation(len(things)) + 2
    classes = {1: 0}
    for number, (y, x, class_id) in zip(numbers.tolist(), things, strict=True):
        ids[y : y + 10, x : x + 10] = number
        classes[number] = class_id
    segments = (Segment(i, c, int((ids == i).sum())) for i, c in sorted(classes.items()))
    return PanopticMap(ids, tuple(s for s in segments if s.area_px))


def at(found: PanopticMap, y: int, x: int) -> int:
    return int(found.segment_map[y + 5, x + 5])


def test_things_keep_their_ids_and_stuff_its_class() -> None:
    tracks = Tracks(LABELS)
    first = tracks.link(frame((5, 5, 1), (5, 40, 1), (25, 20, 2)))
    ids = [at(first, 5, 5), at(first, 5, 40), at(first, 25, 20)]
    assert sorted(ids) == [4, 5, 6]
    assert first.segment_map[0, 0] == 1
    for step in range(1, 8):
        moved = tracks.link(
            frame((5, 5 + 2 * step, 1), (5, 40 - step, 1), (25, 20 + 3 * step, 2), seed=step)
        )
        moved.check()
        places = ((5, 5 + 2 * step), (5, 40 - step), (25, 20 + 3 * step))
        assert [at(moved, *place) for place in places] == ids
    assert {s.id for s in moved.segments} == {1, *ids}


def test_another_class_is_another_thing() -> None:
    tracks = Tracks(LABELS)
    before = at(tracks.link(frame((5, 5, 1))), 5, 5)
    assert at(tracks.link(frame((5, 5, 2))), 5, 5) == before + 1


@pytest.mark.parametrize(("away", "same"), [(2, True), (3, False)])
def test_a_thing_that_vanishes_is_remembered_for_a_while(away: int, same: bool) -> None:
    tracks = Tracks(LABELS, patience=2)
    before = at(tracks.link(frame((5, 5, 1), (25, 40, 2))), 5, 5)
    for _ in range(away):
        tracks.link(frame((25, 40, 2)))
    assert (at(tracks.link(frame((5, 6, 1), (25, 40, 2))), 5, 6) == before) == same


def test_a_jump_is_a_new_thing() -> None:
    tracks = Tracks(LABELS)
    before = at(tracks.link(frame((5, 5, 1))), 5, 5)
    assert at(tracks.link(frame((5, 11, 1))), 5, 11) != before  # IoU 4 / 16
    assert Tracks(LABELS).link(frame()).segments[0].id == 1


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
def test_maps_stay_what_they_were(seeds: list[int]) -> None:
    """Only the ids change: which pixels belong together, and to what class, does not."""
    tracks = Tracks(LABELS)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        things = [(0, 0, 1), (0, 12, 2), (15, 3, 1), (28, 40, 2)]
        chosen = [t for t in things if rng.random() < 0.7]
        plain = frame(*chosen, seed=seed)
        linked = tracks.link(plain)
        linked.check()
        pairs = set(zip(plain.segment_map.ravel(), linked.segment_map.ravel(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert [(s.class_id, s.area_px) for s in linked.segments] == [
            (s.class_id, s.area_px) for s in plain.segments
        ]


def test_frames_of_another_size() -> None:
    tracks = Tracks(LABELS)
    tracks.link(frame())
    with pytest.raises(ValueError, match="Frames of a video have one size"):
        tracks.link(PanopticMap(np.zeros((3, 3), np.int32), ()))
