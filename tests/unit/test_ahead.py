"""Fetching ahead: order, errors, and how far ahead."""

import threading
from collections.abc import Iterator

import pytest

from panoptic_deeplab.data.ahead import fetched_ahead


def test_order_and_end() -> None:
    assert list(fetched_ahead(iter(range(50)))) == list(range(50))
    assert list(fetched_ahead([])) == []


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is damaged")

    stream = fetched_ahead(items())
    assert (next(stream), next(stream)) == (1, 2)
    with pytest.raises(ValueError, match="the third is damaged"):
        next(stream)


def test_one_is_fetched_while_one_is_used() -> None:
    asked = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(asked):
            event.set()
            yield number

    stream = fetched_ahead(items())
    assert next(stream) == 0
    assert asked[1].wait(10)
    assert not asked[2].is_set()


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    stream = fetched_ahead(iter(range(1000)))
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before
