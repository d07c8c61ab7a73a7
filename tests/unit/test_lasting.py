"""Batches although workers of the loader are killed."""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from panoptic_deeplab.config import AugmentConfig, DataConfig, Experiment, ScheduleConfig
from panoptic_deeplab.data.lasting import TRIES, lasting_batches
from panoptic_deeplab.data.loading import build_loader
from panoptic_deeplab.data.synthetic import LABELS
from panoptic_deeplab.structures import Batch, PanopticMap, Sample, Segment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


class Numbered:
    """Images that are their own number; `fatal` is one whose reading kills the worker."""

    labels = LABELS

    def __init__(self, fatal: int = -1) -> None:
        self.fatal = fatal

    def __len__(self) -> int:
        return 100

    def image_id(self, index: int, /) -> str:
        return f"n{index}"

    def __getitem__(self, index: int, /) -> Sample:
        if index == self.fatal and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        panoptic = PanopticMap(np.ones((8, 8), np.int32), (Segment(1, LABELS.thing_ids[0], 64),))
        return Sample(np.full((8, 8, 3), index, np.uint8), panoptic, self.image_id(index))


def opener(dataset: Numbered, workers: int, cache_mb: int = 0) -> Callable[[int], DataLoader]:
    experiment = Experiment(
        data=DataConfig(workers=workers, cache_mb=cache_mb),
        augment=AugmentConfig(crop_size=(8, 8)),
        schedule=ScheduleConfig(iterations=20, batch_size=4),
    )
    return partial(build_loader, dataset, experiment)


def assert_equal(got: list[Batch], expected: list[Batch]) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert torch.equal(mine.image, theirs.image)


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_new_workers_go_on_where_the_dead_ones_stopped(caplog, cache_mb):
    expected = list(opener(Numbered(), 0)(3))
    before = set(multiprocessing.active_children())
    batches = lasting_batches(opener(Numbered(), 2, cache_mb), 3)
    got = []
    with caplog.at_level(logging.WARNING):
        for batch in batches:
            got.append(batch)
            if len(got) in (2, 5):
                victim = (set(multiprocessing.active_children()) - before).pop()
                victim.kill()
    assert_equal(got, expected)
    assert 1 <= len(caplog.messages) <= 2  # batches on their way may outlast both
    assert all("was killed before step" in m and "SIGKILL" in m for m in caplog.messages)
    assert set(multiprocessing.active_children()) <= before


def test_a_batch_that_kills_every_worker_ends_in_a_sentence(caplog):
    first = next(iter(opener(Numbered(), 0)(0)))
    batches = lasting_batches(opener(Numbered(fatal=int(first.image[2, 0, 0, 0])), 1))
    with pytest.raises(ChildProcessError, match=f"killed {TRIES} times before step 0 .*SIGKILL"):
        next(batches)
    assert len(caplog.messages) == TRIES - 1


def test_torch_does_not_raise_from_a_signal_and_gets_its_handler_back():
    list(opener(Numbered(), 1)(19))  # torch has set its handler by then
    torchs = signal.getsignal(signal.SIGCHLD)
    batches = lasting_batches(opener(Numbered(), 1))
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    batches.close()
    assert signal.getsignal(signal.SIGCHLD) == torchs != signal.SIG_DFL


def test_a_worker_that_ends_by_itself_is_not_taken_for_a_killed_one(caplog):
    class Ending(Numbered):
        def __getitem__(self, index: int, /) -> Sample:
            os._exit(3)

    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        next(lasting_batches(opener(Ending(), 1)))
    assert not caplog.messages


def test_other_errors_are_not_swallowed():
    def open_at(step: int) -> list[int]:
        raise ValueError("no such loader")

    with pytest.raises(ValueError, match="no such loader"):
        next(lasting_batches(open_at))
