"""Time and memory of functions that are compared with one another."""

import ctypes
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from panoptic_deeplab.bench.base import threads, time_in_turn


def compare(functions: Mapping[str, Callable[[], object]], repeats: int = 7) -> dict[str, float]:
    """Median CPU milliseconds of each function, on one thread, run in turn."""
    with threads(1):
        times = time_in_turn(functions, rounds=repeats, clock=time.process_time)
    return {name: measured.median_ms for name, measured in times.items()}


def table(
    functions: Mapping[str, Callable[[], object]],
    *,
    num_bytes: int,
    repeats: int,
    references: Mapping[str, str] | None = None,
) -> dict[str, dict[str, float]]:
    """Compare functions with one of them.

    Args:
        functions: by name.
        num_bytes: that cannot but be read and written.
        repeats: of each.
        references: name of the function each is compared with; not named: "reference".

    Returns:
        By name: milliseconds, speedup over the reference, peak_mb, and floor_milliseconds, of
        copying the bytes.
    """
    times, references = compare(functions, repeats), references or {}
    floor = copy_milliseconds(num_bytes)
    return {
        name: {
            "milliseconds": times[name],
            "speedup": times[references.get(name, "reference")] / times[name],
            "peak_mb": peak_mb(function),
            "floor_milliseconds": floor,
        }
        for name, function in functions.items()
    }


def peak_mb(function: Callable[[], object]) -> float:
    """Extra resident megabytes at the worst moment of a call, its result included (Linux)."""
    function()
    # Memory that the allocator keeps for later calls would otherwise hide what this one takes.
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest level so far
    result = function()
    peak = _status("VmHWM") - before
    del result
    return peak / 1024


def copy_milliseconds(num_bytes: int) -> float:
    """Time to read and write half of these bytes each, in memory that is already there."""
    source = np.ones(num_bytes // 2, np.uint8)
    target = np.zeros_like(source)
    return compare({"copy": lambda: np.copyto(target, source)})["copy"]


def _status(field: str) -> int:
    """Kilobytes from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}; memory is measured on Linux only.")
