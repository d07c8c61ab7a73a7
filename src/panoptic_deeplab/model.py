"""The network: backbone, two decoder branches, three heads.

In: RGB pixels 0-255. Out: `Outputs` at stride 4. Paper: arXiv:1911.10194, figure 2. Pixels are
normalised here, so weights and preprocessing cannot be parted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from panoptic_deeplab.backbones import Backbone, build_backbone
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.decoder import ASPP, Branch, Head, Pooling
from panoptic_deeplab.layers import NORM_EPSILON, Size, initialize_he, upsample
from panoptic_deeplab.structures import Outputs

MIN_SIDE = 33
"""Smallest image side: its map at stride 32 has two pixels, so corners can be aligned."""

ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""By output stride: the same field of view in input pixels (arXiv:1706.05587, section 3.3)."""


class PanopticDeepLab(nn.Module):
    """Panoptic-DeepLab. Flat arguments; `build_model` translates a configuration into them.

    Args:
        backbone: see `Backbone`.
        num_classes: K.
        atrous_rates: of the ASPPs; None: those of `ATROUS_RATES`.
        aspp_channels: C of each ASPP.
        aspp_separable: see `ASPP`.
        aspp_pooling: see `ASPP`.
        aspp_pooling_size: (H, W) in input pixels of its pooling window; None: the whole map.
        aspp_dropout: see `ASPP`.
        semantic_channels: C of the semantic decoder.
        semantic_projections: C of its low-level features, from coarse to fine.
        semantic_head_channels: C inside its head.
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

    Raises:
        ValueError: if there are more projections than low-level features.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        atrous_rates: Sequence[int] | None = None,
        aspp_channels: int = 256,
        aspp_separable: bool = True,
        aspp_pooling: Pooling = "norm",
        aspp_pooling_size: Size | None = None,
        aspp_dropout: float = 0.1,
        semantic_channels: int = 256,
        semantic_projections: Sequence[int] = (64, 32),
        semantic_head_channels: int = 256,
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
        self.align_corners = align_corners
        self.backbone = backbone
        stride = backbone.strides[-1]

        def branch(out_channels: int, projections: Sequence[int]) -> Branch:
            aspp = ASPP(
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
            return Branch(
                aspp,
                aspp_channels=aspp_channels,
                low_channels=_low_channels(backbone, len(projections)),
                projections=projections,
                out_channels=out_channels,
                depthwise_norm=depthwise_norm,
                align_corners=align_corners,
                norm_epsilon=norm_epsilon,
            )

        def head(in_channels: int, hidden_channels: int, out_channels: int) -> Head:
            return Head(
                in_channels,
                hidden_channels,
                out_channels,
                depthwise_norm=depthwise_norm,
                norm_epsilon=norm_epsilon,
            )

        self.semantic_decoder = branch(semantic_channels, semantic_projections)
        self.instance_decoder = branch(instance_channels, instance_projections)
        self.semantic_head = head(semantic_channels, semantic_head_channels, num_classes)
        self.center_head = head(instance_channels, instance_head_channels, 1)
        self.offset_head = head(instance_channels, instance_head_channels, 2)
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
        features = self.backbone(x)
        semantic = self.semantic_decoder(features)
        instance = self.instance_decoder(features)
        return Outputs(
            semantic=self.semantic_head(semantic),
            center=self.center_head(instance),
            offset=self.offset_head(instance),
        )

    def upsample(self, outputs: Outputs, size: Size) -> Outputs:
        """Bring all maps to one grid, offsets scaled with it; see `layers.upsample`."""
        return upsample(outputs, size, align_corners=self.align_corners)

    def _initialize(self) -> None:
        """Weights to train from; the backbone has drawn its own.

        He's law where batch norm follows: its scale then does not matter to the values, only to
        the step size. The predictors start near zero (the paper's code base: 0.01), so that
        before the first step all classes are equally likely and the heat map is empty.
        """
        heads = (self.semantic_head, self.center_head, self.offset_head)
        for part in (self.semantic_decoder, self.instance_decoder, *heads):
            initialize_he(part)
        for head in heads:
            nn.init.normal_(head.predict.weight, std=0.01)


def build_model(config: ModelConfig, num_classes: int) -> PanopticDeepLab:
    """Build the network a configuration describes, with fresh weights.

    Args:
        config: see `ModelConfig`.
        num_classes: K.

    Raises:
        ValueError: if the backbone or one of its options is unknown.

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
    return PanopticDeepLab(
        backbone,
        num_classes,
        atrous_rates=config.atrous_rates,
        aspp_channels=config.aspp_channels,
        aspp_separable=config.aspp_separable,
        aspp_pooling=config.aspp_pooling,
        aspp_pooling_size=config.aspp_pooling_size,
        aspp_dropout=config.aspp_dropout,
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


def _window(size: Size | None, stride: int) -> Size | None:
    """Pooling window on the feature map that covers `size` input pixels."""
    return None if size is None else (-(-size[0] // stride), -(-size[1] // stride))


def _low_channels(backbone: Backbone, count: int) -> tuple[int, ...]:
    """C of the `count` finest features, from coarse to fine."""
    available = backbone.channels[:-1]
    if not 1 <= count <= len(available):
        raise ValueError(
            f"The decoder needs 1 to {len(available)} projections with this backbone, one per "
            f"low-level feature from stride 4 on, got {count}. Change semantic_projections or "
            "instance_projections."
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
