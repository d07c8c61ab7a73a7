"""Orders of an epoch: every place once, shards one after the other, rare images more often."""

import numpy as np

from panoptic_deeplab.data.order import (
    MOST_REPEATS,
    epoch_order,
    repeats,
    repeats_by_class,
    shard_order,
)


def test_orders_hold_every_place_once_and_depend_on_the_seed() -> None:
    shards = np.repeat(np.arange(5), 8)
    for order in (lambda s: epoch_order((s,), 40), lambda s: shard_order((s,), shards, 6)):
        assert sorted(order(0).tolist()) == list(range(40))
        assert np.array_equal(order(0), order(0))
        assert not np.array_equal(order(0), order(1))


def test_shards_come_one_after_the_other() -> None:
    shards = np.repeat([3, 1, 2], 4)
    order = shard_order((7,), shards, window=4)
    assert all(len(set(shards[order[i : i + 4]])) == 1 for i in (0, 4, 8))
    assert any(order[i : i + 4].tolist() != sorted(order[i : i + 4]) for i in (0, 4, 8))
    mixed = shard_order((7,), shards, window=12)
    assert len(set(shards[mixed[:4]])) > 1


def test_repeats_by_kind() -> None:
    assert repeats(["a"] * 16 + ["b"]).tolist() == [1] * 16 + [4]


def test_repeats_by_class() -> None:
    areas = np.zeros((9, 3), np.float32)
    areas[:, 0] = 100
    areas[0, 1] = 1  # in one of nine images
    assert repeats_by_class(areas).tolist() == [3] + [1] * 8
    areas[:] = 0
    assert repeats_by_class(areas).tolist() == [1] * 9
    many = np.zeros((1000, 2), np.float32)
    many[:, 0], many[0, 1] = 1, 1
    assert repeats_by_class(many)[0] == MOST_REPEATS
