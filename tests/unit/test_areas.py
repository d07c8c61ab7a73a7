"""Areas and joint counts, compiled and not, count the same pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panoptic_deeplab.areas import measure_areas
from panoptic_deeplab.kernels.joint import count_pairs
from panoptic_deeplab.structures import count_ids


def runs(lengths: list[int], ids: list[int]) -> np.ndarray:
    return np.repeat(np.resize(ids, len(lengths)), lengths).astype(np.int32)


LENGTHS = st.lists(st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 100]), min_size=1, max_size=30)
IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5)


@given(LENGTHS, IDS)
def test_areas_are_those_of_numpy(lengths: list[int], ids: list[int]) -> None:
    flat = runs(lengths, ids)
    numbers, counts = np.unique(flat, return_counts=True)
    expected = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    assert measure_areas(flat[None]) == count_ids(flat[None]) == expected


@given(LENGTHS, IDS, LENGTHS, IDS)
def test_pairs_are_those_of_numpy(
    lengths: list[int], ids: list[int], other_lengths: list[int], other_ids: list[int]
) -> None:
    first, second = runs(lengths, ids), runs(other_lengths, other_ids)
    size = min(len(first), len(second))
    first, second = first[:size], second[:size]
    keys, counts = np.unique(first.astype(np.int64) << 32 | second, return_counts=True)
    found = count_pairs(first, second)
    assert found is not None
    assert found[0].tolist() == keys.tolist()
    assert found[1].tolist() == counts.tolist()


def test_many_ids_make_the_table_grow() -> None:
    ids = np.arange(20_000, dtype=np.int32).reshape(100, 200)
    assert measure_areas(ids) == dict.fromkeys(range(20_000), 1)


def test_odd_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure_areas(np.zeros((0, 5), np.int32)) == {}
    negative = np.array([[-1, 2, 2]], np.int32)
    assert measure_areas(negative) == {-1: 1, 2: 2}
    strided = np.arange(64, dtype=np.int32).reshape(8, 8)[::2, ::2] // 8
    assert measure_areas(strided) == count_ids(strided)
    monkeypatch.setattr("panoptic_deeplab.backends.has_numba", lambda: False)
    assert measure_areas(np.full((3, 40), 7, np.int32)) == {7: 120}
