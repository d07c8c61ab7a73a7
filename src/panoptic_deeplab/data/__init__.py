"""Data sets by name, and the stream of training batches."""

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.formats import DATASETS, build_dataset, recognise
from panoptic_deeplab.data.loading import TrainingSet, build_loader

__all__ = [
    "DATASETS",
    "PanopticDataset",
    "TrainingSet",
    "build_dataset",
    "build_loader",
    "recognise",
]
