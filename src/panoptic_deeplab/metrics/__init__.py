"""How good predictions are: each metric has `update`, `merge` and `result`."""

from panoptic_deeplab.metrics.instance import AveragePrecision
from panoptic_deeplab.metrics.panoptic import PanopticQuality
from panoptic_deeplab.metrics.semantic import MeanIoU

__all__ = ["AveragePrecision", "MeanIoU", "PanopticQuality"]
