"""One training step of a depthwise convolution on the CPU: ours against torch's own.

Prints the table at the head of `panoptic_deeplab/depthwise.py`.
"""

from collections.abc import Callable
from functools import partial

import torch
from rich.progress import Progress
from torch import Tensor, nn

from panoptic_deeplab.bench.measure import REFERENCE, Row, table
from panoptic_deeplab.depthwise import DepthwiseConv

FORMS = ((160, 5, 1, 64), (576, 5, 2, 17), (576, 3, 6, 17), (576, 3, 18, 17))
"""Channels, kernel, dilation and side of the map, as in decoders, MobileNetV3 and its ASPP."""


def bench_depthwise(
    *, batch: int = 8, dtype: torch.dtype, repeats: int = 7, progress: Progress | None = None
) -> dict[str, Row]:
    """Time forward and backward pass on one thread, in channels-last order as in training.

    Args:
        batch: B.
        dtype: torch.float32, or torch.bfloat16 for autocast.
        repeats: of each.
        progress: shows the rounds.

    Returns:
        For each form of `FORMS`: milliseconds, speedup over torch's own convolution, peak_mb,
        floor_milliseconds (reading map, gradient and weights and writing map and gradients once),
        and torch_milliseconds.
    """
    rows: dict[str, Row] = {}
    for channels, kernel, dilation, side in FORMS:
        ours = DepthwiseConv(channels, kernel, dilation=dilation)
        plain = nn.Conv2d(
            channels,
            channels,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=channels,
            bias=False,
        )
        x = torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last)
        functions: dict[str, Callable[[], object]] = {
            name: partial(_step, conv, x, dtype)
            for name, conv in (("ours", ours), (REFERENCE, plain))
        }
        num_bytes = dtype.itemsize * (4 * x.numel() + 3 * ours.weight.numel())
        found = table(functions, num_bytes=num_bytes, repeats=repeats, progress=progress)
        name = f"{kernel}x{kernel}, dilation {dilation}, {channels} x {side} x {side}"
        rows[name] = found["ours"] | {"torch_milliseconds": found[REFERENCE]["milliseconds"]}
    return rows


def _step(conv: nn.Module, x: Tensor, dtype: torch.dtype) -> None:
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = conv(x)
    out.backward(torch.ones_like(out))
