"""Time and memory of functions that are compared with a reference, as rows of a table."""

import ctypes
import platform
import time
from collections.abc import Callable, Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from panoptic_deeplab.bench.base import Result, threads, time_in_turn

Row = dict[str, float]
"""What was measured of one function, by the name of the figure."""

REFERENCE = "reference"

_TITLES = {
    "milliseconds": "ms",
    "speedup": "speedup",
    "peak_mb": "peak MB",
    "floor_milliseconds": "floor ms",
}


def compare(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 7,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Median CPU milliseconds of each function, on one thread, run in turn."""
    with threads(1):
        times = time_in_turn(functions, rounds=repeats, clock=time.process_time, progress=progress)
    return {name: measured.median_ms for name, measured in times.items()}


def table(
    functions: Mapping[str, Callable[[], object]],
    *,
    num_bytes: int,
    repeats: int,
    references: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Compare functions with one of them.

    Args:
        functions: by name.
        num_bytes: that cannot but be read and written.
        repeats: of each.
        references: name of the function each is compared with; not named: "reference".
        progress: shows the rounds.

    Returns:
        By name: milliseconds, speedup over the reference, peak_mb, and floor_milliseconds, of
        copying the bytes.
    """
    times, references = compare(functions, repeats, progress), references or {}
    floor = copy_milliseconds(num_bytes)
    return {
        name: {
            "milliseconds": times[name],
            "speedup": times[references.get(name, REFERENCE)] / times[name],
            "peak_mb": peak_mb(function),
            "floor_milliseconds": floor,
        }
        for name, function in functions.items()
    }


def as_result(
    title: str, rows: Mapping[str, Row], settings: Mapping[str, Any], *, clock: str = "CPU time"
) -> Result:
    """Rows as a table, and as plain values in which the first row's figures also stand alone.

    Args:
        title: what was compared with what.
        rows: by name; the first is the one that matters most.
        settings: what is needed to repeat it.
        clock: that was read.
    """
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    plain = {
        name: {key: or_none(value) for key, value in row.items()} for name, row in rows.items()
    }
    first = next(iter(rows))
    return Result(
        title=f"{title}; {clock}, median of interleaved runs",
        columns=["", *(_TITLES.get(key, key.replace("_", " ")) for key in keys)],
        rows=[[name, *(_cell(row.get(key, nan)) for key in keys)] for name, row in rows.items()],
        plain={
            "measured": first,
            **plain[first],
            **settings,
            "machine": machine(),
            "torch": torch.__version__,
            "results": [{"name": name, **row} for name, row in plain.items()],
        },
    )


def or_none(value: float) -> float | None:
    """A figure for JSON, which has no NaN."""
    return None if isnan(value) else value


def peak_mb(function: Callable[[], object]) -> float:
    """Extra resident megabytes at the worst moment of a call, its result included.

    NaN where the system does not tell (any but Linux).
    """
    function()
    # Memory that the allocator keeps for later calls would otherwise hide what this one takes.
    try:
        ctypes.CDLL(None).malloc_trim(0)
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest level so far
        result = function()
        peak = _status("VmHWM") - before
    except (OSError, AttributeError, TypeError):
        return nan
    del result
    return peak / 1024


def copy_milliseconds(num_bytes: int) -> float:
    """Time to read and write half of these bytes each, in memory that is already there."""
    source = np.ones(num_bytes // 2, np.uint8)
    target = np.zeros_like(source)
    return compare({"copy": lambda: np.copyto(target, source)})["copy"]


def machine() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    wide = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {wide}"


def _status(field: str) -> int:
    """Kilobytes from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}; memory is measured on Linux only.")


def _cell(value: float) -> str:
    if isnan(value):
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
