"""Dilated convolution whose gradients in bfloat16 on a CPU are right.

oneDNN 3.12 (torch 2.13), asked for the weight gradient of a dilated convolution in bfloat16 and
channels-last order, reads memory nobody wrote, unless the input channels of a group are a multiple
of 16 or fewer than 16: errors as large as the gradient, silently, and now and then infinities.
Depthwise ones are wrong at every number of channels. Forward passes, input gradients, float32
and convolutions without dilation are right. `DepthwiseConv` sums its weight gradient by itself and
is not touched by this.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK = 16
"""Of input channels, in oneDNN's kernels; a remainder behind whole blocks is what it gets wrong."""


class DilatedConv(nn.Conv2d):
    """`nn.Conv2d`; trained in bfloat16 on a CPU, it gives oneDNN only what that computes rightly.

    A convolution of one group gets channels of zeros up to a multiple of 16, which take less time
    than they save or little more (0.6 to 1.14 of torch's own step, two cores, Zen 4). One of more
    groups runs in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv2d`: (B, C, H, W) -> (B, C_out, H_out, W_out)."""
        if not self._trains_in_bfloat16_on_cpu(x):
            return super().forward(x)
        if self.groups > 1:
            with torch.autocast("cpu", enabled=False):
                exact: Tensor = self._conv_forward(
                    x.float(), self.weight.float(), _float(self.bias)
                )
            return exact.bfloat16()
        missing = -self.in_channels % _BLOCK
        if not missing:
            return super().forward(x)
        zeros = (0, 0, 0, 0, 0, missing)  # (left, right), (top, bottom), (first, last channels)
        out: Tensor = self._conv_forward(F.pad(x, zeros), F.pad(self.weight, zeros), self.bias)
        return out

    def _trains_in_bfloat16_on_cpu(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or not torch.is_grad_enabled() or not self.weight.requires_grad:
            return False
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        return dtype == torch.bfloat16


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()


def replace_dilated(network: nn.Module) -> None:
    """Put `DilatedConv` in the place of a foreign network's dilated convolutions.

    Weights, state-dict keys and results stay. What others derive from `nn.Conv2d` is left alone.

    Args:
        network: changed in place; plain `nn.Conv2d` with zeros as padding are replaced.
    """
    for name, part in list(network.named_modules()):
        if type(part) is nn.Conv2d and max(part.dilation) > 1 and part.padding_mode == "zeros":
            network.set_submodule(name, _own(part))


def _own(conv: nn.Conv2d) -> nn.Conv2d:
    own = DilatedConv(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    own.weight, own.bias = conv.weight, conv.bias
    return own.train(conv.training)
