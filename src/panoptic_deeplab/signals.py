"""Signals that ask a long run to end: it finishes what it is at, saves, and ends."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

logger = logging.getLogger(__name__)


class Stoppable(Protocol):
    """A run that looks at `stop` between its steps."""

    stop: bool


@contextmanager
def stop_asked(run: Stoppable) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run after the current step, with the state saved."""

    def ask_to_stop(signum: int, frame: FrameType | None) -> None:
        if run.stop:  # asked twice: at once
            raise KeyboardInterrupt
        run.stop = True
        logger.warning("Finishing this step, then saving. Once more to stop at once.")

    try:
        before = [(s, signal.signal(s, ask_to_stop)) for s in (signal.SIGINT, signal.SIGTERM)]
    except ValueError:  # not the main thread: whoever runs us handles signals
        before = []
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
