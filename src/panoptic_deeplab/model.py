"""The network: backbone, two decoder branches, three heads.

In: RGB pixels 0-255. Out: `Outputs` at stride 4. Paper: arXiv:1911.10194, figure 2. Pixels are
normalised here, so weights and preprocessing cannot be parted.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from panoptic_deeplab.backbones import Backbone, build_backbone
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.decoder import ASPP, Branch, Convs, Head, Pooling
from panoptic_deeplab.inference import optimize
from panoptic_deeplab.layers import (
    NORM_EPSILON,
    ConvNormAct,
    Size,
    initialize_he,
    replace_norms,
    upsample,
)
from panoptic_deeplab.structures import Outputs

MIN_SIDE = 33
"""Smallest image side: its map at stride 32 has two pixels, so corners can be aligned."""

ATROUS_RATES = {4: (24, 48, 72), 8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""By output stride: the same field of view in input pixels (arXiv:1706.05587, section 3.3)."""

DecoderKind = Literal["panoptic_deeplab", "deeplabv3plus"]
InstanceBranch = Literal["dual", "shared_aspp", "shared", "none"]
Context = Literal["aspp", "projection", "none"]


class PanopticDeepLab(nn.Module):
    """Panoptic-DeepLab. Flat arguments; `build_model` translates a configuration into them.

    Args:
        backbone: see `Backbone`.
        num_classes: K.
        context: what stands between the last feature and a decoder; see `ModelConfig`.
        atrous_rates: of the ASPPs; None: those of `ATROUS_RATES`.
        aspp_channels: C of each ASPP.
        aspp_separable: see `ASPP`.
        aspp_pooling: see `ASPP`.
        aspp_pooling_size: (H, W) in input pixels of its pooling window; None: the whole map.
        aspp_dropout: see `ASPP`.
        decoder: "panoptic_deeplab", or "deeplabv3plus" with one low-level feature a branch.
        decoder_separable: separable convolutions in decoders and heads.
        center_head_separable: the same in the center head; None: as the others.
        instance_branch: how much of its own the instance branch has; see `ModelConfig`.
        semantic_channels: C of the semantic decoder.
        semantic_projections: C of its low-level features, from coarse to fine.
        semantic_head_channels: C inside its head; None: the predictor alone.
        instance_channels: C of the instance decoder.
        instance_projections: as above.
        instance_head_channels: C inside the center and the offset head.
        depthwise_norm: see `SeparableConv`.
        align_corners: of every resize.
        norm_epsilon: of the batch norms outside the backbone.
        pixel_mean: RGB, in 0-255 units.
        pixel_std: RGB, in 0-255 units.

    Attributes:
        num_classes: K.
        align_corners: how the outputs must be resized too; `upsample` does.
        compute_dtype: of the maps behind the normalisation; None: as the pixels come out of it.

    Raises:
        ValueError: if the projections do not fit the backbone or the decoder.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        context: Context = "aspp",
        atrous_rates: Sequence[int] | None = None,
        aspp_channels: int = 256,
        aspp_separable: bool = True,
        aspp_pooling: Pooling = "norm",
        aspp_pooling_size: Size | None = None,
        aspp_dropout: float = 0.1,
        decoder: DecoderKind = "panoptic_deeplab",
        decoder_separable: bool = True,
        center_head_separable: bool | None = None,
        instance_branch: InstanceBranch = "dual",
        semantic_channels: int = 256,
        semantic_projections: Sequence[int] = (64, 32),
        semantic_head_channels: int | None = 256,
        instance_channels: int = 128,
        instance_projections: Sequence[int] = (32, 16),
        instance_head_channels: int = 32,
        depthwise_norm: bool = False,
        align_corners: bool = True,
        norm_epsilon: float = NORM_EPSILON,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.compute_dtype: torch.dtype | None = None
        self.align_corners = align_corners
        self.instance_branch = instance_branch
        self.backbone = backbone
        stride = backbone.strides[-1]
        make_aspp = partial(
            ASPP,
            backbone.channels[-1],
            aspp_channels,
            rates=atrous_rates or ATROUS_RATES[stride],
            separable=aspp_separable,
            pooling=aspp_pooling,
            pooling_window=_window(aspp_pooling_size, stride),
            dropout=aspp_dropout,
            depthwise_norm=depthwise_norm,
            align_corners=align_corners,
            norm_epsilon=norm_epsilon,
        )

        def look(width: int) -> tuple[nn.Module, int]:
            """What a branch does with the last feature, and how many channels that has."""
            if context == "aspp":
                return make_aspp(), aspp_channels
            channels = backbone.channels[-1]
            if context == "projection":
                return ConvNormAct(channels, width, 1, norm_epsilon=norm_epsilon), width
            return nn.Identity(), channels

        make_branch = partial(
            Branch,
            form=_decoder_convs(decoder, decoder_separable),
            depthwise_norm=depthwise_norm,
            align_corners=align_corners,
            norm_epsilon=norm_epsilon,
        )
        make_head = partial(
            Head,
            form=_head_convs(decoder_separable),
            depthwise_norm=depthwise_norm,
            norm_epsilon=norm_epsilon,
        )
        context_module, context_channels = look(semantic_channels)
        self.semantic_decoder = make_branch(
            context_module,
            aspp_channels=context_channels,
            low_channels=_low_channels(backbone, semantic_projections, decoder, "semantic"),
            projections=semantic_projections,
            out_channels=semantic_channels,
        )
        if instance_branch in ("dual", "shared_aspp"):
            own_module = None
            if instance_branch == "dual":
                own_module, context_channels = look(instance_channels)
            self.instance_decoder = make_branch(
                own_module,
                aspp_channels=context_channels,
                low_channels=_low_channels(backbone, instance_projections, decoder, "instance"),
                projections=instance_projections,
                out_channels=instance_channels,
            )
        self.semantic_head = make_head(semantic_channels, semantic_head_channels, num_classes)
        if instance_branch != "none":
            width = semantic_channels if instance_branch == "shared" else instance_channels
            if center_head_separable is None:
                center_head_separable = decoder_separable
            self.center_head = make_head(
                width, instance_head_channels, 1, form=_head_convs(center_head_separable)
            )
            self.offset_head = make_head(width, instance_head_channels, 2)
        # Not in the state dict: they are settings, stored with the configuration.
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (pixel_mean, pixel_std))
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)
        self._initialize()

    def forward(self, images: Tensor) -> Outputs:
        """Run the network.

        Args:
            images: (B, 3, H, W), RGB 0-255, uint8 or floating point, each side 33 or more.

        Returns:
            Maps on (ceil(H / 4), ceil(W / 4)).

        Raises:
            TypeError: if images are neither uint8 nor floating point.
            ValueError: if their shape is another, or too small.
        """
        _check_images(images)
        x = (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        x = x.to(self.compute_dtype or x.dtype)
        features = self.backbone(x)
        pyramid = self.semantic_decoder.pyramid(features)
        decoded = self.semantic_decoder(features, pyramid)
        semantic = self.semantic_head(decoded)
        if self.instance_branch == "none":
            center = torch.zeros_like(semantic[:, :1])
            return Outputs(semantic, center, torch.cat([center, center], dim=1))
        if self.instance_branch == "dual":
            pyramid = self.instance_decoder.pyramid(features)
        if self.instance_branch != "shared":
            decoded = self.instance_decoder(features, pyramid)
        return Outputs(
            semantic=semantic,
            center=self.center_head(decoded),
            offset=self.offset_head(decoded),
        )

    def upsample(self, outputs: Outputs, size: Size) -> Outputs:
        """Bring all maps to one grid, offsets scaled with it; see `layers.upsample`."""
        return upsample(outputs, size, align_corners=self.align_corners)

    def optimize_for_inference(self, *, dtype: torch.dtype = torch.float32) -> "PanopticDeepLab":
        """Copy the network for predicting on a CPU; this one stays as it is.

        Batch norms are folded into convolutions, weights lie in channels-last order, and depthwise
        convolutions with far-apart taps are sums of shifted maps. In float32 the heads equal the
        plain network's to 1e-4 of their largest value (measured: 1e-6 to 2e-5); bfloat16 keeps
        about two digits of them, and pays off only on processors with instructions for it.

        Args:
            dtype: torch.float32 or torch.bfloat16, of weights and feature maps; heads come out in
                float32 either way.

        Returns:
            A network of the same kind in evaluation mode, not meant to be trained or saved.

        Raises:
            ValueError: if dtype is another.
        """
        network = optimize(self, dtype=dtype)
        network.compute_dtype = dtype
        return network

    def _initialize(self) -> None:
        """Weights to train from; the backbone has drawn its own.

        He's law where batch norm follows: its scale then does not matter to the values, only to
        the step size. The predictors start near zero (the paper's code base: 0.01), so that
        before the first step all classes are equally likely and the heat map is empty.
        """
        for name, part in self.named_children():
            if name != "backbone":
                initialize_he(part)
        for part in self.children():
            if isinstance(part, Head):
                nn.init.normal_(part.predict.weight, std=0.01)


def build_model(config: ModelConfig, num_classes: int) -> PanopticDeepLab:
    """Build the network a configuration describes, with fresh weights.

    Args:
        config: see `ModelConfig`.
        num_classes: K.

    Raises:
        ValueError: if the backbone or one of its options is unknown, or the decoder does not
            fit it.

    Example:
        >>> model = build_model(ModelConfig(backbone="mobilenet_v3_small"), 19).eval()
        >>> model(torch.zeros(1, 3, 65, 97, dtype=torch.uint8)).offset.shape
        torch.Size([1, 2, 17, 25])
    """
    backbone = build_backbone(
        config.backbone,
        output_stride=config.output_stride,
        norm_epsilon=config.backbone_norm_epsilon,
        options=config.backbone_options,
    )
    return complete_model(backbone, config, num_classes)


def complete_model(backbone: Backbone, config: ModelConfig, num_classes: int) -> PanopticDeepLab:
    """Put decoders and heads behind a backbone.

    Args:
        backbone: as `config` describes it.
        config: see `ModelConfig`.
        num_classes: K.

    Raises:
        ValueError: if the decoder does not fit the backbone.
    """
    model = PanopticDeepLab(
        backbone,
        num_classes,
        context=config.context,
        atrous_rates=config.atrous_rates,
        aspp_channels=config.aspp_channels,
        aspp_separable=config.aspp_separable,
        aspp_pooling=config.aspp_pooling,
        aspp_pooling_size=config.aspp_pooling_size,
        aspp_dropout=config.aspp_dropout,
        decoder=config.decoder,
        decoder_separable=config.decoder_separable,
        center_head_separable=config.center_head_separable,
        instance_branch=config.instance_branch,
        semantic_channels=config.semantic_channels,
        semantic_projections=config.semantic_projections,
        semantic_head_channels=config.semantic_head_channels,
        instance_channels=config.instance_channels,
        instance_projections=config.instance_projections,
        instance_head_channels=config.instance_head_channels,
        depthwise_norm=config.depthwise_norm,
        align_corners=config.align_corners,
        norm_epsilon=config.norm_epsilon,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
    )
    replace_norms(model.backbone, config.backbone_norm or config.norm)
    for name, part in model.named_children():
        if name != "backbone":
            replace_norms(part, config.norm)
    return model


def _window(size: Size | None, stride: int) -> Size | None:
    """Pooling window on the feature map that covers `size` input pixels."""
    return None if size is None else (-(-size[0] // stride), -(-size[1] // stride))


def _decoder_convs(decoder: DecoderKind, is_separable: bool) -> Convs:
    """What refines a decoder's map."""
    if not is_separable:
        return "plain_3x3_twice"
    return "separable_5x5" if decoder == "panoptic_deeplab" else "separable_3x3_twice"


def _head_convs(is_separable: bool) -> Convs:
    """What stands in front of a predictor."""
    return "separable_5x5" if is_separable else "plain_3x3_twice"


def _low_channels(
    backbone: Backbone, projections: Sequence[int], decoder: DecoderKind, branch: str
) -> tuple[int, ...]:
    """C of the finest features, one per projection, from coarse to fine."""
    available, count = backbone.channels[:-1], len(projections)
    if decoder == "deeplabv3plus" and count != 1:
        raise ValueError(
            f"The DeepLabV3+ decoder joins one low-level feature, got {branch}_projections of "
            f"{tuple(projections)}. Give one width; the paper's are 32 (semantic) and 16."
        )
    if count > len(available):
        raise ValueError(
            f"This backbone has {len(available)} low-level features, got {count} "
            f"{branch}_projections. Remove the first, which belong to the coarsest ones."
        )
    return available[:count][::-1]


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must have shape (B, 3, H, W), got {tuple(images.shape)}. "
            "Channels are RGB; add a batch axis with images[None], or move channels to the front."
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(
            f"images must be uint8 or floating point with values 0-255, got {images.dtype}. "
            "Convert with images.to(torch.uint8) or images.float()."
        )
    if images.shape[-2] < MIN_SIDE or images.shape[-1] < MIN_SIDE:
        raise ValueError(
            f"Each image side must be at least {MIN_SIDE} pixels, got "
            f"{images.shape[-2]}x{images.shape[-1]} (height x width). Enlarge or pad the image."
        )
