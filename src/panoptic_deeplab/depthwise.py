"""Depthwise convolution whose training on a CPU does not wait for slow kernels.

oneDNN's depthwise convolutions are fast forward (up to dilation 4) and slow backward. Milliseconds
of one forward and backward pass, batch of 8, one core, torch's own against the form used here
(`panoptic-deeplab bench depthwise`, with other work on the machines):

                                      bfloat16      float32
                                       AVX-512         AVX2
    5x5, dilation 1, 160 x 64 x 64     218 | 52               weight gradient from 3x3 blocks
    5x5, dilation 2, 576 x 17 x 17      66 | 17     134 | 50  weight gradient from shifted products
    3x3, dilation 6, 576 x 17 x 17      46 |  8      98 | 31  and input gradient by flipped taps
    3x3, dilation 18, 576 x 17 x 17    114 |  7     120 | 14  the same, on one grid per phase

They are the same sums in another grouping. Only training on a CPU takes them, the first form only
under autocast; everywhere else torch's own convolution runs.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

Pair = tuple[int, int]

_FAR = {torch.bfloat16: 6}
"""Up to this dilation torch's forward convolution is the faster one (measured, AVX-512: 1 to 6)."""

_FAR_ELSE = 4
"""The same in other types (measured, float32, AVX2: 2 to 4; at 6 torch's takes 3 to 14 times as
long)."""


class DepthwiseConv(nn.Conv2d):
    """k x k convolution of each channel with itself, without bias; keys as in `nn.Conv2d`.

    Args:
        channels: C of input and output.
        kernel_size: odd.
        stride: 1 or 2.
        dilation: distance between taps.
    """

    def __init__(
        self, channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(
            channels,
            channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        stride, dilation = self.stride[0], self.dilation[0]
        autocast = torch.is_autocast_enabled("cpu")
        dilated = stride == 1 and dilation > 1
        blocks = autocast and self.kernel_size[0] == 5 and dilation == 1
        if not ((dilated or blocks) and self._trains_on_cpu(x)):
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu") if autocast else self.weight.dtype
        function = _Dilated if dilated else _Dense5x5
        with torch.autocast("cpu", enabled=False):
            out: Tensor = function.apply(  # type: ignore[no-untyped-call]
                x.to(dtype), self.weight.to(dtype), dilation if dilated else stride
            )
        return out

    def _trains_on_cpu(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and torch.is_grad_enabled()
            and self.weight.requires_grad
            and (x.dtype == self.weight.dtype or torch.is_autocast_enabled("cpu"))
        )


class _Dense5x5(torch.autograd.Function):
    """5x5, dilation 1: the weight gradient from four 3x3 blocks of taps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, 2, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        grad_x = _input_gradient(grad, x, weight, ctx.stride)
        return grad_x, _weight_gradient_by_blocks(grad, x, weight, ctx.stride), None


class _Dilated(torch.autograd.Function):
    """Any odd kernel, stride 1, dilation above 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolve(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        # With stride 1 the transposed convolution is the convolution with flipped taps.
        grad_x = _convolve(grad, weight.flip(2, 3), ctx.dilation)
        return grad_x, _weight_gradient_by_shifts(grad, x, weight, ctx.dilation), None


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    kernel, (height, width) = weight.shape[2], x.shape[2:]
    if dilation <= _FAR.get(x.dtype, _FAR_ELSE):
        padding = dilation * (kernel // 2)
        return F.conv2d(x, weight, None, 1, padding, dilation, x.shape[1])
    # Pixels a dilation apart meet only each other, so each phase is a small image of its own.
    phases = _split_phases(x, dilation)
    return _join_phases(
        F.conv2d(phases, weight, None, 1, kernel // 2, 1, x.shape[1]), dilation, height, width
    )


def _split_phases(x: Tensor, dilation: int) -> Tensor:
    """(B, C, H, W) -> (B * dilation ** 2, C, ceil(H / dilation), ceil(W / dilation))."""
    batch, channels, height, width = x.shape
    h, w = -(-height // dilation), -(-width // dilation)
    rows = x.permute(0, 2, 3, 1)  # (B, H, W, C): whole pixels are moved
    rows = F.pad(rows, (0, 0, 0, w * dilation - width, 0, h * dilation - height))
    rows = rows.view(batch, h, dilation, w, dilation, channels).permute(0, 2, 4, 1, 3, 5)
    return rows.reshape(batch * dilation**2, h, w, channels).permute(0, 3, 1, 2)


def _join_phases(phases: Tensor, dilation: int, height: int, width: int) -> Tensor:
    """The inverse of `_split_phases`."""
    channels, h, w = phases.shape[1:]
    rows = phases.permute(0, 2, 3, 1).reshape(-1, dilation, dilation, h, w, channels)
    rows = rows.permute(0, 3, 1, 4, 2, 5).reshape(-1, h * dilation, w * dilation, channels)
    return rows[:, :height, :width].permute(0, 3, 1, 2)


def _weight_gradient_by_shifts(grad: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """(C, 1, k, k): for each tap, the sum of input times gradient where both exist."""
    exact = torch.promote_types(x.dtype, torch.float32)  # sums over a whole map
    seen, wanted = (maps.permute(0, 2, 3, 1).to(exact) for maps in (x, grad))
    kernel, (height, width) = weight.shape[2], x.shape[2:]
    result = torch.zeros_like(weight)  # taps that reach beyond the map stay 0
    for i, (up, down) in enumerate(shifts(kernel, dilation, height)):
        for j, (left, right) in enumerate(shifts(kernel, dilation, width)):
            product = seen[:, down, right] * wanted[:, up, left]
            result[:, 0, i, j] = product.sum((0, 1, 2))
    return result


def shifts(kernel: int, dilation: int, length: int) -> Iterator[tuple[slice, slice]]:
    """For each tap along one axis: the outputs that have it inside the map, and the inputs."""
    for tap in range(kernel):
        shift = (tap - kernel // 2) * dilation
        count = max(length - abs(shift), 0)
        first = max(-shift, 0)
        yield slice(first, first + count), slice(first + shift, first + shift + count)


def _weight_gradient_by_blocks(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """(C, 1, 5, 5), from the 3x3 blocks at taps 0 and 2; those they share come out equal."""
    padded = F.pad(x, (2, 2, 2, 2))
    height = (grad.shape[2] - 1) * stride + 3  # what a 3x3 block looks at
    width = (grad.shape[3] - 1) * stride + 3
    result = torch.empty_like(weight)
    for i in (0, 2):
        for j in (0, 2):
            seen = padded[:, :, i : i + height, j : j + width]
            seen = seen.contiguous(memory_format=torch.channels_last)
            part = conv2d_weight(  # type: ignore[no-untyped-call]
                seen, (len(weight), 1, 3, 3), grad, stride, groups=len(weight)
            )
            result[:, :, i : i + 3, j : j + 3] = part
    return result


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Of a 5x5 convolution. `torch.nn.grad` has the same, but not in the memory format of x."""
    result: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        [stride, stride],
        [2, 2],
        [1, 1],
        False,
        [0, 0],
        x.shape[1],
        [True, False, False],
    )
    return result[0]
