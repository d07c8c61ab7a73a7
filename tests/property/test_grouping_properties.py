"""What holds for grouping whatever the scene."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab.grouping import panoptic_from_maps
from panoptic_deeplab.grouping_plain import find_centers
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics import PanopticQuality
from panoptic_deeplab.structures import PanopticMap, Segment
from panoptic_deeplab.targets import make_targets

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
LABELS = LabelSpace("toy", tuple(ClassInfo(f"c{i}", i, i >= 3, (0, 0, 0)) for i in range(6)))
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
