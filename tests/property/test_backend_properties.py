"""Every back end of grouping gives the plain one's segments, on heads made to be difficult."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_deeplab import torch_resize
from panoptic_deeplab.grouping import group_outputs
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import Outputs

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)
BACKENDS = ["tensor", "numba"]


def label_space(num_classes: int) -> LabelSpace:
    return LabelSpace(
        "toy", tuple(ClassInfo(f"c{i}", i, i % 2 == 1, (0, 0, 0)) for i in range(num_classes))
    )


def draw_outputs(rng: np.random.Generator, num_classes: int) -> Outputs:
    """Noise of every roughness: smooth, rough, on a coarse grid full of ties, or all equal."""
    size = tuple(rng.integers(1, 26, 2))
    kind = rng.integers(4)

    def noise(channels: int, scale: float) -> torch.Tensor:
        values = rng.normal(0, scale, (1, channels, *size)).astype(np.float32)
        if kind == 1:
            values = np.round(values / scale * 2) * scale / 2
        elif kind == 2:
            values = torch.from_numpy(values).bfloat16().float().numpy()
        elif kind == 3:
            values[:] = values.ravel()[0]
        return torch.from_numpy(values)

    semantic = noise(num_classes, 3.0) * float(rng.choice([1e-3, 1, 1e3]))
    return Outputs(semantic, noise(1, 0.3), noise(2, float(rng.choice([0.5, 5, 200]))))


def draw_settings(rng: np.random.Generator, samples: tuple[int, int]) -> dict:
    ratio = rng.choice([0.5, 1, 3.7, 4, 8])
    size = [max(int(n * ratio), 1) for n in samples]
    if rng.random() < 0.6:  # large enough for the ways that start from the network's grid
        size = [max(n, 66) for n in size]
    crop = [int(rng.integers(1, n + 1)) for n in size] if rng.random() < 0.5 else size
    return {
        "size": tuple(size),
        "align_corners": bool(rng.integers(2)),
        "crop_size": tuple(crop),
        "output_size": (31, 47) if rng.random() < 0.2 else None,
        "threshold": 0.05,
        "nms_kernel": int(rng.choice([1, 3, 7])),
        "top_k": int(rng.choice([1, 20, 200])),
        "stuff_area_px": 20,
        "merge_plateaus": False,
        "orphans": str(rng.choice(["void", "component"])),
        "objectness_at": str(rng.choice(["center", "centroid"])),
    }


def assert_same(outputs: Outputs, labels: LabelSpace, chosen: dict, backend: str) -> None:
    expected = group_outputs(outputs, labels, **chosen, backend="plain")[0]
    found = group_outputs(outputs, labels, **chosen, backend=backend)[0]
    found.check()
    np.testing.assert_array_equal(found.segment_map, expected.segment_map)
    for ours, theirs in zip(found.segments, expected.segments, strict=True):
        assert (ours.id, ours.class_id, ours.area_px) == (
            theirs.id,
            theirs.class_id,
            theirs.area_px,
        )
        assert ours.score == (theirs.score and pytest.approx(theirs.score, rel=1e-5, abs=1e-6))


@pytest.mark.parametrize("backend", BACKENDS)
@SETTINGS
@given(seed=st.integers(0, 2**32 - 1))
def test_segments_equal_the_plain_ones(backend: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes = int(rng.choice([2, 5, 19]))
    outputs = draw_outputs(rng, num_classes)
    chosen = draw_settings(rng, tuple(outputs.semantic.shape[2:]))
    assert_same(outputs, label_space(num_classes), chosen, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_machine_that_rounds_otherwise_gets_the_same(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_resize, "sums_like_torch", lambda: False)
    rng = np.random.default_rng(0)
    outputs = draw_outputs(rng, 5)
    chosen = {"size": (70, 90), "align_corners": True, "threshold": 0.05, "stuff_area_px": 20}
    assert_same(outputs, label_space(5), chosen, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_places_far_outside_go_to_the_nearest_center_too(backend: str) -> None:
    rng = np.random.default_rng(1)
    outputs = Outputs(
        torch.from_numpy(rng.normal(0, 1, (1, 4, 20, 20)).astype(np.float32)),
        torch.from_numpy(rng.random((1, 1, 20, 20)).astype(np.float32)),
        torch.from_numpy(rng.choice([1e3, -1e3, 1e19, -3e38], (1, 2, 20, 20)).astype(np.float32)),
    )
    chosen = {"size": (80, 80), "align_corners": False, "stuff_area_px": 20}
    outputs = outputs._replace(offset=outputs.offset / 4)  # scaled by 4 on the way, stays finite
    assert_same(outputs, label_space(4), chosen, backend)


@SETTINGS
@given(seed=st.integers(0, 2**32 - 1))
def test_the_ways_of_other_devices_give_the_same(seed: int) -> None:
    """Those operations run on the CPU as well; only their choice depends on the device."""
    rng = np.random.default_rng(seed)
    outputs = draw_outputs(rng, 5)
    chosen = draw_settings(rng, tuple(outputs.semantic.shape[2:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("panoptic_deeplab.grouping_tensor._is_on_cpu", lambda values: False)
        assert_same(outputs, label_space(5), chosen, "tensor")
