"""Any convolutional network of timm as a backbone: the name `timm:NAME`.

timm is an optional package. What it calls a model is asked for its feature pyramid, and held to
the contract of `Backbone` by a trial image. Its networks expect pixels normalised by their own
mean and deviation; set `pixel_mean` and `pixel_std` for pre-trained weights.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from panoptic_deeplab.backbones.base import Backbone
from panoptic_deeplab.dilated import replace_dilated

PREFIX = "timm:"

TRIAL_SIZE = (65, 97)
"""Odd, of the form 32 n + 1, and not square: most wrong assumptions about sizes show here."""

LARGEST_STRIDE = 32


class TimmBackbone(Backbone):
    """A network of timm that gives features from stride 4 on.

    Args:
        name: timm's, without the prefix.
        pretrained: download timm's weights, the default ones of that name.
        output_stride: 8, 16 or 32, where the network can be dilated; else 32.
        norm_epsilon: of its batch norms; None: timm's own.

    Raises:
        ImportError: if timm is missing or does not load.
        ValueError: if timm has no such network or no weights for it, or it cannot serve as a
            backbone.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        output_stride: int = 32,
        norm_epsilon: float | None = None,
    ) -> None:
        super().__init__()
        self.body = _create(name, pretrained=pretrained, output_stride=output_stride)
        replace_dilated(self.body)
        if norm_epsilon is not None:
            for part in self.body.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eps = norm_epsilon
        reductions: list[int] = self.body.feature_info.reduction()
        self.kept = tuple(i for i, stride in enumerate(reductions) if stride >= 4)
        self.strides = tuple(reductions[i] for i in self.kept)
        channels: list[int] = self.body.feature_info.channels()
        self.channels = tuple(channels[i] for i in self.kept)
        self.is_padded = False
        self._try_out(name, output_stride)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        height, width = x.shape[-2:]
        if self.is_padded:
            down, right = -height % LARGEST_STRIDE, -width % LARGEST_STRIDE
            x = nn.functional.pad(x, (0, right, 0, down))
        features = self.run(self.body, x)
        kept = [features[i] for i in self.kept]
        return [
            f[..., : -(-height // stride), : -(-width // stride)]
            for f, stride in zip(kept, self.strides, strict=True)
        ]

    def _try_out(self, name: str, output_stride: int) -> None:
        """Hold the network to the contract; pad its images if it rounds sizes down."""
        if self.strides[:2] != (4, 8) or self.strides[-1] != output_stride:
            raise ValueError(
                f"A backbone needs features at strides 4, 8, ..., {output_stride}, but timm's "
                f"{name!r} gives {self.strides}. Choose another network or output_stride."
            )
        if self._failure():
            self.is_padded = True
            if failure := self._failure():
                raise ValueError(
                    f"A backbone must take images of any size and give maps (B, C, h, w), but "
                    f"timm's {name!r} does not ({failure}). Choose a convolutional network."
                )

    def _failure(self) -> str:
        """What is wrong with the features of a trial image; empty if nothing is."""
        device = next(self.body.parameters()).device
        was_training = self.training
        try:
            with torch.no_grad():
                features = self.eval()(torch.zeros(1, 3, *TRIAL_SIZE, device=device))
        except (RuntimeError, AssertionError) as error:
            return str(error) or type(error).__name__
        finally:
            self.train(was_training)
        height, width = TRIAL_SIZE
        expected = [
            (1, c, -(-height // stride), -(-width // stride))
            for c, stride in zip(self.channels, self.strides, strict=True)
        ]
        shapes = [tuple(f.shape) for f in features]
        return "" if shapes == expected else f"shapes {shapes} instead of {expected}"


def _create(name: str, *, pretrained: bool, output_stride: int) -> Any:
    """Let timm build a network as a feature pyramid."""
    timm = _import_timm()
    if not timm.is_model(name):
        near = get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(
            f"timm has no network {name!r}. {hint}timm.list_models() lists all of them."
        )
    options: dict[str, Any] = {"pretrained": pretrained, "features_only": True}
    if output_stride != LARGEST_STRIDE:  # not every network knows the argument
        options["output_stride"] = output_stride
    try:
        return timm.create_model(name, **options)
    except (TypeError, AssertionError, RuntimeError) as error:
        if pretrained:
            # Speaks of the network if that is what timm refuses; else it was the weights.
            _create(name, pretrained=False, output_stride=output_stride)
            raise ValueError(
                f"timm must have weights to load for its network {name!r}, but says: {error} "
                "Set pretrained to false to start from fresh weights, or choose another network."
            ) from error
        raise ValueError(
            f"timm's network {name!r} must give a feature pyramid at output_stride "
            f"{output_stride}, but refuses: {error}. Set output_stride to 32, or choose another "
            "network."
        ) from error


def _import_timm() -> Any:
    try:
        return import_module("timm")
    except Exception as error:  # torchvision, which it imports, fails in ways of its own
        raise ImportError(
            f"Backbones named {PREFIX}NAME need the package timm, which does not load ({error}). "
            'Install it with: pip install "panoptic-deeplab[timm]"'
        ) from error
