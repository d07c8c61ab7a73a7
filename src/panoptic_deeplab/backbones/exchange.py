"""HRNet's exchange module: branches at several strides that tell each other what they see.

Papers: arXiv:1908.07919 and, for the wide blocks and the atrous form, the supplement of
Panoptic-DeepLab. Unlike in the official networks, maps are resized to the exact size of their
target, so every image size works.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from panoptic_deeplab.backbones.base import DropPath
from panoptic_deeplab.backbones.xception import Module, XceptionModule
from panoptic_deeplab.layers import ConvNormAct, Size, resize, resize_nearest

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
        out = self.drop_path(self.second(self.first(x)))
        return nn.functional.relu(out.add_(x), inplace=True)  # nobody else has seen out


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
                    step_down(
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
        if self.upsampling == "nearest":
            return resize_nearest(x, size)
        return resize(x, size, align_corners=self.align_corners)


def step_down(
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
