"""The loops of this package as compiled by numba; see `kernels.base`.

In and out: NumPy arrays. Each gives the results of the plain code to the last bit (scores: to a few
last bits), in one pass over the pixels and without arrays of the size K x H x W.
"""

from panoptic_deeplab.kernels.instances import assign, find_peaks, relabel
from panoptic_deeplab.kernels.scores import sum_probabilities
from panoptic_deeplab.kernels.semantic import classify, upsample
from panoptic_deeplab.kernels.targets import measure, paint

__all__ = [
    "assign",
    "classify",
    "find_peaks",
    "measure",
    "paint",
    "relabel",
    "sum_probabilities",
    "upsample",
]
