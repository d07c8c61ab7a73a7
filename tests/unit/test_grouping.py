"""Grouping on maps small enough to check by hand; every back end gives the same."""

import numpy as np
import pytest
import torch

from panoptic_deeplab.grouping import elect, group_outputs, panoptic_from_maps
from panoptic_deeplab.grouping_grid import make_grid
from panoptic_deeplab.grouping_plain import (
    assign_pixels,
    classify,
    count_votes,
    find_centers,
    segment_boxes,
)
from panoptic_deeplab.labels import IGNORED, ClassInfo, LabelSpace
from panoptic_deeplab.structures import Outputs, PanopticMap, Segment

ROAD, SKY, CAR, BUS = range(4)
LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("road", 7, False, (128, 64, 128)),
        ClassInfo("sky", 23, False, (70, 130, 180)),
        ClassInfo("car", 26, True, (0, 0, 142)),
        ClassInfo("bus", 28, True, (0, 60, 100)),
    ),
)


def heat_of(size: tuple[int, int], peaks: dict[tuple[int, int], float]) -> np.ndarray:
    heat = np.zeros(size, np.float32)
    for place, value in peaks.items():
        heat[place] = value
    return heat


def group(semantic: np.ndarray, heat: np.ndarray, offset: np.ndarray | None = None, **settings):
    if offset is None:
        offset = np.zeros((2, *heat.shape), np.float32)
    settings = {"stuff_area_px": 1, "nms_kernel": 3, **settings}
    panoptic = panoptic_from_maps(semantic.astype(np.uint8), heat, offset, LABELS, **settings)
    panoptic.check()
    return panoptic


def test_two_cars_and_the_road() -> None:
    semantic = np.full((3, 8), ROAD)
    semantic[1, :] = CAR
    panoptic = group(semantic, heat_of((3, 8), {(1, 1): 0.9, (1, 6): 0.8}))
    assert panoptic.segment_map[1].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert panoptic.segment_map[0].tolist() == [3] * 8
    assert panoptic.segments == (Segment(1, CAR, 4), Segment(2, CAR, 4), Segment(3, ROAD, 16))


def test_offsets_lead_to_the_center() -> None:
    semantic = np.full((1, 8), CAR)
    offset = np.zeros((2, 1, 8), np.float32)
    offset[1, 0] = 6 - np.arange(8)  # all of them point to x = 6
    panoptic = group(semantic, heat_of((1, 8), {(0, 1): 0.9, (0, 6): 0.8}), offset)
    assert panoptic.segment_map.tolist() == [[1] * 8]  # the first center gets no pixel and no id


def test_equally_near_pixels_go_to_the_lower_number() -> None:
    centers = np.array([[0, 0], [0, 4]])
    numbers = assign_pixels(np.zeros((2, 1, 5), np.float32), centers, np.ones((1, 5), bool))
    assert numbers.tolist() == [[1, 1, 1, 2, 2]]


def test_without_centers_no_pixel_is_assigned() -> None:
    numbers = assign_pixels(
        np.zeros((2, 1, 5), np.float32), np.zeros((0, 2), np.int64), np.ones((1, 5), bool)
    )
    assert numbers.tolist() == [[0] * 5]


def test_the_majority_decides_the_class_and_the_lower_class_a_tie() -> None:
    numbers = np.array([[1, 1, 1, 2, 2, 3, 0]], np.int32)
    semantic = np.array([[BUS, BUS, CAR, BUS, CAR, IGNORED, ROAD]], np.uint8)
    votes = count_votes(numbers, semantic, 4)
    assert votes.sum(axis=1).tolist() == [0, 3, 2, 1, 0]
    election = elect(votes, np.bincount(semantic.ravel(), minlength=256), LABELS, 1)
    assert election.class_ids[1:3].tolist() == [BUS, CAR]
    # Instance 3 has ignored pixels only and instance 4 none: neither gets a segment.
    assert election.segments == (Segment(1, BUS, 3), Segment(2, CAR, 2), Segment(3, ROAD, 1))


def test_small_stuff_becomes_void() -> None:
    semantic = np.full((2, 4), ROAD)
    semantic[0, :2] = SKY
    empty = heat_of((2, 4), {})
    assert group(semantic, empty, stuff_area_px=2).segments == (
        Segment(1, ROAD, 6),
        Segment(2, SKY, 2),
    )
    panoptic = group(semantic, empty, stuff_area_px=3)
    assert panoptic.segments == (Segment(1, ROAD, 6),)
    assert panoptic.segment_map[0].tolist() == [0, 0, 1, 1]


def test_ignored_pixels_become_void() -> None:
    semantic = np.full((1, 4), ROAD)
    semantic[0, 0] = IGNORED
    assert group(semantic, heat_of((1, 4), {}), stuff_area_px=0).segment_map.tolist() == [
        [0, 1, 1, 1]
    ]


def test_a_center_must_exceed_threshold_and_zero() -> None:
    heat = heat_of((1, 9), {(0, 0): 0.1, (0, 4): 0.2, (0, 8): -0.1})
    assert find_centers(heat, threshold=0.1).tolist() == [[0, 4]]
    assert find_centers(heat, threshold=-1.0, nms_kernel=3).tolist() == [[0, 0], [0, 4]]


def test_a_window_keeps_its_highest_pixel() -> None:
    heat = heat_of((1, 9), {(0, 1): 0.5, (0, 4): 0.6, (0, 8): 0.4})
    assert find_centers(heat, nms_kernel=7).tolist() == [[0, 4], [0, 8]]
    assert find_centers(heat, nms_kernel=5).tolist() == [[0, 1], [0, 4], [0, 8]]


def test_exactly_top_k_centers_ties_to_the_first() -> None:
    peaks = {(0, 0): 0.5, (0, 3): 0.9, (0, 6): 0.5, (0, 9): 0.5}
    heat = heat_of((1, 10), peaks)
    for top_k, kept in (
        (1, [3]),
        (2, [0, 3]),
        (3, [0, 3, 6]),
        (4, [0, 3, 6, 9]),
        (99, [0, 3, 6, 9]),
    ):
        found = find_centers(heat, nms_kernel=3, top_k=top_k)
        assert found[:, 1].tolist() == kept


def test_a_plateau_keeps_all_pixels_unless_merged() -> None:
    heat = heat_of((4, 8), {(1, 2): 0.5, (1, 3): 0.5, (2, 1): 0.5, (0, 7): 0.3})
    assert len(find_centers(heat, nms_kernel=3)) == 4
    merged = find_centers(heat, nms_kernel=3, merge_plateaus=True)
    assert merged.tolist() == [[0, 7], [1, 2]]


def test_orphans_become_void_or_regions() -> None:
    semantic = np.array([[CAR, CAR, ROAD, BUS], [CAR, ROAD, ROAD, CAR], [ROAD, ROAD, BUS, BUS]])
    empty = heat_of((3, 4), {})
    assert group(semantic, empty).segment_map[0].tolist() == [0, 0, 1, 0]
    panoptic = group(semantic, empty, orphans="component")
    # Numbered by first pixel: car, bus, the other car, the other bus. The two cars do not touch.
    assert panoptic.segment_map.tolist() == [[1, 1, 5, 2], [1, 5, 5, 3], [5, 5, 4, 4]]
    assert [s.class_id for s in panoptic.segments] == [CAR, BUS, CAR, BUS, ROAD]


def test_boxes() -> None:
    ids = np.array([[0, 1, 1, 2], [0, 1, 0, 2], [2, 2, 0, 0]], np.int32)
    boxes = segment_boxes(PanopticMap(ids, ()))
    assert boxes == {1: (0, 1, 2, 3), 2: (0, 0, 3, 4)}
    assert segment_boxes(PanopticMap(np.zeros((0, 3), np.int32), ())) == {}


def outputs(batch: int = 1) -> Outputs:
    """4 x 4 pixels at stride 4: a car in the middle whose center is the pixel (1, 1)."""
    semantic = torch.zeros(batch, 4, 4, 4)
    semantic[:, ROAD] = 2.0
    semantic[:, CAR, 1:3, 1:3] = 5.0
    center = torch.zeros(batch, 1, 4, 4)
    center[:, 0, 1, 1] = 0.8
    return Outputs(semantic, center, torch.zeros(batch, 2, 4, 4))


@pytest.fixture(params=["plain", "tensor", "numba"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def run(maps: Outputs, **settings) -> list[PanopticMap]:
    settings = {"size": (4, 4), "align_corners": False, "stuff_area_px": 1, **settings}
    return group_outputs(maps, LABELS, **settings)


def test_scores(backend: str) -> None:
    car = np.exp(5) / (np.exp(5) + np.exp(2) + 2)
    for settings, expected in (
        ({"score": "class"}, car),
        ({"score": "objectness"}, 0.8),
        ({"score": "product"}, 0.8 * car),
        ({"score": "objectness", "objectness_at": "centroid"}, 0.8),  # (1.5, 1.5), truncated
    ):
        thing, road = run(outputs(), backend=backend, **settings)[0].segments
        assert thing.score == pytest.approx(expected, rel=1e-6)
        assert road.score is None


def test_regions_without_center_are_rated_at_their_centroid(backend: str) -> None:
    maps = outputs()
    maps.center.mul_(0.1)
    settings = {"orphans": "component", "score": "objectness", "backend": backend}
    thing = run(maps, **settings)[0].segments[0]
    assert thing.score == pytest.approx(0.08)


def test_every_image_of_a_batch_is_grouped_by_itself(backend: str) -> None:
    maps = outputs(2)
    maps.semantic[1, SKY] = 9.0
    first, second = run(maps, backend=backend)
    assert [s.class_id for s in first.segments] == [CAR, ROAD]
    assert [s.class_id for s in second.segments] == [SKY]


def test_padding_is_cut_off_and_the_result_scaled(backend: str) -> None:
    panoptic = run(
        outputs(), size=(16, 16), crop_size=(12, 16), output_size=(6, 8), backend=backend
    )[0]
    assert panoptic.size == (6, 8)
    whole = run(outputs(), size=(16, 16), backend=backend)[0]
    cropped = run(outputs(), size=(16, 16), crop_size=(12, 16), backend=backend)[0]
    np.testing.assert_array_equal(cropped.segment_map, whole.segment_map[:12])


def test_offsets_are_scaled_on_each_axis() -> None:
    maps = outputs()
    maps.offset[:, 0] = 1.0
    maps.offset[:, 1] = 2.0
    grid = make_grid((16, 8), None, (32, 32), False)
    offset = grid.bring_offset(maps.offset[0])
    # 4 x 4 to 32 x 32: eight pixels for one, whatever lies between.
    assert offset[0].unique().tolist() == [8.0]
    assert offset[1].unique().tolist() == [16.0]


def test_half_precision_and_gradients_are_no_obstacle() -> None:
    maps = Outputs(*(m.bfloat16().requires_grad_() for m in outputs()))
    assert [s.class_id for s in run(maps)[0].segments] == [CAR, ROAD]


def test_classes_are_streamed_in_chunks_with_equal_results(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 5, (19, 20, 20), generator=generator).float()  # many ties
    grid = make_grid((80, 80), None, None, False)
    dense = grid.bring(logits).argmax(dim=0).numpy()
    np.testing.assert_array_equal(classify(logits, grid).numpy(), dense)
    monkeypatch.setattr("panoptic_deeplab.grouping_grid.CHUNK_VALUES", 3 * 80 * 80)
    np.testing.assert_array_equal(classify(logits, grid).numpy(), dense)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("head", Outputs._fields)
def test_values_that_are_not_finite_are_refused(head: str, bad: float) -> None:
    maps = outputs()
    getattr(maps, head)[0, 0, 2, 2] = bad
    with pytest.raises(ValueError, match=f"The {head} head must be finite"):
        run(maps)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptic_deeplab.backends.has_numba", lambda: False)
    with pytest.raises(ImportError, match=r"panoptic-deeplab\[fast\]"):
        run(outputs(), backend="numba")
    assert run(outputs())[0].size == (4, 4)  # "auto" does without


def test_guards() -> None:
    maps = outputs()
    with pytest.raises(ValueError, match=r"Unknown backend 'tensors'\. Did you mean 'tensor'"):
        run(maps, backend="tensors")
    with pytest.raises(ValueError, match=r"Unknown score 'clas'\. Did you mean 'class'"):
        run(maps, score="clas")
    with pytest.raises(ValueError, match=r"Unknown orphans 'none'"):
        run(maps, orphans="none")
    with pytest.raises(ValueError, match=r"Unknown objectness_at 'middle'"):
        run(maps, objectness_at="middle")
    with pytest.raises(ValueError, match=r"outputs.semantic must have shape \(1, 4, 4, 4\)"):
        run(maps._replace(semantic=maps.semantic[:, :3]))
    with pytest.raises(ValueError, match=r"outputs.offset must have shape \(1, 2, 4, 4\)"):
        run(maps._replace(offset=maps.center))
    with pytest.raises(ValueError, match=r"nms_kernel must be odd and positive.*got 4. Use 5"):
        run(maps, nms_kernel=4)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        run(maps, top_k=0)
    with pytest.raises(ValueError, match="merge_plateaus needs an nms_kernel of 3 or more"):
        run(maps, nms_kernel=1, merge_plateaus=True)
    with pytest.raises(ValueError, match=r"crop_size must lie inside size \(4, 4\), got \(5, 4\)"):
        run(maps, crop_size=(5, 4))
    with pytest.raises(ValueError, match="Sizes must be at least 1 pixel"):
        run(maps, output_size=(0, 4))


def test_maps_of_other_shapes_are_refused() -> None:
    semantic, heat = np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"semantic must be \(H, W\) uint8"):
        panoptic_from_maps(semantic.astype(np.int64), heat, np.zeros((2, 2, 3)), LABELS)
    with pytest.raises(ValueError, match=r"offset must have shape \(2, H, W\)"):
        panoptic_from_maps(semantic, heat, np.zeros((2, 3)), LABELS)


def test_maps_are_grouped_with_known_settings_only() -> None:
    semantic, heat = np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"Unknown orphans 'voids'\. Did you mean 'void'"):
        group(semantic, heat, orphans="voids")
