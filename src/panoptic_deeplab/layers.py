"""The small parts every network here is made of, and the only place that resizes.

In: tensors (B, C, H, W). Out: the same, on another grid or with other channels. Nobody else
interpolates maps, multiplies offsets or knows what `align_corners` means. Paddings are symmetric,
so a layer of stride 2 turns n into ceil(n / 2) and odd sizes stay aligned (arXiv:1802.02611).
"""

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panoptic_deeplab.depthwise import DepthwiseConv
from panoptic_deeplab.dilated import DilatedConv
from panoptic_deeplab.shared_norm import SharedBatchNorm2d
from panoptic_deeplab.structures import Outputs

Size = tuple[int, int]
"""(height, width)."""

NORM_EPSILON = 1e-5
"""Epsilon of a batch norm where nothing else is asked for; torch's and the paper's code base's."""

NormKind = Literal["batch", "sync", "group", "frozen"]
"""Of the norms of a network: see `replace_norms`."""

MAX_GROUPS = 32
"""Groups of a group norm (its paper: 32), or the largest number below that divides the channels."""

MIN_GROUP_CHANNELS = 4
"""A group of one channel would erase a pooled 1x1 map; our choice."""


def resize(x: Tensor, size: Size, *, align_corners: bool) -> Tensor:
    """Bring a map to another grid, bilinearly.

    Args:
        x: (B, C, H, W), floating point.
        size: (H, W) of the result; the size x already has gives x itself.
        align_corners: corner samples stay on corner samples (paper) instead of the pixels'
            outer edges on the outer edges (detectron2).

    Returns:
        (B, C, *size).
    """
    if x.shape[-2] == size[0] and x.shape[-1] == size[1]:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def resize_nearest(x: Tensor, size: Size) -> Tensor:
    """Bring a map to another grid, where each pixel copies one of the old ones.

    Args:
        x: (B, C, H, W).
        size: (H, W) of the result; the size x already has gives x itself.

    Returns:
        (B, C, *size).
    """
    if x.shape[-2] == size[0] and x.shape[-1] == size[1]:
        return x
    return F.interpolate(x, size=size, mode="nearest")


def resize_offset(offset: Tensor, size: Size, *, align_corners: bool) -> Tensor:
    """Bring offsets to another grid; their values become pixels of that grid.

    Each axis is scaled by its own ratio of sample distances: H_out / H_in, or
    (H_out - 1) / (H_in - 1) with `align_corners`. # Deviation: public codes use one integer
    factor, or leave the values alone.

    Args:
        offset: (B, 2, H, W), (dy, dx) in pixels of its own grid.
        size: (H, W) of the result.
        align_corners: as in `resize`.

    Returns:
        (B, 2, *size), (dy, dx) in pixels of the new grid.

    Raises:
        ValueError: if offset has not two channels.
    """
    if offset.ndim != 4 or offset.shape[1] != 2:
        raise ValueError(
            f"offset must have shape (B, 2, H, W), got {tuple(offset.shape)}. "
            "Channels are (dy, dx); was another head's map passed instead?"
        )
    height, width = offset.shape[-2:]
    if height == size[0] and width == size[1]:
        return offset
    dy, dx = torch.split(resize(offset, size, align_corners=align_corners), 1, dim=1)
    # Two products instead of one with a vector of ratios: those may be symbols during an export.
    dy = dy * _ratio(height, size[0], align_corners)
    dx = dx * _ratio(width, size[1], align_corners)
    return torch.cat([dy, dx], dim=1)


def _ratio(before: int, after: int, align_corners: bool) -> float:
    """How many pixels of the new grid one pixel of the old one spans, along one axis."""
    if align_corners and before > 1:
        return (after - 1) / (before - 1)
    return after / before  # a single sample has no distance between corners


def upsample(outputs: Outputs, size: Size, *, align_corners: bool) -> Outputs:
    """Bring all three maps of the network to one grid, usually the image's.

    Args:
        outputs: on the network's grid (h, w).
        size: (H, W) of the result.
        align_corners: as in `resize`; a property of the model the outputs come from.

    Returns:
        The same maps on `size`, offsets in its pixels.
    """
    return Outputs(
        semantic=resize(outputs.semantic, size, align_corners=align_corners),
        center=resize(outputs.center, size, align_corners=align_corners),
        offset=resize_offset(outputs.offset, size, align_corners=align_corners),
    )


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm and activation; state-dict keys `conv.*` and `norm.*`.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: odd.
        stride: 1 or 2.
        dilation: distance between taps.
        groups: `in_channels` for a depthwise convolution.
        bias: of the convolution; some published networks have one though the norm undoes it.
        norm_epsilon: of the batch norm.
        activation: module put behind; `nn.Identity` for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm_epsilon: float = NORM_EPSILON,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        if groups == in_channels == out_channels and not bias:
            conv: nn.Conv2d = DepthwiseConv(
                in_channels, kernel_size, stride=stride, dilation=dilation
            )
        else:
            conv = (nn.Conv2d if dilation == 1 else DilatedConv)(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                groups=groups,
                bias=bias,
            )
        parts: list[tuple[str, nn.Module]] = [
            ("conv", conv),
            ("norm", nn.BatchNorm2d(out_channels, eps=norm_epsilon)),
        ]
        if activation is not nn.Identity:
            # In place: nothing else reads the norm's output, and fresh memory is slow on a CPU.
            parts.append(("activation", activation(inplace=True)))
        super().__init__(OrderedDict(parts))


class SeparableConv(nn.Sequential):
    """Depthwise k x k, then 1x1, batch norm and ReLU; state-dict keys `depthwise`, `pointwise`.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: of the depthwise part, odd.
        dilation: of the depthwise part.
        depthwise_norm: batch norm and ReLU behind the depthwise part too. The paper has none in
            ASPP, decoder and heads (decided by its parameter count); published PyTorch weights do.
        norm_epsilon: of the batch norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        depthwise_norm: bool = False,
        norm_epsilon: float = NORM_EPSILON,
    ) -> None:
        depthwise: nn.Sequential = ConvNormAct(
            in_channels,
            in_channels,
            kernel_size,
            dilation=dilation,
            groups=in_channels,
            norm_epsilon=norm_epsilon,
        )
        if not depthwise_norm:
            depthwise = nn.Sequential(OrderedDict([("conv", depthwise[0])]))
        pointwise = ConvNormAct(in_channels, out_channels, 1, norm_epsilon=norm_epsilon)
        super().__init__(OrderedDict([("depthwise", depthwise), ("pointwise", pointwise)]))


def initialize_he(module: nn.Module) -> None:
    """Draw every convolution's weights from a normal law that keeps the gradients' size.

    He et al. (arXiv:1502.01852), fan-out form, with the fan of one group: torch's own function
    counts the channels of all groups and would start depthwise convolutions far too small.

    Args:
        module: changed in place, with everything inside it. Norms start at 1 and 0, biases at 0.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            height, width = part.kernel_size
            fan_out = height * width * part.out_channels // part.groups
            nn.init.normal_(part.weight, std=(2.0 / fan_out) ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that keeps its statistics and weights, also while the rest is trained.

    Args:
        num_features: C.
        eps: epsilon.
    """

    def __init__(self, num_features: int, eps: float = NORM_EPSILON) -> None:
        super().__init__(num_features, eps=eps)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stay in eval mode."""
        super().train(False)
        return self


def replace_norms(module: nn.Module, kind: NormKind) -> None:
    """Put other norms in the place of all batch norms.

    Args:
        module: changed in place. Weights and statistics are kept, except by "group", which has
            no statistics and starts anew.
        kind: "batch" leaves everything as it is; "sync" shares statistics over all processes;
            "group" normalises each image by itself (arXiv:1803.08494); "frozen" neither learns
            nor counts.

    Raises:
        ValueError: if a batch norm does more than that, as some of timm's do.
    """
    if kind == "batch":
        return
    for parent in list(module.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm) is nn.BatchNorm2d:
                setattr(parent, name, _other_norm(norm, kind))
            elif isinstance(norm, nn.BatchNorm2d) and not isinstance(norm, FrozenBatchNorm2d):
                raise ValueError(
                    f"Only plain batch norms can be replaced by norm {kind!r}, got "
                    f"{type(norm).__name__}. Set norm or backbone_norm to 'batch', or choose "
                    "another backbone."
                )


def _other_norm(norm: nn.BatchNorm2d, kind: NormKind) -> nn.Module:
    """A norm of another kind for the same channels."""
    channels = norm.num_features
    if kind == "group":
        most = min(MAX_GROUPS, max(1, channels // MIN_GROUP_CHANNELS))
        groups = next(n for n in range(most, 0, -1) if channels % n == 0)
        return nn.GroupNorm(groups, channels, eps=norm.eps)
    if kind == "sync":
        return SharedBatchNorm2d.of(norm)
    new = FrozenBatchNorm2d(channels, eps=norm.eps)
    new.weight, new.bias = norm.weight, norm.bias
    new.running_mean, new.running_var = norm.running_mean, norm.running_var
    new.num_batches_tracked = norm.num_batches_tracked
    return new.requires_grad_(False)
