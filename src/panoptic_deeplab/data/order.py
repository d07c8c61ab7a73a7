"""In which order the images of an epoch come, and how often each: functions of seed and epoch.

Images in single files come in any order. Those of tar shards come shard by shard, and are shuffled
within a window, so that a disk or a network reads each shard from its beginning to its end.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_REPEATS = 10
"""An image of a rare class comes up at most so often in an epoch, or it would be learned by heart;
our choice."""


def epoch_order(seed: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """Places 0 to count - 1, each order as likely."""
    return np.random.default_rng(seed).permutation(count)


def shard_order(seed: tuple[int, ...], shards: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Places in the order of their shards, which are shuffled, and shuffled within windows.

    Args:
        seed: of the order.
        shards: (N,), the number of the shard that each place lies in.
        window: places shuffled among each other; may reach over the end of a shard.

    Example:
        >>> order = shard_order((0,), np.array([0, 0, 1, 1, 2, 2]), window=2)
        >>> sorted(order.tolist()), bool(order[0] // 2 == order[1] // 2)
        ([0, 1, 2, 3, 4, 5], True)
    """
    generator = np.random.default_rng(seed)
    names, numbers = np.unique(shards, return_inverse=True)
    turn = generator.permutation(names.size)
    order = np.argsort(turn[numbers], kind="stable")
    for first in range(0, order.size, window):
        generator.shuffle(order[first : first + window])
    return order


def repeats(kinds: Sequence[str]) -> NDArray[np.int64]:
    """How often each image comes up in an epoch, by the kinds of all images.

    A kind's images are repeated by the square root of how much rarer it is than the commonest
    kind, rounded, as in arXiv:1908.03195, section 5 (repeat factor sampling).

    Example:
        >>> repeats(["dark"] * 9 + ["white"]).tolist()
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 3]
    """
    counts = Counter(kinds)
    most = max(counts.values())
    return np.array([round(math.sqrt(most / counts[kind])) for kind in kinds], np.int64)


def repeats_by_class(areas: NDArray[np.float32]) -> NDArray[np.int64]:
    """The same by the classes that images hold: the rarest class of an image decides.

    Args:
        areas: (N, K), pixels of each class in each image.

    Returns:
        (N,), 1 to `MOST_REPEATS`; images without any class come up once.

    Example:
        >>> repeats_by_class(np.array([[5, 0], [5, 0], [5, 0], [5, 2]], np.float32)).tolist()
        [1, 1, 1, 2]
    """
    holds = areas > 0
    images = holds.sum(axis=0)
    factors = np.ones(areas.shape[1])
    found = images > 0
    factors[found] = np.sqrt(images.max(initial=0) / images[found])
    largest = np.where(holds, factors, 1.0).max(axis=1, initial=1.0)
    return np.asarray(np.minimum(np.rint(largest), MOST_REPEATS), np.int64)
