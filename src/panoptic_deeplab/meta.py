"""Networks without numbers: only the shapes of what they compute, quickly.

On torch's meta device tensors have a shape and no memory. Its own kernels for that device are
written in Python and take milliseconds an operation, and load torch's compiler; here the
operations that networks consist of take microseconds. Others are left to torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten

Arguments = tuple[Any, ...]


def _conv(args: Arguments) -> list[int]:
    x, weight, _, strides, paddings, dilations = args[:6]
    size = [
        (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for n, kernel, stride, padding, dilation in zip(
            x.shape[2:], weight.shape[2:], strides, paddings, dilations, strict=True
        )
    ]
    return [x.shape[0], weight.shape[0], *size]


def _same(args: Arguments) -> Sequence[int]:
    shape: torch.Size = args[0].shape
    return shape


def _broadcast(args: Arguments) -> Sequence[int]:
    shapes = [x.shape for x in args[:2] if isinstance(x, Tensor)]
    if shapes[0] == shapes[-1]:
        return shapes[0]
    shape: torch.Size = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    return shape


def _resized(args: Arguments) -> list[int]:
    return [*args[0].shape[:2], *args[1]]


def _reduced(args: Arguments) -> list[int]:
    x, axes = args[:2]
    keep = len(args) > 2 and args[2]
    reduced = {axis % x.ndim for axis in axes}
    return [1 if i in reduced else n for i, n in enumerate(x.shape) if keep or i not in reduced]


def _joined(args: Arguments) -> list[int]:
    parts = args[0]
    axis = args[1] if len(args) > 1 else 0
    shape = list(parts[0].shape)
    shape[axis] = sum(x.shape[axis] for x in parts)
    return shape


_SHAPES: dict[Any, Callable[[Arguments], Sequence[int]]] = {
    _aten.convolution.default: _conv,
    _aten.relu.default: _same,
    _aten.hardsigmoid.default: _same,
    _aten.add.Tensor: _broadcast,
    _aten.sub.Tensor: _broadcast,
    _aten.mul.Tensor: _broadcast,
    _aten.div.Tensor: _broadcast,
    _aten.mean.dim: _reduced,
    _aten.upsample_bilinear2d.default: _resized,
    _aten.cat.default: _joined,
}
"""Shape of the one result of an operation."""

_IN_PLACE = {
    _aten.relu_.default,
    _aten.hardswish_.default,
    _aten.hardtanh_.default,
    _aten.add_.Tensor,
    _aten.normal_.default,
    _aten.uniform_.default,
    _aten.zero_.default,
    _aten.fill_.Scalar,
}
"""Operations that give back what they are given."""


class QuickMeta(TorchDispatchMode):
    """While it is on, operations on meta tensors cost next to nothing.

    Example:
        >>> with torch.device("meta"), QuickMeta():
        ...     torch.nn.Conv2d(3, 8, 3, stride=2)(torch.empty(1, 3, 9, 9)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks this; its default loads the compiler, which takes seconds."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Arguments = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        first = args[0] if args else None
        if isinstance(first, (list, tuple)) and first:
            first = first[0]
        if isinstance(first, Tensor) and first.is_meta:
            if func in _IN_PLACE:
                return first
            if func is _aten.native_batch_norm.default:
                none = torch.empty(0, device="meta")
                return torch.empty(first.shape, dtype=first.dtype, device="meta"), none, none
            if func in _SHAPES:
                return torch.empty(_SHAPES[func](args), dtype=first.dtype, device="meta")
        return func(*args, **(kwargs or {}))
