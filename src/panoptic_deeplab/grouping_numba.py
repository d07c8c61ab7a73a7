"""Grouping by compiled loops that start from the network's grid; needs the package numba.

Bilinear interpolation is done pixel by pixel inside the loops where they need it, in torch's own
arithmetic. Where that cannot be (a second resize, a small result, a processor on which torch sums
up differently), maps are resized by torch and the loops start from there: slower, equal results.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab import grouping_plain, kernels
from panoptic_deeplab.grouping_grid import Grid
from panoptic_deeplab.grouping_plain import select_centers


class NumbaImage:
    """The compiled back end's maps of one image; see `grouping.GroupedImage`.

    Args:
        semantic: (K, h, w) logits, float32.
        center: (1, h, w).
        offset: (2, h, w).
        grid: from there to the result.
    """

    def __init__(self, semantic: Tensor, center: Tensor, offset: Tensor, grid: Grid) -> None:
        samples = semantic.shape[1], semantic.shape[2]
        self._grid = grid
        self._logits, center, offset = semantic.cpu(), center.cpu(), offset.cpu()
        self._is_direct = grid.starts_from_samples(samples)
        self._rows, self._columns = grid.axes(samples if self._is_direct else None)
        if self._is_direct:
            self._heat = kernels.upsample(center[0].numpy(), self._rows, self._columns)
            self._classes, self._counts = kernels.classify(
                self._logits.numpy(), self._rows, self._columns
            )
            self._offset, self._scales = offset.numpy(), grid.offset_scales(samples)
        else:
            self._heat = grid.bring(center)[0].numpy()
            self._classes = grouping_plain.classify(self._logits, grid).numpy()
            self._counts = grouping_plain.count_classes(self._classes)
            self._offset = grid.bring_offset(offset).numpy()
            self._scales = np.ones(2, np.float32)
        self._numbers = np.zeros((0, 0), np.int32)

    def count_classes(self) -> NDArray[np.int64]:
        """(256,) pixels by class id."""
        return self._counts

    def find_centers(
        self, *, threshold: float, nms_kernel: int, top_k: int, merge_plateaus: bool
    ) -> NDArray[np.int64]:
        """(N, 2) as (y, x)."""
        heat = self._heat
        places = kernels.find_peaks(heat, max(threshold, 0.0), nms_kernel)
        if places is None:
            return grouping_plain.find_centers(
                heat,
                threshold=threshold,
                nms_kernel=nms_kernel,
                top_k=top_k,
                merge_plateaus=merge_plateaus,
            )
        return select_centers(places, heat.ravel()[places], heat.shape, top_k, merge_plateaus)

    def assign(
        self, centers: NDArray[np.int64], is_foreground: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Number the foreground's pixels; (N + 1, 256) votes."""
        if not len(centers):
            self._numbers = np.zeros(self._classes.shape, np.int32)
            return np.zeros((1, len(is_foreground)), np.int64)
        self._numbers, votes = kernels.assign(
            self._offset,
            self._scales,
            self._rows,
            self._columns,
            centers,
            self._classes,
            is_foreground,
        )
        return votes

    def assign_regions(self, is_foreground: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number the foreground's connected regions; (N + 1, 256) votes."""
        self._numbers = grouping_plain.connected_regions(
            self._classes, is_foreground[self._classes]
        )
        count = int(self._numbers.max(initial=0))
        return grouping_plain.count_votes(self._numbers, self._classes, count)

    def read_heat(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) heat at (n, 2) places."""
        return self._heat[places[:, 0], places[:, 1]]

    def sum_coordinates(self) -> NDArray[np.float64]:
        """(N + 1, 2) sums of (y, x)."""
        return grouping_plain.sum_coordinates(self._numbers)

    def sum_probabilities(self, class_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N + 1,) sums of the probability of each number's class."""
        if not self._is_direct:
            return grouping_plain.sum_probabilities(
                self._logits, self._grid, self._numbers, class_ids
            )
        return kernels.sum_probabilities(
            self._logits.numpy(), self._rows, self._columns, self._numbers, class_ids
        )

    def paint(
        self, thing_ids: NDArray[np.int32], stuff_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """(H, W) segment ids, in the array of the numbers."""
        kernels.relabel(self._numbers, self._classes, thing_ids, stuff_ids)
        return self._numbers
