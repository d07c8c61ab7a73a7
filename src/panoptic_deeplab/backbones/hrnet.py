"""HRNet, HRNet+ and HRNet-Wider+: branches at several strides that exchange what they see.

Papers: arXiv:1908.07919 (HRNet) and the supplement of Panoptic-DeepLab with arXiv:1910.04751
(HRNet+, which keeps the classification head, and HRNet-Wider+). Modules map one to one to those
of the official networks and of timm, whose ImageNet weights can be converted. Unlike them, maps
are resized to the exact size of their target, so every image size works.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from panoptic_deeplab.backbones.base import Backbone, DropPath
from panoptic_deeplab.backbones.resnet import Bottleneck
from panoptic_deeplab.backbones.xception import Module, XceptionModule
from panoptic_deeplab.layers import (
    NORM_EPSILON,
    ConvNormAct,
    Size,
    initialize_he,
    resize,
)

HEAD_CHANNELS = (128, 256, 512, 1024)
"""C of the classification head's running maps; its last 1x1 convolution has 2048."""

Upsampling = Literal["bilinear", "nearest"]


class Grid:
    """Strides and dilation of the branches under an output stride.

    A branch that would lie beyond the output stride stays on that grid and is dilated instead,
    and so is the convolution that would have halved the map: HRNet+ (Atrous) of the supplement.

    Args:
        count: number of branches.
        output_stride: largest stride allowed.

    Example:
        >>> grid = Grid(4, 16)
        >>> grid.strides, grid.dilations, grid.down(2)
        ((4, 8, 16, 16), (1, 1, 1, 2), (1, 2))
    """

    def __init__(self, count: int, output_stride: int) -> None:
        natural = [4 * 2**i for i in range(count)]
        self.strides = tuple(min(stride, output_stride) for stride in natural)
        self.dilations = tuple(n // s for n, s in zip(natural, self.strides, strict=True))

    def down(self, branch: int) -> tuple[int, int]:
        """Stride and dilation of a convolution from one branch's grid to the next one's."""
        stride = self.strides[branch + 1] // self.strides[branch]
        return stride, 1 if stride == 2 else self.dilations[branch + 1]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to the input.

    Args:
        channels: C of input and output.
        dilation: of both.
        norm_epsilon: of the batch norms.
        drop_path: see `DropPath`.
    """

    def __init__(
        self, channels: int, *, dilation: int, norm_epsilon: float, drop_path: float
    ) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.first = ConvNormAct(
            channels, channels, 3, dilation=dilation, norm_epsilon=norm_epsilon
        )
        self.second = ConvNormAct(
            channels,
            channels,
            3,
            dilation=dilation,
            norm_epsilon=norm_epsilon,
            activation=nn.Identity,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return nn.functional.relu(self.drop_path(self.second(self.first(x))) + x)


class WideBlock(XceptionModule):
    """The Xception module that takes a basic block's place in HRNet-Wider+.

    Args:
        channels: C of input and output.
        dilation: of its convolutions.
        norm_epsilon: of the batch norms.
        drop_path: see `DropPath`.
    """

    def __init__(
        self, channels: int, *, dilation: int, norm_epsilon: float, drop_path: float
    ) -> None:
        super().__init__(
            channels,
            Module((channels, channels, channels), 1, "sum"),
            stride=1,
            dilation=dilation,
            relu_first=True,
            norm_epsilon=norm_epsilon,
            drop_path=drop_path,
        )

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, H, W) to the same shape."""
        return super().forward(x)[0]


class Exchange(nn.Module):
    """One module: blocks in every branch, then each branch receives the sum of all.

    Args:
        channels: C of each branch, from fine to coarse.
        grid: of the branches.
        block: what the branches are made of.
        blocks: how many in each branch.
        is_separable: separable convolutions towards coarser branches.
        upsampling: of what comes from coarser branches.
        align_corners: of bilinear upsampling.
        norm_epsilon: of the batch norms.
        drop_path: of the blocks.
    """

    def __init__(
        self,
        channels: Sequence[int],
        grid: Grid,
        *,
        block: type[BasicBlock] | type[WideBlock],
        blocks: int,
        is_separable: bool,
        upsampling: Upsampling,
        align_corners: bool,
        norm_epsilon: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.align_corners = align_corners
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    block(
                        c,
                        dilation=grid.dilations[i],
                        norm_epsilon=norm_epsilon,
                        drop_path=drop_path,
                    )
                    for _ in range(blocks)
                )
            )
            for i, c in enumerate(channels)
        )

        def way(source: int, target: int) -> nn.Module:
            if source == target:
                return nn.Identity()
            if source > target:
                return ConvNormAct(
                    channels[source],
                    channels[target],
                    1,
                    norm_epsilon=norm_epsilon,
                    activation=nn.Identity,
                )
            steps = []
            for level in range(source, target):
                is_last = level == target - 1
                stride, dilation = grid.down(level)
                steps.append(
                    _down(
                        channels[source],
                        channels[target] if is_last else channels[source],
                        stride=stride,
                        dilation=dilation,
                        is_separable=is_separable,
                        norm_epsilon=norm_epsilon,
                        activation=nn.Identity if is_last else nn.ReLU,
                    )
                )
            return nn.Sequential(*steps)

        numbers = range(len(channels))
        self.exchange = nn.ModuleList(
            nn.ModuleList(way(source, target) for source in numbers) for target in numbers
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One map per branch in, one map of the same shape per branch out."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        results = []
        for target, ways in zip(maps, self.exchange, strict=True):
            size = (target.shape[-2], target.shape[-1])
            total, *others = (
                self._resize(way(source), size)
                for source, way in zip(maps, ways, strict=True)  # type: ignore[call-overload]
            )
            for other in others:
                total = total + other
            results.append(nn.functional.relu(total))
        return results

    def _resize(self, x: Tensor, size: Size) -> Tensor:
        if self.upsampling == "nearest" and x.shape[-2:] != size:
            return nn.functional.interpolate(x, size=size, mode="nearest")
        return resize(x, size, align_corners=self.align_corners)


def _down(
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    dilation: int,
    is_separable: bool,
    norm_epsilon: float,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Module:
    """3x3 convolution to another branch; separable ones have norms but no ReLU inside."""
    if not is_separable:
        return ConvNormAct(
            in_channels,
            out_channels,
            3,
            stride=stride,
            dilation=dilation,
            norm_epsilon=norm_epsilon,
            activation=activation,
        )
    return nn.Sequential(
        ConvNormAct(
            in_channels,
            in_channels,
            3,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            norm_epsilon=norm_epsilon,
            activation=nn.Identity,
        ),
        ConvNormAct(in_channels, out_channels, 1, norm_epsilon=norm_epsilon, activation=activation),
    )


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
        head: Literal["branches", "segmentation", "concatenated", "classification"] = "branches",
        taps: Literal["head", "branches"] = "head",
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
        _check(head, taps, upsampling)
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
            _down(
                source,
                channels,
                stride=stride,
                dilation=dilation,
                is_separable=is_separable,
                norm_epsilon=norm_epsilon,
            )
        )
    return begins


def _check(head: str, taps: str, upsampling: str) -> None:
    """Refuse options that would silently mean something else.

    Raises:
        ValueError: if one is unknown.
    """
    for name, value, known in (
        ("head", head, ("branches", "segmentation", "concatenated", "classification")),
        ("taps", taps, ("head", "branches")),
        ("upsampling", upsampling, ("bilinear", "nearest")),
    ):
        if value not in known:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}. "
                "Choose one of them."
            )


_WIDER = (64, 256, 384, 384)

hrnet_w18 = partial(HRNet, channels=(18, 36, 72, 144))
hrnet_w32 = partial(HRNet, channels=(32, 64, 128, 256))
hrnet_w48 = partial(HRNet, channels=(48, 96, 192, 384))
hrnet_w48_plus = partial(HRNet, channels=(48, 96, 192, 384), head="classification")
hrnet_wider_plus = partial(HRNet, channels=_WIDER, head="classification", is_wide=True)
