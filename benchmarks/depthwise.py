"""One training step of a depthwise convolution on the CPU: ours against torch's own.

python -m benchmarks.depthwise prints the table at the head of `panoptic_deeplab/depthwise.py`.
"""

from functools import partial

import torch
from benchmarks.measure import compare
from torch import Tensor, nn

from panoptic_deeplab.depthwise import DepthwiseConv

FORMS = ((160, 5, 1, 64), (240, 5, 1, 32), (576, 5, 2, 17), (576, 3, 6, 17), (576, 3, 18, 17))
"""Channels, kernel, dilation and side of the map, as in decoders, MobileNetV3 and its ASPP."""


def bench_depthwise(batch: int = 8, repeats: int = 7) -> list[dict[str, float]]:
    """Milliseconds of forward and backward pass in bfloat16, on one thread.

    Returns:
        One dict per form of `FORMS`: the form, `milliseconds`, `reference_milliseconds`, `speedup`.
    """
    rows = []
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
        times = compare(
            {"ours": partial(_step, ours, x), "torch": partial(_step, plain, x)}, repeats
        )
        rows.append(
            {
                **{"channels": channels, "kernel": kernel, "dilation": dilation, "side": side},
                "milliseconds": times["ours"],
                "reference_milliseconds": times["torch"],
                "speedup": times["torch"] / times["ours"],
            }
        )
    return rows


def _step(conv: nn.Module, x: Tensor) -> None:
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    out.backward(torch.ones_like(out))


if __name__ == "__main__":
    for row in bench_depthwise():
        form = "{kernel}x{kernel}, dilation {dilation}, {channels} x {side} x {side}".format(**row)
        times = "{reference_milliseconds:6.1f} | {milliseconds:6.1f}".format(**row)
        print(f"{form:36s}{times}")
