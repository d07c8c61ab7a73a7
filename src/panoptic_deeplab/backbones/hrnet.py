"""HRNet, HRNet+ and HRNet-Wider+: stages of exchanging branches, and the head behind them.

Papers: arXiv:1908.07919 (HRNet) and the supplement of Panoptic-DeepLab with arXiv:1910.04751
(HRNet+, which keeps the classification head, and HRNet-Wider+). Modules map one to one to those
of the official networks and of timm, whose ImageNet weights can be converted.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from panoptic_deeplab.backbones.base import Backbone, check_choice
from panoptic_deeplab.backbones.exchange import (
    BasicBlock,
    Exchange,
    Grid,
    Upsampling,
    WideBlock,
    step_down,
)
from panoptic_deeplab.backbones.resnet import Bottleneck
from panoptic_deeplab.layers import NORM_EPSILON, ConvNormAct, initialize_he, resize

HEAD_CHANNELS = (128, 256, 512, 1024)
"""C of the classification head's running maps; its last 1x1 convolution has 2048."""

HeadKind = Literal["branches", "segmentation", "concatenated", "classification"]
Taps = Literal["head", "branches"]


class ClassificationHead(nn.Module):
    """The head of the ImageNet network up to its pooling, which HRNet+ keeps.

    Each branch is widened by a bottleneck; from fine to coarse they are summed, halving the map
    between, and brought to 2048 channels.

    Args:
        channels: C of the branches.
        grid: of the branches.
        norm_epsilon: of the batch norms.
    """

    def __init__(self, channels: Sequence[int], grid: Grid, *, norm_epsilon: float) -> None:
        super().__init__()
        self.widen = nn.ModuleList(
            Bottleneck(
                c,
                wide // 4,
                wide,
                stride=1,
                dilation=dilation,
                groups=1,
                norm_epsilon=norm_epsilon,
                drop_path=0.0,
            )
            for c, wide, dilation in zip(channels, HEAD_CHANNELS, grid.dilations, strict=True)
        )
        self.down = nn.ModuleList()
        for i in range(len(HEAD_CHANNELS) - 1):
            stride, dilation = grid.down(i)
            self.down.append(
                ConvNormAct(
                    HEAD_CHANNELS[i],
                    HEAD_CHANNELS[i + 1],
                    3,
                    stride=stride,
                    dilation=dilation,
                    bias=True,
                    norm_epsilon=norm_epsilon,
                )
            )
        self.final = ConvNormAct(HEAD_CHANNELS[-1], 2048, 1, bias=True, norm_epsilon=norm_epsilon)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The running sum on each branch's grid but the last, and the final map."""
        sums = [self.widen[0](maps[0])]
        for x, widen, down in zip(maps[1:], list(self.widen)[1:], self.down, strict=True):
            sums.append(widen(x) + down(sums[-1]))
        return [*sums[:-1], self.final(sums[-1])]


class HRNet(Backbone):
    """HRNet and what the supplement made of it.

    Args:
        channels: C of the four branches.
        head: what comes behind the last stage. "branches": nothing, the coarsest branch goes to
            the ASPP (bowenc0221). "segmentation": all branches joined at stride 4 (HRNet's own
            for segmentation). "concatenated": the same without the convolution that mixes them.
            "classification": see `ClassificationHead` (HRNet+).
        taps: with the classification head, take the low-level features from its running sums
            ("head") or from the branches.
        modules: number of exchange modules in stages 2, 3 and 4.
        blocks: number of blocks a module has in each branch.
        is_wide: Xception modules in place of basic blocks (HRNet-Wider+).
        separable_transition: separable convolutions where a branch begins.
        separable_exchange: separable convolutions from finer to coarser branches.
        upsampling: between branches; "nearest" for weights of the ImageNet networks as
            published, "bilinear" for all networks trained for segmentation.
        align_corners: of bilinear upsampling.
        output_stride: of the coarsest branch; the paper's HRNet+: 32, its atrous form: 16.
        norm_epsilon: of the batch norms.
        drop_path: rate of the last exchange module's blocks, rising linearly up to it.
    """

    def __init__(
        self,
        *,
        channels: tuple[int, int, int, int],
        head: HeadKind = "branches",
        taps: Taps = "head",
        modules: tuple[int, int, int] = (1, 4, 3),
        blocks: int = 4,
        is_wide: bool = False,
        separable_transition: bool = False,
        separable_exchange: bool = False,
        upsampling: Upsampling = "bilinear",
        align_corners: bool = True,
        output_stride: int = 32,
        norm_epsilon: float = NORM_EPSILON,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("head", head, HeadKind)
        check_choice("taps", taps, Taps)
        check_choice("upsampling", upsampling, Upsampling)
        grid = Grid(len(channels), output_stride)
        self.align_corners = align_corners
        self.head_kind = head
        self.taps_head = taps == "head"
        self.stem = nn.Sequential(
            ConvNormAct(3, 64, 3, stride=2, norm_epsilon=norm_epsilon),
            ConvNormAct(64, 64, 3, stride=2, norm_epsilon=norm_epsilon),
        )
        make_bottleneck = partial(
            Bottleneck, stride=1, dilation=1, groups=1, norm_epsilon=norm_epsilon, drop_path=0.0
        )
        self.first = nn.Sequential(
            make_bottleneck(64, 64, 256), *(make_bottleneck(256, 64, 256) for _ in range(3))
        )
        self.transitions = nn.ModuleList()
        self.stages = nn.ModuleList()
        before: tuple[int, ...] = (256,)
        for number, count in enumerate(modules):
            after = channels[: number + 2]
            self.transitions.append(
                _transition(
                    before,
                    after,
                    grid,
                    is_separable=separable_transition,
                    norm_epsilon=norm_epsilon,
                )
            )
            self.stages.append(
                nn.ModuleList(
                    Exchange(
                        after,
                        grid,
                        block=WideBlock if is_wide else BasicBlock,
                        blocks=blocks,
                        is_separable=separable_exchange,
                        upsampling=upsampling,
                        align_corners=align_corners,
                        norm_epsilon=norm_epsilon,
                        drop_path=drop_path * (sum(modules[:number]) + i + 1) / sum(modules),
                    )
                    for i in range(count)
                )
            )
            before = after
        self.head: nn.Module = nn.Identity()
        self.channels, self.strides = channels, grid.strides
        if head == "classification":
            self.head = ClassificationHead(channels, grid, norm_epsilon=norm_epsilon)
            self.channels = (*(HEAD_CHANNELS if self.taps_head else channels)[:3], 2048)
        if head in ("segmentation", "concatenated"):
            joined = sum(channels)
            if head == "segmentation":
                self.head = ConvNormAct(joined, joined, 1, bias=True, norm_epsilon=norm_epsilon)
            self.channels = (*channels[:3], joined)
            self.strides = (*grid.strides[:3], 4)
        initialize_he(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        x = self.stem(x)
        for block in self.first:
            x = self.run(block, x)
        maps = [x]
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            # A new branch begins from the coarsest one there is.
            sources = [*maps, *(maps[-1],) * (len(transition) - len(maps))]  # type: ignore[arg-type]
            maps = [begin(m) for begin, m in zip(transition, sources, strict=True)]  # type: ignore[call-overload]
            for module in stage:  # type: ignore[attr-defined]
                maps = self.run(module, maps)
        if self.head_kind == "branches":
            return maps
        if self.head_kind in ("segmentation", "concatenated"):
            size = (maps[0].shape[-2], maps[0].shape[-1])
            joined = [resize(m, size, align_corners=self.align_corners) for m in maps]
            return [*maps[:3], self.head(torch.cat(joined, dim=1))]
        sums: list[Tensor] = self.head(maps)
        return sums if self.taps_head else [*maps[:3], sums[-1]]


def _transition(
    before: Sequence[int],
    after: Sequence[int],
    grid: Grid,
    *,
    is_separable: bool,
    norm_epsilon: float,
) -> nn.ModuleList:
    """What turns the branches of one stage into those of the next, which has one more."""
    begins = nn.ModuleList()
    for i, channels in enumerate(after):
        is_new = i >= len(before)
        source = before[-1] if is_new else before[i]
        if not is_new and source == channels:
            begins.append(nn.Identity())
            continue
        stride, dilation = grid.down(i - 1) if is_new else (1, grid.dilations[i])
        begins.append(
            step_down(
                source,
                channels,
                stride=stride,
                dilation=dilation,
                is_separable=is_separable,
                norm_epsilon=norm_epsilon,
            )
        )
    return begins


_WIDER = (64, 256, 384, 384)

hrnet_w18 = partial(HRNet, channels=(18, 36, 72, 144))
hrnet_w32 = partial(HRNet, channels=(32, 64, 128, 256))
hrnet_w48 = partial(HRNet, channels=(48, 96, 192, 384))
hrnet_w48_plus = partial(HRNet, channels=(48, 96, 192, 384), head="classification")
hrnet_wider_plus = partial(HRNet, channels=_WIDER, head="classification", is_wide=True)
