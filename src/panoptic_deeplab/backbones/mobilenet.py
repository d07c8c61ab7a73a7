"""MobileNetV3 large, small and reduced as in Panoptic-DeepLab, MobileNetV2, EfficientNet-Lite0.

Papers: arXiv:1905.02244 (tables 1 and 2; section 6.4 for the reduced last block),
arXiv:1801.04381 (table 2), arXiv:1911.10194 and arXiv:1905.11946 (table 1). Widths are those of
the papers, TensorFlow's slim, torchvision and timm; modules map one to one to timm's `conv_stem`,
`blocks.S.I`, so its weights can be converted. The classifier is left out.
"""

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from panoptic_deeplab.backbones.base import SLIM_NORM_EPSILON, Backbone, DropPath, StridePlan
from panoptic_deeplab.layers import NORM_EPSILON, ConvNormAct, initialize_he


class Unit(NamedTuple):
    """One inverted residual: kernel, C of the expansion and the output, what is inside."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: type[nn.Module]


Stage = tuple[int, tuple[Unit, ...]]
"""Stride of the first unit, and the units."""

_re = partial(Unit, activation=nn.ReLU)
_hs = partial(Unit, activation=nn.Hardswish)
_r6 = partial(Unit, kernel=3, squeeze=False, activation=nn.ReLU6)

LARGE: tuple[Stage, ...] = (
    (1, (_re(3, 16, 16, False),)),
    (2, (_re(3, 64, 24, False), _re(3, 72, 24, False))),
    (2, (_re(5, 72, 40, True), _re(5, 120, 40, True), _re(5, 120, 40, True))),
    (
        2,
        (
            _hs(3, 240, 80, False),
            _hs(3, 200, 80, False),
            _hs(3, 184, 80, False),
            _hs(3, 184, 80, False),
        ),
    ),
    (1, (_hs(3, 480, 112, True), _hs(3, 672, 112, True))),
    (2, (_hs(5, 672, 160, True), _hs(5, 960, 160, True), _hs(5, 960, 160, True))),
)
"""arXiv:1905.02244, table 1."""

LARGE_REDUCED: tuple[Stage, ...] = (
    *LARGE[:5],
    (2, (_hs(5, 336, 80, True), _hs(5, 480, 80, True), _hs(5, 480, 80, True))),
)
"""Half the channels in the last block: DeepLab's feature extractor in TensorFlow's models."""

SMALL: tuple[Stage, ...] = (
    (2, (_re(3, 16, 16, True),)),
    (2, (_re(3, 72, 24, False), _re(3, 88, 24, False))),
    (2, (_hs(5, 96, 40, True), _hs(5, 240, 40, True), _hs(5, 240, 40, True))),
    (1, (_hs(5, 120, 48, True), _hs(5, 144, 48, True))),
    (2, (_hs(5, 288, 96, True), _hs(5, 576, 96, True), _hs(5, 576, 96, True))),
)
"""arXiv:1905.02244, table 2."""

V2: tuple[Stage, ...] = (
    (1, (_r6(expanded=32, out=16),)),
    (2, (_r6(expanded=96, out=24), _r6(expanded=144, out=24))),
    (2, (_r6(expanded=144, out=32), *(_r6(expanded=192, out=32),) * 2)),
    (2, (_r6(expanded=192, out=64), *(_r6(expanded=384, out=64),) * 3)),
    (1, (_r6(expanded=384, out=96), *(_r6(expanded=576, out=96),) * 2)),
    (2, (_r6(expanded=576, out=160), *(_r6(expanded=960, out=160),) * 2)),
    (1, (_r6(expanded=960, out=320),)),
)
"""arXiv:1801.04381, table 2."""

LITE0: tuple[Stage, ...] = (
    (1, (_r6(expanded=32, out=16),)),
    (2, (_r6(expanded=96, out=24), _r6(expanded=144, out=24))),
    (2, (_r6(kernel=5, expanded=144, out=40), _r6(kernel=5, expanded=240, out=40))),
    (2, (_r6(expanded=240, out=80), *(_r6(expanded=480, out=80),) * 2)),
    (1, (_r6(kernel=5, expanded=480, out=112), *(_r6(kernel=5, expanded=672, out=112),) * 2)),
    (2, (_r6(kernel=5, expanded=672, out=192), *(_r6(kernel=5, expanded=1152, out=192),) * 3)),
    (1, (_r6(expanded=1152, out=320),)),
)
"""arXiv:1905.11946, table 1, without gates and with ReLU6 throughout: TensorFlow's tpu models."""


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the map's mean (arXiv:1709.01507).

    Args:
        channels: C of input and output; the gate has a quarter inside, rounded to a multiple
            of 8 (arXiv:1905.02244, section 5.3).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = _round_to_eight(channels / 4)
        self.reduce = nn.Conv2d(channels, inside, 1)
        self.expand = nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        gate = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        gate = self.expand(nn.functional.relu(self.reduce(gate)))
        return x * nn.functional.hardsigmoid(gate)


def _round_to_eight(channels: float) -> int:
    """The nearest multiple of 8, but never less than nine tenths of the number (slim's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, squeeze-excite, 1x1 down; identity around it where shapes agree.

    Args:
        in_channels: C of the input.
        unit: row of the table.
        stride: of the depthwise convolution.
        dilation: of the depthwise convolution.
        norm_epsilon: of the batch norms.
        drop_path: see `DropPath`.
    """

    def __init__(
        self,
        in_channels: int,
        unit: Unit,
        *,
        stride: int,
        dilation: int,
        norm_epsilon: float,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.expand: nn.Module = nn.Identity()
        if unit.expanded != in_channels:
            self.expand = ConvNormAct(
                in_channels, unit.expanded, 1, norm_epsilon=norm_epsilon, activation=unit.activation
            )
        self.depthwise = ConvNormAct(
            unit.expanded,
            unit.expanded,
            unit.kernel,
            stride=stride,
            dilation=dilation,
            groups=unit.expanded,
            norm_epsilon=norm_epsilon,
            activation=unit.activation,
        )
        self.squeeze = SqueezeExcite(unit.expanded) if unit.squeeze else nn.Identity()
        self.project = ConvNormAct(
            unit.expanded, unit.out, 1, norm_epsilon=norm_epsilon, activation=nn.Identity
        )
        self.has_shortcut = stride == 1 and in_channels == unit.out
        self.drop_path = DropPath(drop_path) if drop_path and self.has_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both the unit's output and, for the decoder's taps, its depthwise part's.

        Args:
            x: (B, C_in, H, W).

        Returns:
            (B, C_out, h, w) and (B, C_expanded, h, w).
        """
        inner = self.depthwise(self.expand(x))
        out = self.project(self.squeeze(inner))
        return (self.drop_path(out) + x if self.has_shortcut else out), inner


class MobileNet(Backbone):
    """MobileNetV2 or V3, or EfficientNet-Lite, up to its last 1x1 convolution.

    Args:
        stages: the table of units.
        stem_channels: C of the first convolution.
        activation: behind the first and the last convolution.
        last_channels: C of the last 1x1 convolution; None: there is none, as DeepLab uses V2.
        taps: the stages whose last unit gives a low-level feature.
        depthwise_taps: take it behind that unit's depthwise part (the paper) instead of at
            its end.
        output_stride: 8, 16 or 32.
        norm_epsilon: of the batch norms.
        drop_path: rate of the last unit's `DropPath`, rising linearly up to it.
    """

    def __init__(
        self,
        *,
        stages: tuple[Stage, ...],
        stem_channels: int = 16,
        activation: type[nn.Module] = nn.Hardswish,
        last_channels: int | None,
        taps: tuple[int, ...],
        depthwise_taps: bool = False,
        output_stride: int = 16,
        norm_epsilon: float = NORM_EPSILON,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.taps = taps
        self.depthwise_taps = depthwise_taps
        plan = StridePlan(output_stride)
        stride, _ = plan.step(2)
        self.stem = ConvNormAct(
            3, stem_channels, 3, stride=stride, norm_epsilon=norm_epsilon, activation=activation
        )
        channels, strides = [], []
        in_channels, count = stem_channels, 0
        total = sum(len(units) for _, units in stages)
        self.stages = nn.ModuleList()
        for number, (first_stride, units) in enumerate(stages):
            blocks = nn.ModuleList()
            for i, unit in enumerate(units):
                count += 1
                stride, dilation = plan.step(first_stride if i == 0 else 1)
                blocks.append(
                    InvertedResidual(
                        in_channels,
                        unit,
                        stride=stride,
                        dilation=dilation,
                        norm_epsilon=norm_epsilon,
                        drop_path=drop_path * count / total,
                    )
                )
                in_channels = unit.out
            self.stages.append(blocks)
            if number in taps:
                channels.append(units[-1].expanded if depthwise_taps else units[-1].out)
                strides.append(plan.stride)
        self.head: nn.Module = nn.Identity()
        if last_channels is not None:
            self.head = ConvNormAct(
                in_channels, last_channels, 1, norm_epsilon=norm_epsilon, activation=activation
            )
            in_channels = last_channels
        self.channels = (*channels, in_channels)
        self.strides = (*strides, plan.stride)
        initialize_he(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        features = []
        x = self.stem(x)
        for number, blocks in enumerate(self.stages):
            inner = x
            for block in blocks:  # type: ignore[attr-defined]
                x, inner = self.run(block, x)
            if number in self.taps:
                features.append(inner if self.depthwise_taps else x)
        features.append(self.head(x))
        return features


mobilenet_v2 = partial(
    MobileNet,
    stages=V2,
    stem_channels=32,
    activation=nn.ReLU6,
    last_channels=None,
    taps=(1, 2, 4),
)
efficientnet_lite0 = partial(
    MobileNet,
    stages=LITE0,
    stem_channels=32,
    activation=nn.ReLU6,
    last_channels=None,
    taps=(1, 2, 4),
    norm_epsilon=SLIM_NORM_EPSILON,
)
mobilenet_v3_large = partial(MobileNet, stages=LARGE, last_channels=960, taps=(1, 2, 4))
mobilenet_v3_small = partial(MobileNet, stages=SMALL, last_channels=576, taps=(0, 1, 3))
mobilenet_v3_large_reduced = partial(
    MobileNet,
    stages=LARGE_REDUCED,
    last_channels=480,
    taps=(1, 2, 4),
    depthwise_taps=True,
    norm_epsilon=SLIM_NORM_EPSILON,
)
