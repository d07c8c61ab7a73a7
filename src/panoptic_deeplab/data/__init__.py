"""Data sets by name; the stream of training batches is in `loading`, which needs torch."""

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.formats import DATASETS, build_dataset, recognise

__all__ = [
    "DATASETS",
    "PanopticDataset",
    "build_dataset",
    "recognise",
]
