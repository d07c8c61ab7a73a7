"""Panoptic-DeepLab: training, inference and evaluation of bottom-up panoptic segmentation.

The public names below are resolved on first use, so importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

from panoptic_deeplab.version import __version__

_HOMES = {
    "load": "panoptic_deeplab.predict",
    "Predictor": "panoptic_deeplab.predict",
    "evaluate": "panoptic_deeplab.evaluate",
    "train": "panoptic_deeplab.train",
    "build_model": "panoptic_deeplab.model",
    "PanopticDeepLab": "panoptic_deeplab.model",
    "Experiment": "panoptic_deeplab.config",
    "recipe": "panoptic_deeplab.recipes",
    "LabelSpace": "panoptic_deeplab.labels",
    "PanopticMap": "panoptic_deeplab.structures",
    "Segment": "panoptic_deeplab.structures",
    "PanopticQuality": "panoptic_deeplab.metrics",
    "build_dataset": "panoptic_deeplab.data",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'panoptic_deeplab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
