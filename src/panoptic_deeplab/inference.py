"""A copy of a network made for predicting: less arithmetic, the same results.

In: a network of convolutions and batch norms. Out: a copy in evaluation mode without gradients, in
which batch norms are folded into the convolutions before them, weights lie in channels-last order,
and depthwise convolutions with far-apart taps are sums of shifted maps. Milliseconds of such a
layer, 3x3, 2048 x 32 x 64, one AVX2 core (other work ran on the machine):

    dilation     torch, channels last     torch, contiguous     shifted
    2                               6                    11          41
    6                             620                    63          35
    12                            617                    57          29
    18                            502                    37          23
"""

from copy import deepcopy
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from panoptic_deeplab.decoder import Head, PooledBranch
from panoptic_deeplab.depthwise import DepthwiseConv, shifts
from panoptic_deeplab.dilated import DilatedConv
from panoptic_deeplab.layers import FrozenBatchNorm2d

Network = TypeVar("Network", bound=nn.Module)

CONVOLUTIONS = (nn.Conv2d, DepthwiseConv, DilatedConv)
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)
"""What can be folded: exactly these, since what others derive from them may do more."""

SHIFT_FROM = 6
"""Dilation from which shifted sums are the faster form; at 2 torch's own is (see above)."""


POINTWISE_DILATION = (2, 2)
"""Of 1x1 convolutions, where it means nothing; but on one thread torch sends those without one to
a matrix product with copies around it, and others to oneDNN, which is up to 2.4 times as fast."""


def optimize(model: Network, *, dtype: torch.dtype = torch.float32) -> Network:
    """Copy a network for predicting; the original stays as it is.

    Batch norms are folded that follow a convolution in an `nn.Sequential`, as in all networks of
    this package, and those of the image pooling. Others, such as timm's, stay.

    Args:
        model: any network of this package.
        dtype: of weights and feature maps; predictors always compute in float32.

    Raises:
        ValueError: if dtype is neither float32 nor bfloat16.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(
            f"dtype must be torch.float32 or torch.bfloat16, got {dtype}. float16 overflows in "
            "sums over many channels; use bfloat16."
        )
    copy = deepcopy(model).eval().requires_grad_(False).float()
    for part in list(copy.modules()):
        if isinstance(part, nn.Sequential):
            _fold_sequence(part)
        elif isinstance(part, PooledBranch) and _can_fold(part.norm):
            part.conv, part.norm = fold(part.conv, part.norm), nn.Identity()
    if next(copy.parameters()).device.type == "cpu":
        _suit_a_cpu(copy)
    if dtype != torch.float32:
        _lower_precision(copy, dtype)
    copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copy


def _suit_a_cpu(model: nn.Module) -> None:
    """Compute the convolutions that oneDNN is slow at in another way."""
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if _is_convolution(child) and _is_better_shifted(child):
                setattr(part, name, ShiftedDepthwise(child))
            elif _is_convolution(child) and _is_pointwise(child):
                child.dilation = POINTWISE_DILATION


def fold(conv: nn.Conv2d, norm: _BatchNorm) -> nn.Conv2d:
    """Make one convolution, with bias, of a convolution and the batch norm behind it.

    Args:
        conv: (C, ...) weights.
        norm: of C channels, with statistics.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # In float64, so that folding costs one rounding.
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = -norm.running_mean.double() * scale
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    if conv.bias is not None:
        bias = bias + conv.bias.double() * scale
    folded = deepcopy(conv)
    weight = conv.weight.double() * scale[:, None, None, None]
    folded.weight = nn.Parameter(weight.float(), requires_grad=False)
    folded.bias = nn.Parameter(bias.float(), requires_grad=False)
    return folded.eval()


class ShiftedDepthwise(nn.Module):
    """A depthwise convolution of stride 1 as a sum of shifted maps, one per tap.

    Args:
        conv: whose weights it takes.
    """

    taps: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.dilation, self.kernel_size = conv.dilation[0], conv.kernel_size[0]
        self.register_buffer("taps", conv.weight.detach()[:, 0].permute(1, 2, 0).contiguous())
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        pixels = x.permute(0, 2, 3, 1)  # a row of channels per pixel: whole rows are shifted
        middle = self.kernel_size // 2
        if self.bias is None:
            total = pixels * self.taps[middle, middle]
        else:
            total = torch.addcmul(self.bias, pixels, self.taps[middle, middle])
        for i, (above, rows) in enumerate(shifts(self.kernel_size, self.dilation, x.shape[2])):
            for j, (left, columns) in enumerate(
                shifts(self.kernel_size, self.dilation, x.shape[3])
            ):
                is_inside = above.start < above.stop and left.start < left.stop
                if is_inside and (i, j) != (middle, middle):
                    total[:, above, left].addcmul_(pixels[:, rows, columns], self.taps[i, j])
        return total.permute(0, 3, 1, 2)


class InFloat32(nn.Module):
    """Computes in float32 whatever it is given.

    Args:
        inner: with float32 weights.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of any floating type to float32."""
        out: Tensor = self.inner(x.float())
        return out


def _fold_sequence(sequence: nn.Sequential) -> None:
    """Fold every batch norm that follows a convolution directly."""
    previous: tuple[str, nn.Module] | None = None
    for name, part in list(sequence.named_children()):
        if previous and _is_convolution(previous[1]) and _can_fold(part):
            setattr(sequence, previous[0], fold(previous[1], part))
            delattr(sequence, name)
        previous = name, part


def _is_convolution(part: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(part) in CONVOLUTIONS


def _can_fold(part: nn.Module) -> TypeGuard[_BatchNorm]:
    return type(part) in NORMS and part.running_mean is not None


def _is_better_shifted(conv: nn.Conv2d) -> bool:
    """Whether it is depthwise, of stride 1, 3x3, with taps far apart, on a map of its own size."""
    dilation = conv.dilation[0]
    return (
        dilation >= SHIFT_FROM
        and conv.dilation == conv.padding == (dilation, dilation)
        and conv.groups == conv.in_channels == conv.out_channels
        and conv.stride == (1, 1)
        and conv.kernel_size == (3, 3)
        and conv.padding_mode == "zeros"
    )


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.padding == (0, 0)


def _lower_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Weights in another type, but for the predictors: heads have more than eight bits to say."""
    kept = {id(tensor): tensor for name, tensor in model.named_buffers() if "pixel_" in name}
    heads = [part for part in model.modules() if isinstance(part, Head)]
    for head in heads:
        kept |= {id(tensor): tensor for tensor in head.predict.parameters()}
        head.predict = InFloat32(head.predict)  # type: ignore[assignment]
    for part in model.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_floating_point() and id(tensor) not in kept:
                    lower = tensor.detach().to(dtype)
                    is_weight = isinstance(tensor, nn.Parameter)
                    tensors[name] = nn.Parameter(lower, False) if is_weight else lower  # type: ignore[assignment]
