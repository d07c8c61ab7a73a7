"""Time and memory of functions that are compared with one another."""

import ctypes
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np
import torch


def compare(functions: Mapping[str, Callable[[], object]], repeats: int = 7) -> dict[str, float]:
    """Median CPU milliseconds of each function, on one thread, run in turn.

    Interleaving shares out what else the machine does; the first round only warms up.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    try:
        for turn in range(repeats + 1):
            names = list(functions) if turn % 2 else list(functions)[::-1]
            for name in names:
                start = time.process_time()
                functions[name]()
                if turn:
                    seconds[name].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: 1e3 * median(values) for name, values in seconds.items()}


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
