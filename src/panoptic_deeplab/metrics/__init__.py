"""How good predictions are: each metric has `update`, `merge` and `result`."""

from panoptic_deeplab.metrics.panoptic import PanopticQuality

__all__ = ["PanopticQuality"]
