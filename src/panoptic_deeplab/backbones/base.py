"""What every backbone promises, and how strides turn into dilation.

In: a normalised image (B, 3, H, W). Out: one feature map per stage. The last is what the ASPP
reads. The others are low-level features, from fine to coarse: stride 4, stride 8 and, where there
is a third, the next coarser grid; the decoders take as many from the fine end as they have
projections.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SLIM_NORM_EPSILON = 1e-3
"""Epsilon of the batch norms of TensorFlow's networks (slim), which the paper starts from, and of
weights converted from them; torchvision's and timm's own networks have 1e-5."""


class Backbone(nn.Module, ABC):
    """The contract; `tests/contract/test_backbones.py` holds every backbone to it.

    Attributes:
        channels: C of each returned map.
        strides: input pixels per pixel of each returned map.
        checkpointing: while training, keep only the blocks' inputs and compute the rest again
            during the backward pass: far less memory for about a third more time.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    checkpointing: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the features.

        Args:
            x: (B, 3, H, W), normalised.

        Returns:
            One (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])) per stage.
        """

    def run(self, block: nn.Module, x: Any) -> Any:
        """Call one block of the network, with `checkpointing` if that is on."""
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return block(x)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _resting_statistics(block)

        return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _resting_statistics(block: nn.Module) -> Iterator[None]:
    """The second run of a checkpointed block must not move the running statistics again."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    norms = [m for m in block.modules() if isinstance(m, kinds) and m.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)


class DropPath(nn.Module):
    """Leaves out a block's contribution for whole images at random while training.

    Stochastic depth (arXiv:1603.09382). What is kept is scaled up, so that the mean stays.

    Args:
        rate: probability of leaving out, below 1.
        is_scheduled: the rate rises linearly from 0 with `progress` (NASNet, arXiv:1707.07012).

    Attributes:
        progress: share of the training that is done, one number; see `set_progress`.
    """

    progress: Tensor

    def __init__(self, rate: float, *, is_scheduled: bool = False) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(
                f"drop_path must be at least 0 and below 1, got {rate}. Use 0 for none."
            )
        self.rate = rate
        self.is_scheduled = is_scheduled
        # A tensor, since torch compiles the network anew for each value of a number.
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not self.training or self.rate == 0:
            return x
        rate = self.rate * self.progress if self.is_scheduled else self.rate
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= rate
        return x * (kept / (1 - rate)).to(x.dtype)


def set_progress(model: nn.Module, progress: float) -> None:
    """Tell every scheduled `DropPath` in a model how far the training is.

    Args:
        model: the network, or any part of it.
        progress: 0 at the first step, 1 at the last.
    """
    for part in model.modules():
        if isinstance(part, DropPath):
            part.progress.fill_(min(max(progress, 0.0), 1.0))


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


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse an option's value that would silently mean another one.

    Args:
        name: of the option.
        value: what it was given.
        choices: the `Literal` of what it can be.

    Raises:
        ValueError: if the value is none of the choices.
    """
    known = get_args(choices)
    if value not in known:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}. "
            "Choose one of them."
        )
