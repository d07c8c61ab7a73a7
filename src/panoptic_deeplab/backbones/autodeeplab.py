"""Auto-DeepLab: the cell and the path through strides that a search found.

Papers: arXiv:1901.02985; Auto-DeepLab+ and the wider networks: the supplement of Panoptic-DeepLab
and arXiv:1910.04751. Layer for layer after TensorFlow's models (research/deeplab/core/nas_cell.py
and nas_network.py). Twelve cells follow a path of strides; each reads the outputs of the two
before it. Unlike there, maps are brought to the exact grid of their stride, so every image size
works; on sides of 32 n + 1 that is the same, and `exact_grids` can be switched off.
"""

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from panoptic_deeplab.backbones.base import SLIM_NORM_EPSILON, Backbone, DropPath
from panoptic_deeplab.depthwise import DepthwiseConv
from panoptic_deeplab.layers import ConvNormAct, Size, initialize_he, resize

PATH = (0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1)
"""Level of each cell: stride 4 * 2 ** level, width growing alike (arXiv:1901.02985, figure 3)."""

STATES = 5
"""New states in a cell, joined to its output."""

TAPS = (2, 5)
"""Cells whose outputs are the low-level features at stride 4 and 8."""


class Operation(NamedTuple):
    """What is done to an earlier state: 0 is the previous cell's output, 1 the one before it."""

    source: int
    kind: Literal["separable", "atrous"]
    kernel: int


CELL = (
    (Operation(1, "atrous", 5), Operation(0, "separable", 3)),
    (Operation(1, "separable", 3), Operation(0, "atrous", 3)),
    (Operation(3, "separable", 3), Operation(1, "separable", 3)),
    (Operation(4, "separable", 5), Operation(2, "separable", 5)),
    (Operation(3, "separable", 5), Operation(5, "atrous", 5)),
)
"""Pairs whose sums are the states 2 to 6 (arXiv:1901.02985, figure 3)."""


class SeparableTwice(nn.Module):
    """Twice ReLU, k x k depthwise, 1x1 and norm; a stride sits in the first.

    Args:
        channels: C of input and output.
        kernel: side of the depthwise convolutions.
        stride: 1 or 2.
        norm_epsilon: of the batch norms.
    """

    def __init__(self, channels: int, kernel: int, *, stride: int, norm_epsilon: float) -> None:
        super().__init__()
        self.depthwise = nn.ModuleList(
            DepthwiseConv(channels, kernel, stride=s) for s in (stride, 1)
        )
        self.pointwise = nn.ModuleList(
            ConvNormAct(channels, channels, 1, norm_epsilon=norm_epsilon, activation=nn.Identity)
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = pointwise(depthwise(nn.functional.relu(x)))
        return x


class Atrous(nn.Module):
    """ReLU, plain convolution dilated by 2, norm; instead of a stride the map is resized first.

    Args:
        channels: C of input and output.
        kernel: side of the convolution.
        stride: 1 or 2; with 2 there is no dilation.
        align_corners: of the resize.
        norm_epsilon: of the batch norm.
    """

    def __init__(
        self, channels: int, kernel: int, *, stride: int, align_corners: bool, norm_epsilon: float
    ) -> None:
        super().__init__()
        self.stride = stride
        self.align_corners = align_corners
        self.conv = ConvNormAct(
            channels,
            channels,
            kernel,
            dilation=2 if stride == 1 else 1,
            norm_epsilon=norm_epsilon,
            activation=nn.Identity,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        size = (-(-x.shape[-2] // self.stride), -(-x.shape[-1] // self.stride))
        x = resize(nn.functional.relu(x), size, align_corners=self.align_corners)
        out: Tensor = self.conv(x)
        return out


class Cell(nn.Module):
    """The searched cell.

    Args:
        channels: C of the previous output and of the one before it.
        width: C of each state; the output has five times as many.
        stride: 1 or 2.
        align_corners: of every resize.
        norm_epsilon: of the batch norms.
        drop_path: of every operation; see `DropPath`.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        width: int,
        *,
        stride: int,
        align_corners: bool,
        norm_epsilon: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        make_narrow = partial(
            ConvNormAct,
            kernel_size=1,
            norm_epsilon=norm_epsilon,
            activation=nn.Identity,
        )
        self.current = make_narrow(channels[0], width)
        self.before: nn.Module | None = None
        if channels[1] != width:
            self.before = make_narrow(channels[1], width)

        def make(operation: Operation) -> nn.Module:
            # Later states already lie on the strided grid.
            own_stride = stride if operation.source < 2 else 1
            if operation.kind == "separable":
                return SeparableTwice(
                    width, operation.kernel, stride=own_stride, norm_epsilon=norm_epsilon
                )
            return Atrous(
                width,
                operation.kernel,
                stride=own_stride,
                align_corners=align_corners,
                norm_epsilon=norm_epsilon,
            )

        self.states = nn.ModuleList(
            nn.ModuleList(make(operation) for operation in pair) for pair in CELL
        )
        self.drop_path = DropPath(drop_path, is_scheduled=True) if drop_path else nn.Identity()

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the cell.

        Args:
            inputs: (B, C_0, h, w), output of the cell before, and (B, C_1, ...), of the one
                before that, on any grid.

        Returns:
            (B, 5 width, ceil(h / stride), ceil(w / stride)), before any ReLU.
        """
        current, before = inputs
        size = (current.shape[-2], current.shape[-1])
        before = resize(before, size, align_corners=self.align_corners)
        if self.before is not None:
            before = self.before(nn.functional.relu(before))
        states = [self.current(nn.functional.relu(current)), before]
        for pair, modules in zip(CELL, self.states, strict=True):
            left, right = (
                self.drop_path(module(states[operation.source]))
                for operation, module in zip(pair, modules, strict=True)  # type: ignore[call-overload]
            )
            states.append(left + right)
        return torch.cat(states[2:], dim=1)


class AutoDeepLab(Backbone):
    """Auto-DeepLab and Auto-DeepLab+. The last map lies at stride 8.

    Args:
        width: F, of a state at stride 4; small 20, medium 32, large 48, extra large 64.
        keep_coarsest_stride: let cells 8 and 9 work at stride 32, as found by the search; False:
            at stride 16 with the same width (Auto-DeepLab+; supplement, figure 3).
        exact_grids: bring maps to the grid of their stride. False: double them from n to 2 n - 1
            as TensorFlow's code does, which misses that grid on most image sizes; the last map
            then lies beside it.
        align_corners: of every resize.
        output_stride: 8; there is no other form.
        norm_epsilon: of the batch norms.
        drop_path: rate of the last cell's `DropPath` at the end of the training; it rises
            linearly with the cells and, by `set_progress`, with the steps.

    Raises:
        ValueError: if another output stride is asked for.
    """

    def __init__(
        self,
        *,
        width: int,
        keep_coarsest_stride: bool = True,
        exact_grids: bool = True,
        align_corners: bool = True,
        output_stride: int = 8,
        norm_epsilon: float = SLIM_NORM_EPSILON,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if output_stride != 8:
            raise ValueError(
                f"Auto-DeepLab's last map always lies at stride 8, got output_stride "
                f"{output_stride}. Set output_stride to 8."
            )
        self.align_corners = align_corners
        self.exact_grids = exact_grids
        self.grids = PATH if keep_coarsest_stride else tuple(min(level, 2) for level in PATH)
        self.stem = nn.Sequential(
            ConvNormAct(3, 64, 3, stride=2, norm_epsilon=norm_epsilon),
            ConvNormAct(64, 64, 3, norm_epsilon=norm_epsilon, activation=nn.Identity),
            ConvNormAct(64, 128, 3, stride=2, norm_epsilon=norm_epsilon, activation=nn.Identity),
        )
        self.cells = nn.ModuleList()
        channels = (128, 64)
        grid_before = 0
        for i, (level, grid) in enumerate(zip(PATH, self.grids, strict=True)):
            self.cells.append(
                Cell(
                    channels,
                    width * 2**level,
                    stride=2 if grid > grid_before else 1,
                    align_corners=align_corners,
                    norm_epsilon=norm_epsilon,
                    drop_path=drop_path * (i + 1) / len(PATH),
                )
            )
            channels = (STATES * width * 2**level, channels[0])
            grid_before = grid
        self.channels = tuple(STATES * width * 2 ** PATH[i] for i in (*TAPS, len(PATH) - 1))
        self.strides = (4, 8, 8)
        initialize_he(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        before = self.stem[1](self.stem[0](x))
        current = self.stem[2](nn.functional.relu(before))
        sizes: dict[int, Size] = {}  # of the grids that cells have worked on
        grid_before = 0
        features = []
        for i, (cell, grid) in enumerate(zip(self.cells, self.grids, strict=True)):
            reached = current
            if grid < grid_before:
                size = sizes[grid]
                if not self.exact_grids:
                    size = (2 * current.shape[-2] - 1, 2 * current.shape[-1] - 1)
                reached = resize(current, size, align_corners=self.align_corners)
            before, current = current, self.run(cell, (reached, before))
            sizes[grid] = (current.shape[-2], current.shape[-1])
            grid_before = grid
            if i in TAPS:
                features.append(current)
        return [*features, nn.functional.relu(current)]


auto_deeplab_s = partial(AutoDeepLab, width=20)
auto_deeplab_m = partial(AutoDeepLab, width=32)
auto_deeplab_l = partial(AutoDeepLab, width=48)
auto_deeplab_xl = partial(AutoDeepLab, width=64)
auto_deeplab_l_plus = partial(AutoDeepLab, width=48, keep_coarsest_stride=False)
auto_deeplab_xl_plus = partial(AutoDeepLab, width=64, keep_coarsest_stride=False)
