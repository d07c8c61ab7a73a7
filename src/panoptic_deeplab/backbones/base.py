"""What every backbone promises, and how strides turn into dilation.

In: a normalised image (B, 3, H, W). Out: one feature map per stage, from fine to coarse. The
first lies at stride 4, the second at stride 8, a third, where there is one before the last, at
the next coarser grid; the last is what the ASPP reads. The decoders take the last one and, from
the fine end, as many of the others as they have low-level projections.
"""

from torch import Tensor, nn


class Backbone(nn.Module):
    """The contract; `tests/contract/test_backbones.py` holds every backbone to it.

    Attributes:
        channels: C of each returned map.
        strides: input pixels per pixel of each returned map.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the features.

        Args:
            x: (B, 3, H, W), normalised.

        Returns:
            One (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])) per stage.
        """
        raise NotImplementedError


class StridePlan:
    """Turns the strides of a network into dilation once its output stride is reached.

    A stride that would exceed the output stride is removed, and what follows it is dilated by
    the same factor, so that every layer still sees the same input pixels (arXiv:1706.05587,
    section 3.1). The layer that lost its stride keeps the dilation from before.

    Args:
        output_stride: largest stride allowed.

    Example:
        >>> plan = StridePlan(8)
        >>> [plan.step(s) for s in (2, 2, 2, 2, 1)]
        [(2, 1), (2, 1), (2, 1), (1, 1), (1, 2)]
    """

    def __init__(self, output_stride: int) -> None:
        self.output_stride = output_stride
        self.stride = 1
        self.dilation = 1

    def step(self, stride: int) -> tuple[int, int]:
        """Pass one layer.

        Args:
            stride: of the layer in the network without dilation.

        Returns:
            The stride and the dilation the layer gets.
        """
        dilation = self.dilation
        if self.stride * stride > self.output_stride:
            self.dilation *= stride
            return 1, dilation
        self.stride *= stride
        return stride, dilation
