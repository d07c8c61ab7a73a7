"""Batch norm whose statistics are those of all processes' images, on GPUs and on CPUs.

Torch's own works on GPUs alone. Here mean and variance are summed over the processes one after the
other, so that the result is that of one process with all images to rounding.
"""

import torch
from torch import Tensor, nn

from panoptic_deeplab.distributed import differentiable_sum, is_joined


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Synchronised batch norm; alone, and outside of training, a plain one."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "SharedBatchNorm2d":
        """One with the weights and statistics of a plain batch norm."""
        new = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        new.weight, new.bias = norm.weight, norm.bias
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        return new

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not self.training or not is_joined():
            return super().forward(input)
        x = input.float()
        own = torch.tensor([x.numel() / x.shape[1]], device=x.device)
        told = differentiable_sum(torch.cat([x.sum((0, 2, 3)), own]))
        mean, count = told[:-1] / told[-1], told[-1].detach()
        away = x - mean[:, None, None]
        variance = differentiable_sum((away * away).sum((0, 2, 3))) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (away * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None, "built with the default"
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
