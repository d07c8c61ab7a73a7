"""Settings with which others train and publish, where conversion and recipes both need them.

Facts: torchvision's pixel mean; the configurations of detectron2's Panoptic-DeepLab project.
"""

from typing import Any

from panoptic_deeplab.config import GroupingConfig

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of ImageNet's RGB pixels, 0-255: 255 times (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225)."""

HALF = (127.5, 127.5, 127.5)
"""Mean and deviation that bring pixels to -1..1, as TensorFlow's networks take them."""

COCO_CLASSES = 133

DETECTRON2_CROP = {19: (512, 1024), COCO_CLASSES: (640, 640)}
"""Size of training crops by number of classes, Cityscapes and COCO: the ASPP pools over it."""


def detectron2_grouping(num_classes: int) -> GroupingConfig:
    """What detectron2's configurations and its post-processing do."""
    area, kernel = (4096, 41) if num_classes == COCO_CLASSES else (2048, 7)
    return GroupingConfig(
        stuff_area_px=area, nms_kernel=kernel, score="product", objectness_at="centroid"
    )


def detectron2_inference(num_classes: int) -> dict[str, Any]:
    """How its configurations test: images of COCO with a longer side of 640."""
    return {"long_side": 640} if num_classes == COCO_CLASSES else {}
