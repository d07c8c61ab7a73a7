"""Aligned Xception-41, -65 and -71, DeepLab's modification of Xception.

Papers: arXiv:1610.02357, aligned form arXiv:1802.02611, section 3.3; Xception-71 after TensorFlow's
models (research/deeplab/core/xception.py). A module is three separable convolutions around a
shortcut, each ReLU, 3x3 depthwise, norm, 1x1, norm; a stride sits in the third and the shortcut.
The low-level features are taken in front of it, behind the second convolution and before any ReLU.
Modules map one to one to timm's `blocks.N`, whose ImageNet weights can be converted.
"""

from functools import partial
from typing import Literal, NamedTuple

from torch import Tensor, nn

from panoptic_deeplab.backbones.base import SLIM_NORM_EPSILON, Backbone, DropPath, StridePlan
from panoptic_deeplab.layers import ConvNormAct, initialize_he


class Module(NamedTuple):
    """One row of the table: C of the three convolutions, stride, what goes around them."""

    channels: tuple[int, int, int]
    stride: int
    shortcut: Literal["conv", "sum", "none"]


_EXIT = (Module((728, 1024, 1024), 2, "conv"), Module((1536, 1536, 2048), 1, "none"))
_MIDDLE = Module((728, 728, 728), 1, "sum")

ENTRY_65 = (
    Module((128, 128, 128), 2, "conv"),
    Module((256, 256, 256), 2, "conv"),
    Module((728, 728, 728), 2, "conv"),
)
ENTRY_71 = (
    Module((128, 128, 128), 2, "conv"),
    Module((256, 256, 256), 1, "conv"),
    Module((256, 256, 256), 2, "conv"),
    Module((728, 728, 728), 1, "conv"),
    Module((728, 728, 728), 2, "conv"),
)


class XceptionConv(nn.Module):
    """3x3 depthwise, norm, 1x1, norm, with a ReLU in front or one behind each norm.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        stride: of the depthwise part.
        dilation: of the depthwise part.
        relu_first: one ReLU in front of everything (all modules but the last).
        norm_epsilon: of the batch norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        relu_first: bool,
        norm_epsilon: float,
    ) -> None:
        super().__init__()
        self.relu_first = relu_first
        activation = nn.Identity if relu_first else nn.ReLU
        self.depthwise = ConvNormAct(
            in_channels,
            in_channels,
            3,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            norm_epsilon=norm_epsilon,
            activation=activation,
        )
        self.pointwise = ConvNormAct(
            in_channels, out_channels, 1, norm_epsilon=norm_epsilon, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, ceil(H / stride), ceil(W / stride))."""
        if self.relu_first:
            x = nn.functional.relu(x)  # not in place: x is also a shortcut or a feature
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class XceptionModule(nn.Module):
    """Three separable convolutions and their shortcut.

    Args:
        in_channels: C of the input.
        row: of the table.
        stride: of the third convolution and the shortcut.
        dilation: of all three.
        relu_first: see `XceptionConv`.
        norm_epsilon: of the batch norms.
        drop_path: see `DropPath`.
    """

    def __init__(
        self,
        in_channels: int,
        row: Module,
        *,
        stride: int,
        dilation: int,
        relu_first: bool,
        norm_epsilon: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        widths = (in_channels, *row.channels)
        self.convs = nn.ModuleList(
            XceptionConv(
                widths[i],
                widths[i + 1],
                stride=stride if i == 2 else 1,
                dilation=dilation,
                relu_first=relu_first,
                norm_epsilon=norm_epsilon,
            )
            for i in range(3)
        )
        self.has_shortcut = row.shortcut != "none"
        self.shortcut: nn.Module = nn.Identity()
        if row.shortcut == "conv":
            self.shortcut = ConvNormAct(
                in_channels,
                row.channels[2],
                1,
                stride=stride,
                norm_epsilon=norm_epsilon,
                activation=nn.Identity,
            )
        self.drop_path = DropPath(drop_path) if drop_path and self.has_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both the module's output and what enters its strided convolution.

        Args:
            x: (B, C_in, H, W).

        Returns:
            (B, C_out, ceil(H / stride), ceil(W / stride)) and (B, C_2, H, W).
        """
        inner = self.convs[1](self.convs[0](x))
        out = self.convs[2](inner)
        if self.has_shortcut:
            out = self.drop_path(out) + self.shortcut(x)
        return out, inner


class Xception(Backbone):
    """Aligned Xception without its classifier.

    Args:
        entry: the entry flow's table.
        middle: number of modules of the middle flow.
        output_stride: 8, 16 or 32.
        norm_epsilon: of the batch norms.
        drop_path: rate of the last module's `DropPath`, rising linearly up to it.
    """

    def __init__(
        self,
        *,
        entry: tuple[Module, ...],
        middle: int,
        output_stride: int = 16,
        norm_epsilon: float = SLIM_NORM_EPSILON,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        plan = StridePlan(output_stride)
        stride, _ = plan.step(2)
        self.stem = nn.Sequential(
            ConvNormAct(3, 32, 3, stride=stride, norm_epsilon=norm_epsilon),
            ConvNormAct(32, 64, 3, norm_epsilon=norm_epsilon),
        )
        rows = (*entry, *(_MIDDLE,) * middle, *_EXIT)
        in_channels = 64
        self.blocks = nn.ModuleList()
        block_strides = []  # that each module works on
        for i, row in enumerate(rows):
            block_strides.append(plan.stride)
            stride, dilation = plan.step(row.stride)
            self.blocks.append(
                XceptionModule(
                    in_channels,
                    row,
                    stride=stride,
                    dilation=dilation,
                    relu_first=row.shortcut != "none",
                    norm_epsilon=norm_epsilon,
                    drop_path=drop_path * (i + 1) / len(rows),
                )
            )
            in_channels = row.channels[2]
        # In front of the strides from 4 to 8 and from 8 to 16, then the middle flow's last module.
        self.taps = (
            *[i for i, row in enumerate(entry) if row.stride == 2][1:],
            len(entry) + middle - 1,
        )
        self.channels = (*(rows[i].channels[1] for i in self.taps), in_channels)
        self.strides = (*(block_strides[i] for i in self.taps), plan.stride)
        initialize_he(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        features = []
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x, inner = self.run(block, x)
            if i in self.taps:
                features.append(x if i == self.taps[-1] else inner)
        return [*features, x]


xception41 = partial(Xception, entry=ENTRY_65, middle=8)
xception65 = partial(Xception, entry=ENTRY_65, middle=16)
xception71 = partial(Xception, entry=ENTRY_71, middle=16)
