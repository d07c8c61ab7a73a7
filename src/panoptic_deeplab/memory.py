"""How much memory an image will need and how much there is, to refuse what cannot work.

A process that asks for more than there is gets killed on Linux, without an exception and so
without a word. Hence the check before a large image enters the network.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_PROBE_SIDE = 257  # large enough that borders do not matter, small enough to take milliseconds

# Measured peaks of resident memory lie at 1.7 to 2.0 times the probe's figure (MobileNetV3 and
# ResNet-50, 3 to 12 megapixels, torch 2.13 on a CPU): what is kept for the decoders and buffers
# of the convolutions come on top.
_OVERHEAD = 2.1


def forward_bytes(model: nn.Module, size: tuple[int, int]) -> int:
    """Estimate the memory that one image of a size needs inside a network, without its weights.

    Feature maps grow with the image's area, so the largest step of a small probe tells.

    Args:
        model: takes (1, 3, H, W) uint8; on any device.
        size: (H, W) in pixels.
    """
    largest = 0

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        largest = max(largest, _size(inputs) + _size(output))

    hooks = [m.register_forward_hook(note) for m in model.modules()]
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            model(torch.zeros((1, 3, _PROBE_SIDE, _PROBE_SIDE), dtype=torch.uint8, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return int(_OVERHEAD * largest * size[0] * size[1] / _PROBE_SIDE**2)


def available_bytes() -> int | None:
    """Memory that this process can still get; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:  # a container's own limit
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(limit) - used) if limit.isdigit() else free


def peak_bytes(device: torch.device) -> int:
    """Most memory that was in use so far: of a GPU by torch, of a CPU by this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(_size(v) for v in value.values())
    if isinstance(value, list | tuple):
        return sum(_size(v) for v in value)
    return 0
