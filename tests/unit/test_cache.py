"""The cache gives back what the data set gave, keeps to its limit, and is shared by forking."""

import multiprocessing
import pickle

import numpy as np
import pytest

from panoptic_deeplab.data.cache import CachedDataset
from panoptic_deeplab.data.synthetic import SyntheticStreets
from panoptic_deeplab.structures import Sample


class Counted(SyntheticStreets):
    """Counts how often it draws."""

    def __init__(self, count: int = 6) -> None:
        super().__init__((96, 160), count, 0)
        self.reads = 0

    def __getitem__(self, index: int, /) -> Sample:
        self.reads += 1
        return super().__getitem__(index)


def test_gives_back_the_same_without_reading_again() -> None:
    source = Counted()
    cached = CachedDataset(source, limit_mb=8, parts=1)
    first = [cached[i] for i in range(6)]
    assert source.reads == 6 == cached.num_kept
    for one, other in zip(first, (cached[i] for i in range(6)), strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.panoptic.segment_map, other.panoptic.segment_map)
        assert one.panoptic.segments == other.panoptic.segments
        assert one.image_id == other.image_id
    assert source.reads == 6
    with pytest.raises(ValueError, match="read-only"):
        cached[0].image[0] = 0


def test_keeps_to_its_limit() -> None:
    source = Counted(20)  # 107,520 bytes each and their segments: 9 in a megabyte
    cached = CachedDataset(source, limit_mb=1, parts=1)
    for _ in range(2):
        for i in range(20):
            cached[i]
    assert cached.num_kept == 9
    assert source.reads == 20 + 11
    nothing = CachedDataset(Counted(), limit_mb=1, parts=16)
    nothing[0]
    assert nothing.num_kept == 0


def test_a_pickled_copy_begins_empty() -> None:
    cached = CachedDataset(Counted(), limit_mb=8, parts=1)
    cached[0]
    copy = pickle.loads(pickle.dumps(cached))
    assert copy.num_kept == 0
    assert np.array_equal(copy[0].image, cached[0].image)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="memory is shared by forking"
)
def test_what_a_forked_process_decodes_is_kept_for_all() -> None:
    cached = CachedDataset(Counted(), limit_mb=8, parts=1)
    process = multiprocessing.get_context("fork").Process(target=cached.__getitem__, args=(3,))
    process.start()
    process.join()
    assert cached.num_kept == 1
    cached[3]
    assert cached._dataset.reads == 0
    cached[1]  # goes behind what the other process kept
    assert np.array_equal(cached[3].image, Counted()[3].image)
