"""Batches fetched from the workers while the network computes.

A worker's batch lies in shared memory; taking it over costs some milliseconds for each step. A
thread does that for the next batch while the current one is used, as torch's loader does by itself
where memory is pinned for a GPU.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def fetched_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, of which one is always fetched ahead, in a thread.

    Raises:
        Exception: whatever the items raise, in its place among them.

    Example:
        >>> list(fetched_ahead([1, 2, 3]))
        [1, 2, 3]
    """
    source = iter(items)
    end = object()
    with ThreadPoolExecutor(1, "fetch") as thread:
        coming = thread.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, source, end)
            yield item  # type: ignore[misc]  # not the end: an item
