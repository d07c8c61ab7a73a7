"""From features to head maps: ASPP, one decoder branch, one head.

In: the backbone's features. Out: (B, C, h, w) at stride 4. Panoptic-DeepLab has two branches
(semantic and instance), each with its own ASPP, and three heads (arXiv:1911.10194, section 3.1;
widths and counts from its supplement). Convolutions are depthwise-separable without norm between
the parts, as its parameter count demands, unless asked otherwise. The decoder of DeepLabV3+
(arXiv:1802.02611) is the same branch with one low-level feature and other convolutions.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from panoptic_deeplab.layers import NORM_EPSILON, ConvNormAct, SeparableConv, resize

Pooling = Literal["norm", "bias", "plain"]
"""Form of the ASPP's pooled branch: batch norm (paper), bias (detectron2), none (bowenc0221)."""

Convs = Literal["separable_5x5", "separable_3x3_twice", "plain_3x3_twice"]
"""What refines a map: the paper's decoder and heads, DeepLabV3+'s decoder, detectron2's plain
form. They look equally far."""


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    separable: bool,
    dilation: int = 1,
    depthwise_norm: bool,
    norm_epsilon: float,
) -> nn.Module:
    """A separable or a plain convolution, with norm and ReLU."""
    if separable:
        return SeparableConv(
            in_channels,
            out_channels,
            kernel_size,
            dilation=dilation,
            depthwise_norm=depthwise_norm,
            norm_epsilon=norm_epsilon,
        )
    return ConvNormAct(
        in_channels, out_channels, kernel_size, dilation=dilation, norm_epsilon=norm_epsilon
    )


def refine(
    widths: tuple[int, int, int],
    form: Convs,
    *,
    depthwise_norm: bool,
    norm_epsilon: float,
) -> nn.Module:
    """What refines a map in a decoder or head.

    Args:
        widths: C of the input, between two convolutions where there are two, of the output.
        form: see `Convs`.
        depthwise_norm: see `SeparableConv`.
        norm_epsilon: of the batch norms.
    """
    if form == "separable_5x5":
        return SeparableConv(
            widths[0], widths[2], 5, depthwise_norm=depthwise_norm, norm_epsilon=norm_epsilon
        )
    return nn.Sequential(
        *(
            conv(
                before,
                after,
                3,
                separable=form == "separable_3x3_twice",
                depthwise_norm=depthwise_norm,
                norm_epsilon=norm_epsilon,
            )
            for before, after in pairwise(widths)
        )
    )


class PooledBranch(nn.Module):
    """Mean over a window, 1x1 convolution, ReLU, back to the map's size.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        pooling: form of the convolution.
        window: (height, width) in pixels of the map, stride 1, cut to the map where it is
            larger; None: the whole map.
        align_corners: of the resize.
        norm_epsilon: of the batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        pooling: Pooling,
        window: tuple[int, int] | None,
        align_corners: bool,
        norm_epsilon: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.align_corners = align_corners
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=pooling == "bias")
        self.norm: nn.Module = nn.Identity()
        if pooling == "norm":
            self.norm = nn.BatchNorm2d(out_channels, eps=norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) to (B, C_out, h, w).

        Raises:
            ValueError: in training, if batch norm would see a single value per channel.
        """
        size = (x.shape[-2], x.shape[-1])
        if self.window is None:
            pooled = x.mean((2, 3), keepdim=True)  # (B, C_in, 1, 1)
        else:
            window = (min(size[0], self.window[0]), min(size[1], self.window[1]))
            pooled = nn.functional.avg_pool2d(x, window, stride=1)
        self._check(pooled)
        pooled = nn.functional.relu(self.norm(self.conv(pooled)))
        spread = resize(pooled, size, align_corners=self.align_corners)
        if x.is_contiguous(memory_format=torch.channels_last):
            # A 1x1 map fits both orders of memory and comes out in the other one.
            spread = spread.contiguous(memory_format=torch.channels_last)
        return spread

    def _check(self, pooled: Tensor) -> None:
        if not self.training or type(self.norm) is not nn.BatchNorm2d:
            return
        if pooled.shape[0] * pooled.shape[2] * pooled.shape[3] == 1:
            raise ValueError(
                "Training needs a batch size of at least 2, got 1: the pooled branch's batch norm "
                "would see one value per channel. Raise batch_size, or set aspp_pooling='bias' or "
                "a smaller aspp_pooling_size."
            )


def fewest_images(network: nn.Module) -> int:
    """How many images a batch needs at least in training: 2 where one has one value for a norm."""
    pooled = (part for part in network.modules() if isinstance(part, PooledBranch))
    return 2 if any(p.window is None and type(p.norm) is nn.BatchNorm2d for p in pooled) else 1


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (arXiv:1706.05587): five views of the map, joined.

    Args:
        in_channels: C of the input.
        out_channels: C of each branch and of the result; paper: 256.
        rates: dilation of the three 3x3 branches; paper at stride 16: (6, 12, 18).
        separable: depthwise-separable 3x3 branches (paper) or plain ones.
        pooling: form of the pooled branch.
        pooling_window: of the pooled branch, in pixels of the map; None: the whole map.
        dropout: behind the fusion; the paper's code base: 0.1.
        depthwise_norm: see `SeparableConv`.
        align_corners: of the pooled branch's resize.
        norm_epsilon: of the batch norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        *,
        rates: Sequence[int] = (6, 12, 18),
        separable: bool = True,
        pooling: Pooling = "norm",
        pooling_window: tuple[int, int] | None = None,
        dropout: float = 0.1,
        depthwise_norm: bool = False,
        align_corners: bool = True,
        norm_epsilon: float = NORM_EPSILON,
    ) -> None:
        super().__init__()
        self.point = ConvNormAct(in_channels, out_channels, 1, norm_epsilon=norm_epsilon)
        self.atrous = nn.ModuleList(
            conv(
                in_channels,
                out_channels,
                3,
                separable=separable,
                dilation=rate,
                depthwise_norm=depthwise_norm,
                norm_epsilon=norm_epsilon,
            )
            for rate in rates
        )
        self.pooled = PooledBranch(
            in_channels,
            out_channels,
            pooling=pooling,
            window=pooling_window,
            align_corners=align_corners,
            norm_epsilon=norm_epsilon,
        )
        self.fuse = ConvNormAct(
            (2 + len(rates)) * out_channels, out_channels, 1, norm_epsilon=norm_epsilon
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) to (B, C_out, h, w)."""
        views = [self.point(x), *(branch(x) for branch in self.atrous), self.pooled(x)]
        out: Tensor = self.dropout(self.fuse(torch.cat(views, dim=1)))
        return out


class Branch(nn.Module):
    """ASPP, then step by step towards stride 4: upsample, join a low-level feature, refine.

    Args:
        aspp: the branch's own, or what takes its place; None: it decodes another branch's.
        aspp_channels: C of its output.
        low_channels: C of the low-level features, from coarse to fine.
        projections: C each is brought to first; paper: (64, 32) semantic, (32, 16) instance.
        out_channels: C of the result; paper: 256 semantic, 128 instance.
        form: of the convolutions behind each joining.
        depthwise_norm: see `SeparableConv`.
        align_corners: of the upsampling.
        norm_epsilon: of the batch norms.

    Raises:
        ValueError: if there is nothing to join and the input has another width than the result.
    """

    def __init__(
        self,
        aspp: nn.Module | None,
        *,
        aspp_channels: int,
        low_channels: Sequence[int],
        projections: Sequence[int],
        out_channels: int,
        form: Convs = "separable_5x5",
        depthwise_norm: bool = False,
        align_corners: bool = True,
        norm_epsilon: float = NORM_EPSILON,
    ) -> None:
        super().__init__()
        if not projections and out_channels != aspp_channels:
            raise ValueError(
                "A decoder without projections passes its input on and must be as wide, got "
                f"{out_channels} and {aspp_channels} channels. Set semantic_channels and "
                f"instance_channels to {aspp_channels}, or add projections."
            )
        self.align_corners = align_corners
        self.aspp = aspp
        self.project = nn.ModuleList()
        self.fuse = nn.ModuleList()
        in_channels = aspp_channels
        for low, projected in zip(low_channels, projections, strict=True):
            self.project.append(ConvNormAct(low, projected, 1, norm_epsilon=norm_epsilon))
            self.fuse.append(
                refine(
                    (in_channels + projected, out_channels, out_channels),
                    form,
                    depthwise_norm=depthwise_norm,
                    norm_epsilon=norm_epsilon,
                )
            )
            in_channels = out_channels

    def pyramid(self, features: Sequence[Tensor]) -> Tensor:
        """The ASPP's view of the last feature, (B, C_aspp, h, w) on its grid."""
        assert self.aspp is not None, "this branch decodes another branch's ASPP"
        out: Tensor = self.aspp(features[-1])
        return out

    def forward(self, features: Sequence[Tensor], pyramid: Tensor) -> Tensor:
        """Decode one branch.

        Args:
            features: the backbone's; the finest are joined, one per projection.
            pyramid: (B, C_aspp, h, w), from `pyramid` of this branch or another.

        Returns:
            (B, C_out, h, w) on the grid of the first feature.
        """
        x = pyramid
        low_level = features[: len(self.project)]
        for low, project, fuse in zip(reversed(low_level), self.project, self.fuse, strict=True):
            size = (low.shape[-2], low.shape[-1])
            x = resize(x, size, align_corners=self.align_corners)
            x = fuse(torch.cat([x, project(low)], dim=1))
        return x


class Head(nn.Module):
    """Convolution, then the 1x1 predictor.

    Args:
        in_channels: C of the input.
        hidden_channels: C between the two; paper: 256 semantic, 32 instance; None: there is the
            predictor alone (DeepLabV3+).
        out_channels: C of the prediction.
        form: of the convolution.
        depthwise_norm: see `SeparableConv`.
        norm_epsilon: of the batch norms.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | None,
        out_channels: int,
        *,
        form: Convs = "separable_5x5",
        depthwise_norm: bool = False,
        norm_epsilon: float = NORM_EPSILON,
    ) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Identity()
        if hidden_channels is not None:
            self.conv = refine(
                (in_channels, in_channels, hidden_channels),
                form,
                depthwise_norm=depthwise_norm,
                norm_epsilon=norm_epsilon,
            )
        self.predict = nn.Conv2d(hidden_channels or in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) to (B, C_out, h, w), unbounded."""
        out: Tensor = self.predict(self.conv(x))
        return out
