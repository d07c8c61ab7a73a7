"""What holds for grouping whatever the scene."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab.grouping import group_outputs, panoptic_from_maps
from panoptic_deeplab.grouping_plain import find_centers
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics import PanopticQuality
from panoptic_deeplab.structures import Outputs, PanopticMap, Segment
from panoptic_deeplab.targets import make_targets

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
LABELS = LabelSpace("toy", tuple(ClassInfo(f"c{i}", i, i >= 3, (0, 0, 0)) for i in range(6)))
BACKENDS = ("plain", "tensor", "auto")
CELL = 24
"""Every thing lies inside its own cell, so centers stay apart."""


def scene(seed: int) -> PanopticMap:
    """Two bands of stuff and one rectangle per cell of a grid, some cells empty."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 4, 2)
    ids = np.full((CELL * rows, CELL * columns), 1, np.int32)
    ids[: CELL * rows // 3] = 2
    classes = {1: 0, 2: 1}
    for row in range(rows):
        for column in range(columns):
            if rng.random() < 0.2:
                continue
            height, width = rng.integers(6, 17, 2)
            y, x = row * CELL + 4, column * CELL + 4
            number = len(classes) + 1
            ids[y : y + height, x : x + width] = number
            classes[number] = int(rng.integers(3, 6))
    segments = (Segment(i, c, int((ids == i).sum())) for i, c in classes.items())
    return PanopticMap(ids, tuple(s for s in segments if s.area_px))


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_perfect_heads_give_the_truth(seed: int) -> None:
    truth = scene(seed)
    targets = make_targets(truth, LABELS, sigma_px=2.0)
    prediction = panoptic_from_maps(
        targets.semantic.numpy().astype(np.uint8),
        targets.center[0].numpy(),
        targets.offset.numpy(),
        LABELS,
        stuff_area_px=1,
    )
    prediction.check()
    quality = PanopticQuality(LABELS)
    quality.update(prediction, truth)
    assert quality.result().all.pq == 1


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([1, 3, 7]))
def test_exactly_top_k_of_the_peaks_are_kept(seed: int, top_k: int, kernel: int) -> None:
    heat = np.random.default_rng(seed).integers(0, 12, (20, 30)).astype(np.float32) / 10
    peaks = find_centers(heat, nms_kernel=kernel, top_k=heat.size)
    kept = find_centers(heat, nms_kernel=kernel, top_k=top_k)
    assert len(kept) == min(top_k, len(peaks))
    lost = {tuple(p) for p in peaks.tolist()} - {tuple(p) for p in kept.tolist()}
    if lost:
        assert max(heat[p] for p in lost) <= heat[tuple(kept.T)].min()


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_every_thing_pixel_follows_its_nearest_center(seed: int) -> None:
    rng = np.random.default_rng(seed)
    semantic = rng.integers(0, 6, (20, 30)).astype(np.uint8)
    heat = (rng.random((20, 30)) ** 8).astype(np.float32)
    offset = rng.normal(0, 4, (2, 20, 30)).astype(np.float32)
    panoptic = panoptic_from_maps(semantic, heat, offset, LABELS, stuff_area_px=0)
    panoptic.check()
    centers = find_centers(heat)
    is_thing = semantic >= 3
    if not len(centers):
        assert not panoptic.segment_map[is_thing].any()
        return
    grid = np.stack(np.indices(semantic.shape))
    away = (grid + offset)[:, None] - centers.T[:, :, None, None]  # (2, N, H, W)
    nearest = (away**2).sum(axis=0).argmin(axis=0)
    ids = panoptic.segment_map
    for number in np.unique(nearest[is_thing]):
        pixels = is_thing & (nearest == number)
        assert len(np.unique(ids[pixels])) == 1
    assert [s.id for s in panoptic.segments] == list(range(1, len(panoptic.segments) + 1))


def partition(ids: np.ndarray) -> np.ndarray:
    """The same map with segments numbered by their first pixel; void stays 0."""
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first)) + 1
    return np.where(ids == 0, 0, numbers[place.reshape(ids.shape)])


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1,), (0,), (0, 1)]))
def test_mirrored_maps_give_mirrored_segments(seed: int, axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    semantic = rng.integers(0, 6, (20, 30)).astype(np.uint8)
    heat = (rng.random((20, 30)) ** 8).astype(np.float32)
    offset = rng.normal(0, 4, (2, 20, 30)).astype(np.float32)
    plain = panoptic_from_maps(semantic, heat, offset, LABELS, stuff_area_px=20)
    turned = offset.copy()
    turned[list(axes)] *= -1
    flipped = [np.flip(m, [a - 2 for a in axes]).copy() for m in (semantic, heat, turned)]
    mirrored = panoptic_from_maps(*flipped, LABELS, stuff_area_px=20)
    back = np.flip(mirrored.segment_map, axes).copy()
    assert np.array_equal(partition(back), partition(plain.segment_map))
    kinds = [sorted((s.class_id, s.area_px) for s in m.segments) for m in (plain, mirrored)]
    assert kinds[0] == kinds[1]


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4]), st.sampled_from(BACKENDS))
def test_a_result_of_twice_the_size_is_the_same_one(seed: int, factor: int, backend: str) -> None:
    """With corners aligned every factor-th pixel of a larger result lies on a sample."""
    outputs = perfect_outputs(scene(seed))
    height, width = outputs.semantic.shape[2:]
    results = []
    for k in (1, factor):
        size = (k * (height - 1) + 1, k * (width - 1) + 1)
        (found,) = group_outputs(
            outputs, LABELS, size=size, align_corners=True, stuff_area_px=1, backend=backend
        )
        results.append(np.ascontiguousarray(found.segment_map[::k, ::k]))
    assert np.array_equal(partition(results[0]), partition(results[1]))


@SETTINGS
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=3), st.sampled_from(BACKENDS))
def test_the_order_of_images_changes_nothing(seeds: list[int], backend: str) -> None:
    rng = [np.random.default_rng(seed) for seed in seeds]
    maps = [
        torch.from_numpy(np.stack([r.normal(0, 1, (n, 12, 17)).astype(np.float32) for r in rng]))
        for n in (6, 1, 2)
    ]
    settings = {"size": (45, 65), "align_corners": True, "stuff_area_px": 1, "backend": backend}
    plain = group_outputs(Outputs(*maps), LABELS, **settings)
    turned = group_outputs(Outputs(*(m.flip(0) for m in maps)), LABELS, **settings)
    for ours, theirs in zip(plain, reversed(turned), strict=True):
        assert np.array_equal(ours.segment_map, theirs.segment_map)
        assert ours.segments == theirs.segments


def perfect_outputs(truth: PanopticMap) -> Outputs:
    """Heads that say the truth, on its own grid."""
    targets = make_targets(truth, LABELS, sigma_px=2.0)
    semantic = torch.nn.functional.one_hot(targets.semantic.clamp(max=5), 6)
    heads = (8.0 * semantic.permute(2, 0, 1), targets.center, targets.offset)
    return Outputs(*(head[None].float() for head in heads))
