"""Training batches that keep coming although a worker of the loader has been killed.

Systems short of memory kill workers. What a batch holds depends on its step alone
(`data/loading.py`), so new workers begin where the dead ones stopped, and the run's result is the
same.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from panoptic_deeplab.data.ahead import fetched_ahead
from panoptic_deeplab.structures import Batch

logger = logging.getLogger(__name__)

TRIES = 3
"""In which one and the same batch may lose its workers; more would hide a machine too small."""

_SECONDS_TO_DIE = 0.5  # a killed process first closes its pipes; then it is known to be dead

_SECONDS_TO_END = 5.0  # our choice


def lasting_batches(
    open_at: Callable[[int], DataLoader[Batch]], first_step: int = 0
) -> Iterator[Batch]:
    """Batches from a step to the end, one of which is always fetched ahead.

    Args:
        open_at: makes the loader whose first batch is that of a step.
        first_step: where to begin.

    Raises:
        ChildProcessError: if workers are killed `TRIES` times before one batch is there.
        Exception: whatever the loader raises while its workers live.
    """
    step, losses = first_step, 0
    with _deaths_told_by_streams() as quiet:
        while True:
            stream = iter(open_at(step))
            quiet()
            try:
                for batch in fetched_ahead(stream):
                    yield batch
                    step, losses = step + 1, 0
                return
            except Exception as error:
                killed = _killed_workers(stream)
                if not killed:
                    raise
                _end(stream)
                losses += 1
                if losses == TRIES:
                    raise ChildProcessError(
                        f"Workers that read images were killed {losses} times before step {step} "
                        f"({killed[0]}), most likely since memory is short. Lower data.workers or "
                        "data.cache_mb; the last checkpoint is kept."
                    ) from error
            logger.warning(
                "A worker that reads images was killed before step %d (%s); new ones go on there. "
                "If memory is short, lower data.workers or data.cache_mb.",
                step,
                killed[0],
            )


@contextmanager
def _deaths_told_by_streams() -> Iterator[Callable[[], None]]:
    """Let a worker's death show where a batch is asked for, and nowhere else.

    torch raises it from a signal handler as well, in the middle of whatever else is going on, such
    as half an optimizer's step. It sets the handler when the first stream of a process is opened.

    Yields:
        What to call when a stream was opened. At the end the handler is as torch left it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "SIGCHLD"):  # no handler is set then; Windows has none
        yield lambda: None
        return
    before = signal.getsignal(signal.SIGCHLD)

    def quiet() -> None:
        nonlocal before
        now = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        before = before if now == signal.SIG_DFL else now

    try:
        yield quiet
    finally:
        if before is not None:  # None: not set by Python, which then cannot set it again
            signal.signal(signal.SIGCHLD, before)


def _workers(stream: Any) -> list[Any]:
    return getattr(stream, "_workers", [])  # none where the main process reads by itself


def _killed_workers(stream: Any) -> list[str]:
    """The signals that ended workers."""
    for worker in _workers(stream):
        worker.join(_SECONDS_TO_DIE / len(_workers(stream)))
    codes = [worker.exitcode or 0 for worker in _workers(stream)]
    return [signal.Signals(-code).name for code in codes if -code in set(signal.Signals)]


def _end(stream: Any) -> None:
    """At once: what is left of the workers may wait for ever for one that is dead."""
    for worker in _workers(stream):
        worker.kill()
    # As torch does with streams that nobody holds any more, but in a thread: it takes locks, which
    # a dead worker may hold.
    ending = threading.Thread(target=stream.__del__, daemon=True)
    ending.start()
    ending.join(_SECONDS_TO_END)
