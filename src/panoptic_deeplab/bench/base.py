"""What every bench returns, and how functions are timed against one another."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from rich.progress import Progress


@dataclass(frozen=True)
class Result:
    """Of one bench.

    Attributes:
        title: what was compared, on what.
        columns: of the table; the first names what was compared.
        rows: its cells.
        plain: the same for JSON, with all that is needed to repeat it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    plain: Mapping[str, Any]


@dataclass(frozen=True)
class Times:
    """Of one function, in seconds.

    Attributes:
        seconds: of each round.
    """

    seconds: Sequence[float]

    @property
    def median_ms(self) -> float:
        """Milliseconds in the middle."""
        return 1e3 * median(self.seconds)

    @property
    def fastest_ms(self) -> float:
        """Milliseconds of the best round: the least disturbed by what else the machine does."""
        return 1e3 * min(self.seconds)

    def times_as_long_as(self, other: "Times") -> float:
        """The ratio in the middle, round by round: what slowed a whole round down cancels out."""
        return median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def time_in_turn(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress | None = None,
) -> dict[str, Times]:
    """Time functions in one interleaved run.

    Each round calls every function once, forwards and backwards in turn, so that what else the
    machine does is shared out. One round before the first only warms up.

    Args:
        functions: by name.
        rounds: that count, at least 1.
        clock: gives seconds; `time.process_time` leaves out what else the machine does.
        progress: shows the rounds.

    Raises:
        ValueError: if there is no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}. Use 5 or more to compare.")
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    task = progress.add_task("rounds", total=rounds + 1) if progress is not None else None
    for turn in range(rounds + 1):
        for name in list(functions)[:: 1 if turn % 2 else -1]:
            start = clock()
            functions[name]()
            if turn:
                seconds[name].append(clock() - start)
        if progress is not None and task is not None:
            progress.advance(task)
    return {name: Times(values) for name, values in seconds.items()}


def checked_device(name: str) -> torch.device:
    """Find one of torch's devices; empty: a GPU if there is one, else the CPU.

    Raises:
        ValueError: if this machine has none of that name.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(
            f"torch finds no device {name!r} on this machine. Use cpu, or cuda where there is a "
            "GPU and torch is built for it."
        ) from None
    return device


@contextmanager
def threads(number: int) -> Iterator[int]:
    """Let torch use this many threads for a while; 0: its own choice. Gives the number used.

    Raises:
        ValueError: if the number is negative.
    """
    if number < 0:
        raise ValueError(f"threads must not be negative, got {number}. Use 0 for torch's choice.")
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
