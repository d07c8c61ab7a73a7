"""ResNet and ResNeXt, in the forms their published weights come in.

Papers: arXiv:1512.03385, arXiv:1611.05431, dilation and multi-grid arXiv:1706.05587. Two forms
differ in where a block's stride sits: in its first unit (torchvision, timm, detectron2) or, with
the identity subsampled beside it, in its last (TensorFlow's slim; "beta" with the DeepLab stem;
the paper's). Stride sits in the 3x3 convolution, or in MSRA's weights in the first 1x1. The
classifier is left out.
"""

from functools import partial
from typing import Literal

from torch import Tensor, nn

from panoptic_deeplab.backbones.base import Backbone, DropPath, StridePlan, check_choice
from panoptic_deeplab.layers import NORM_EPSILON, ConvNormAct, initialize_he

STAGE_CHANNELS = (256, 512, 1024, 2048)
"""C of the four blocks' outputs; inside, a unit has a quarter of it."""

Stem = Literal["plain", "deeplab"]
StrideUnit = Literal["first", "last"]
StrideConv = Literal["spatial", "reduce"]


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, added to the input.

    Args:
        in_channels: C of the input.
        width: C inside.
        out_channels: C of the output.
        stride: of the unit.
        stride_conv: which convolution has it, the 3x3 ("spatial") or the 1x1 before ("reduce").
        dilation: of the 3x3 convolution.
        groups: of the 3x3 convolution.
        norm_epsilon: of the batch norms.
        drop_path: see `DropPath`.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        groups: int,
        norm_epsilon: float,
        drop_path: float,
        stride_conv: StrideConv = "spatial",
    ) -> None:
        super().__init__()
        self.stride = stride
        reduced = stride if stride_conv == "reduce" else 1
        self.reduce = ConvNormAct(in_channels, width, 1, stride=reduced, norm_epsilon=norm_epsilon)
        self.spatial = ConvNormAct(
            width,
            width,
            3,
            stride=stride // reduced,
            dilation=dilation,
            groups=groups,
            norm_epsilon=norm_epsilon,
        )
        self.expand = ConvNormAct(
            width, out_channels, 1, norm_epsilon=norm_epsilon, activation=nn.Identity
        )
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.shortcut: nn.Module | None = None
        if in_channels != out_channels:
            self.shortcut = ConvNormAct(
                in_channels,
                out_channels,
                1,
                stride=stride,
                norm_epsilon=norm_epsilon,
                activation=nn.Identity,
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, ceil(H / stride), ceil(W / stride))."""
        out = self.drop_path(self.expand(self.spatial(self.reduce(x))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]  # slim's subsampled identity
        return nn.functional.relu(out.add_(x), inplace=True)  # nobody else has seen out


class ResNet(Backbone):
    """The four blocks of a ResNet with bottleneck units.

    Args:
        units: number of units in each block.
        stem: one 7x7 convolution ("plain") or three 3x3 with 64, 64, 128 channels ("deeplab").
        stride_unit: the unit of a block that carries its stride. With "last", the low-level
            features are taken in front of it, at the stride the block works on.
        stride_conv: the convolution of that unit that carries it; "reduce" in MSRA's weights.
        multi_grid: further dilation of the last block's units; DeepLabV3's best: (1, 2, 4).
        dilate_first: also dilate the first unit behind a removed stride (detectron2); torchvision
            and timm start with the second, which sees the same pixels as the strided network.
        groups: of the 3x3 convolutions; ResNeXt-101 32x8d: 32.
        group_width: channels of a group in the first block; ResNeXt-101 32x8d: 8.
        output_stride: 8, 16 or 32.
        norm_epsilon: of the batch norms.
        drop_path: rate of the last unit's `DropPath`, rising linearly up to it.
    """

    def __init__(
        self,
        *,
        units: tuple[int, int, int, int],
        stem: Stem = "plain",
        stride_unit: StrideUnit = "first",
        stride_conv: StrideConv = "spatial",
        multi_grid: tuple[int, ...] = (1, 1, 1),
        dilate_first: bool = False,
        groups: int = 1,
        group_width: int = 64,
        output_stride: int = 16,
        norm_epsilon: float = NORM_EPSILON,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("stem", stem, Stem)
        check_choice("stride_unit", stride_unit, StrideUnit)
        check_choice("stride_conv", stride_conv, StrideConv)
        _check_multi_grid(multi_grid, units[-1])
        plan = StridePlan(output_stride)
        plan.step(2)
        plan.step(2)  # stem and pooling
        in_channels = 64 if stem == "plain" else 128
        self.stem = _stem(stem, norm_epsilon)
        self.tap_before_last = stride_unit == "last"
        self.stages = nn.ModuleList()
        strides, number = [], 0
        for block, (count, out_channels) in enumerate(zip(units, STAGE_CHANNELS, strict=True)):
            strided = _strided_unit(block, count, stride_unit)
            stage = nn.ModuleList()
            for i in range(count):
                number += 1
                before = plan.stride
                stride, dilation = plan.step(2 if i == strided else 1)
                if dilate_first:
                    dilation = plan.dilation
                stage.append(
                    Bottleneck(
                        in_channels,
                        groups * group_width * 2**block,
                        out_channels,
                        stride=stride,
                        stride_conv=stride_conv,
                        dilation=dilation * (multi_grid[i] if block == 3 else 1),
                        groups=groups,
                        norm_epsilon=norm_epsilon,
                        drop_path=drop_path * number / sum(units),
                    )
                )
                in_channels = out_channels
            strides.append(before if self.tap_before_last else plan.stride)
            self.stages.append(stage)
        self.channels = STAGE_CHANNELS
        self.strides = tuple(strides)
        initialize_he(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        features: list[Tensor] = []
        x = nn.functional.max_pool2d(self.stem(x), 3, stride=2, padding=1)
        for stage in self.stages:
            before = x
            for unit in stage:  # type: ignore[attr-defined]
                before, x = x, self.run(unit, x)
            is_last = len(features) == len(self.stages) - 1
            features.append(before if self.tap_before_last and not is_last else x)
        return features


def _stem(kind: Stem, norm_epsilon: float) -> nn.Sequential:
    """What brings the image to stride 2."""
    if kind == "plain":
        return nn.Sequential(ConvNormAct(3, 64, 7, stride=2, norm_epsilon=norm_epsilon))
    return nn.Sequential(
        ConvNormAct(3, 64, 3, stride=2, norm_epsilon=norm_epsilon),
        ConvNormAct(64, 64, 3, norm_epsilon=norm_epsilon),
        ConvNormAct(64, 128, 3, norm_epsilon=norm_epsilon),
    )


def _strided_unit(block: int, count: int, stride_unit: StrideUnit) -> int | None:
    """Which unit of a block carries its stride; None for the block that has none."""
    if stride_unit == "first":
        return None if block == 0 else 0  # pooling has just halved the map
    return None if block == 3 else count - 1


def _check_multi_grid(multi_grid: tuple[int, ...], count: int) -> None:
    if len(multi_grid) != count:
        raise ValueError(
            f"multi_grid must have one factor for each of the {count} units of the last block, "
            f"got {tuple(multi_grid)}. Use {(1,) * count} for none."
        )


resnet50 = partial(ResNet, units=(3, 4, 6, 3))
resnet101 = partial(ResNet, units=(3, 4, 23, 3))
resnet50_beta = partial(ResNet, units=(3, 4, 6, 3), stem="deeplab", stride_unit="last")
resnet101_beta = partial(ResNet, units=(3, 4, 23, 3), stem="deeplab", stride_unit="last")
resnet52 = partial(
    ResNet, units=(3, 4, 6, 3), stem="deeplab", multi_grid=(1, 2, 4), dilate_first=True
)
resnext101_32x8d = partial(ResNet, units=(3, 4, 23, 3), groups=32, group_width=8)
