"""One look of a network at an image: scaled, perhaps mirrored, padded, and where it then lies."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from panoptic_deeplab.model import MIN_SIDE, PanopticDeepLab
from panoptic_deeplab.structures import Outputs
from panoptic_deeplab.views import View


class Member(NamedTuple):
    """One of several networks that look at the same image.

    Attributes:
        model: the network.
        scale: by which it wants images resized, `InferenceConfig.scale` of its own experiment.
        share: how much it counts.
        long_side: that it wants images to have first, `InferenceConfig.long_side`; 0: their own.
    """

    model: PanopticDeepLab
    scale: float = 1.0
    share: float = 1.0
    long_side: int = 0

    def factor(self, size: Sequence[int]) -> float:
        """By how much an image of (height, width) is resized for it."""
        return self.scale * (self.long_side / max(size) if self.long_side else 1.0)

    @property
    def stride(self) -> int:
        """The network's largest."""
        return self.model.backbone.strides[-1]


def look(
    model: PanopticDeepLab, scaled: NDArray[np.uint8], *, mirrored: bool = False
) -> tuple[Outputs, View]:
    """Run a network on a scaled image.

    Args:
        model: where its weights are decides where it runs.
        scaled: (H, W, 3) uint8, RGB.
        mirrored: exchange left and right first.

    Returns:
        Heads on the network's grid, and where that grid lies on the image.
    """
    shown = scaled[:, ::-1] if mirrored else scaled
    padded = pad(shown, model.backbone.strides[-1], align_corners=model.align_corners)
    size, network = scaled.shape[:2], padded.shape[:2]
    tensor = torch.from_numpy(np.ascontiguousarray(padded)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        outputs: Outputs = model(tensor.to(next(model.parameters()).device))
    samples = outputs.semantic.shape[2:]
    view = View(
        (size[0], size[1]),
        (network[0], network[1]),
        (samples[0], samples[1]),
        model.align_corners,
        mirrored,
    )
    return outputs, view


def pad(image: NDArray[np.uint8], stride: int, *, align_corners: bool) -> NDArray[np.uint8]:
    """Extend an image at the bottom and the right to a size whose feature maps align.

    With `align_corners` sides are n * stride + 1, so that the corners of all feature maps fall on
    the same pixels, as in training (paper: 1025 x 2049); else n * stride. The last row and
    column are repeated. Measured on 14 pictures of nuclei with an early checkpoint: PQ of the
    things 52.9, with grey padding 50.6, without padding 48.3.

    Args:
        image: (H, W, 3).
        stride: the network's largest.
        align_corners: of the model.

    Returns:
        (H', W', 3), each side at least `MIN_SIDE`; the image itself where nothing is missing.
    """
    height, width = image.shape[:2]
    size = padded_size((height, width), stride, align_corners=align_corners)
    return pad_to(image, size)


def pad_to(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Repeat the last row and column up to a size; the image itself where nothing is missing."""
    height, width = image.shape[:2]
    if size == (height, width):
        return image
    return np.pad(image, ((0, size[0] - height), (0, size[1] - width), (0, 0)), mode="edge")


def padded_size(size: tuple[int, int], stride: int, *, align_corners: bool) -> tuple[int, int]:
    """What `pad` makes of a size."""
    extra = 1 if align_corners else 0
    height, width = (-(-(max(side, MIN_SIDE) - extra) // stride) * stride + extra for side in size)
    return height, width


def scale_image(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize (H, W, 3): by areas where it shrinks, linearly where it grows."""
    if scale == 1:
        return image
    height, width = scaled_size((image.shape[0], image.shape[1]), scale)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=way), np.uint8)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """What `scale_image` makes of a size."""
    height, width = (max(1, round(scale * side)) for side in size)
    return height, width
