"""A backbone with the head it is pre-trained with: one class per image.

In: normalised images (B, 3, H, W). Out: logits (B, K). After training, `backbone` goes into the
segmentation network and the rest is dropped.
"""

from torch import Tensor, nn

from panoptic_deeplab.backbones.base import Backbone


class ImageClassifier(nn.Module):
    """Mean over the last feature map, then a linear layer.

    Args:
        backbone: in the form that is pre-trained: output stride 32, and for HRNet the
            classification head.
        num_classes: K; ImageNet: 1000.
        hidden_channels: C of a further linear layer with hard swish in front; MobileNetV3 large:
            1280, small: 1024 (arXiv:1905.02244, tables 1 and 2); None: there is none.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        hidden_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.channels[-1]
        self.hidden: nn.Module = nn.Identity()
        if hidden_channels is not None:
            self.hidden = nn.Sequential(nn.Linear(channels, hidden_channels), nn.Hardswish())
            channels = hidden_channels
        self.classify = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), normalised, to (B, K)."""
        pooled = self.backbone(x)[-1].mean((2, 3))  # (B, C)
        out: Tensor = self.classify(self.hidden(pooled))
        return out
