"""Drawn scenes: exact truth, the same for everybody who asks, and fit for learning."""

import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_deeplab.data.canvas import Brush, Camera, Canvas, Light
from panoptic_deeplab.data.coco import open_coco_panoptic
from panoptic_deeplab.data.coco_writer import write_dataset
from panoptic_deeplab.data.synthetic import LABELS, SyntheticStreets
from panoptic_deeplab.structures import Sample

CAMERA = Camera(focal=100.0, middle=50.0, horizon=40.0, height=2.0)
NOON = Light((0, 0, 255), (255, 255, 255), (1.0, 1.0, 1.0), shadow=0.5, sun=0.0, lit=0.0)


def same(one: Sample, two: Sample) -> bool:
    return (
        np.array_equal(one.image, two.image)
        and np.array_equal(one.panoptic.segment_map, two.panoptic.segment_map)
        and one.panoptic.segments == two.panoptic.segments
    )


def test_camera_by_hand() -> None:
    # 10 m away a metre is 10 px; the ground lies 2 m below the horizon
    assert CAMERA.project([0, 0, 10]).tolist() == [50, 60]
    assert CAMERA.project([[1, 2, 10], [-2, 0, 5]]).tolist() == [[60, 40], [10, 80]]


def test_canvas_paints_pixels_and_ids_alike() -> None:
    canvas = Canvas((20, 30), CAMERA, NOON)
    canvas.polygons(np.array([[5.0, 4.0], [15.0, 4.0], [15.0, 12.0], [5.0, 12.0]]), (9, 8, 7), 3)
    canvas.disc((22.0, 10.0), 4.0, (90, 80, 70), 5, glows=True)
    image, ids = canvas.finish()
    assert (ids[4:12, 5:15] == 3).all()
    assert (ids == 3).sum() == pytest.approx(80, abs=12)  # OpenCV's fill keeps its border
    assert (ids == 5).sum() == pytest.approx(np.pi * 16, abs=8)
    assert image[8, 10].tolist() == [9, 8, 7]
    assert image[10, 22].tolist() == [90, 80, 70]
    assert image[0, 0].tolist() == [0, 0, 0]


def test_details_leave_the_ids() -> None:
    canvas = Canvas((20, 30), CAMERA, NOON)
    canvas.disc((10.0, 10.0), 5.0, (9, 8, 7))
    image, ids = canvas.finish()
    assert ids.max() == 0
    assert image.max() == 9


def test_haze_and_tint() -> None:
    canvas = Canvas((20, 30), CAMERA, Light((0, 0, 0), (200, 100, 0), (1.0, 0.5, 2.0), 0.5, 0, 0))
    assert canvas.shade((100, 100, 100), 0.0) == (100, 50, 200)
    assert canvas.shade((100, 100, 100), 1e9) == (200, 100, 0)


def test_a_figure_twice_as_far_is_half_as_tall() -> None:
    heights = []
    for z in (5.0, 10.0):
        canvas = Canvas((200, 200), CAMERA, NOON)
        Brush(canvas, (0.0, z), 7).box(-0.5, 0.0, 0.5, 2.0, (255, 0, 0))
        rows = np.flatnonzero((canvas.finish()[1] == 7).any(axis=1))
        heights.append(rows[-1] - rows[0] + 1)
        assert rows[-1] == pytest.approx(40 + 200 / z, abs=1)  # stands on the ground
    assert heights == [pytest.approx(40, abs=1), pytest.approx(20, abs=1)]


def test_mirrored_figures_look_the_other_way() -> None:
    def painted(mirrored: bool) -> np.ndarray:
        canvas = Canvas((100, 100), CAMERA, NOON)
        Brush(canvas, (0.0, 5.0), 7, mirrored=mirrored).limb((0, 0), (1, 1), 0.3, (1, 1, 1))
        return canvas.finish()[1]

    apart = painted(False) != painted(True)[:, ::-1]
    assert apart.mean() < 0.005  # the border of the fill


@pytest.mark.parametrize("size", [(64, 64), (64, 200), (192, 384), (193, 385), (300, 150)])
def test_any_size(size: tuple[int, int]) -> None:
    scenes = SyntheticStreets(size, count=6, seed=3)
    for i in range(len(scenes)):
        sample = scenes[i]
        assert sample.image.shape == (*size, 3)
        assert sample.panoptic is not None
        sample.panoptic.check()


def test_scenes_depend_on_seed_and_index_alone() -> None:
    scenes = SyntheticStreets((96, 160), count=10, seed=4)
    forward = [scenes[i] for i in range(4)]
    again = pickle.loads(pickle.dumps(scenes))
    np.random.default_rng(0).random(5)
    assert all(same(again[i], forward[i]) for i in (3, 1, 0, 2))
    longer = SyntheticStreets((96, 160), count=1000, seed=4)
    assert same(longer[2], forward[2])
    other = SyntheticStreets((96, 160), count=10, seed=5)
    assert not any(same(other[i], forward[i]) for i in range(4))


def test_threads_of_opencv_change_nothing() -> None:
    scenes = SyntheticStreets((96, 160), count=3, seed=0)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = scenes[0]
        cv2.setNumThreads(4)
        assert same(scenes[0], one)
    finally:
        cv2.setNumThreads(before)


def test_names_and_ends() -> None:
    scenes = SyntheticStreets((64, 64), count=3, seed=0)
    assert [scenes.image_id(i) for i in range(3)] == ["000000", "000001", "000002"]
    assert scenes[1].image_id == "000001"
    with pytest.raises(IndexError):
        scenes[3]


def test_scenes_are_fit_for_learning() -> None:
    scenes = SyntheticStreets(count=60, seed=11)
    seen: Counter[str] = Counter()
    counts = []
    for i in range(len(scenes)):
        panoptic = scenes[i].panoptic
        things = [s for s in panoptic.segments if LABELS.is_thing(s.class_id)]
        counts.append(len(things))
        assert all(s.area_px >= 60 for s in things)
        seen.update({LABELS.names[s.class_id] for s in panoptic.segments})
        assert (panoptic.segment_map == 0).mean() < 0.03
    assert min(counts) >= 2
    assert max(counts) <= 9
    assert 4 < np.mean(counts) < 8
    assert set(seen) == set(LABELS.names)
    assert min(seen.values()) >= 12  # each class in at least a fifth of the scenes


def test_tiny_things_become_void() -> None:
    # At 64 x 64 many things are too small to be labelled; what is listed is not.
    scenes = SyntheticStreets((64, 64), count=40, seed=0)
    void = 0.0
    for i in range(len(scenes)):
        panoptic = scenes[i].panoptic
        areas = [s.area_px for s in panoptic.segments if LABELS.is_thing(s.class_id)]
        assert min(areas, default=20) >= 20
        void += (panoptic.segment_map == 0).mean()
    assert void > 0


def test_scenes_differ_in_light() -> None:
    means = [SyntheticStreets((64, 128), count=30, seed=2)[i].image.mean() for i in range(30)]
    assert max(means) > 1.4 * min(means)


@pytest.mark.parametrize(("size", "count"), [((63, 200), 5), ((200, 10), 5), ((64, 64), 0)])
def test_sizes_and_counts_that_make_no_sense(size: tuple[int, int], count: int) -> None:
    with pytest.raises(ValueError, match="need a size of at least 64x64 and a count of at least 1"):
        SyntheticStreets(size, count)


def test_scenes_on_disk(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        drawn = SyntheticStreets((96, 192), count=2, seed=seed)
        write_dataset(drawn, tmp_path, split)
        dataset = open_coco_panoptic(tmp_path, split)
        assert dataset.labels.classes == LABELS.classes
        assert all(same(dataset[i], drawn[i]) for i in range(2))
