"""The steps of grouping in their plain form, on NumPy arrays; every other form equals this one.

In: the heads of one image. Out: what `grouping.py` puts together. All steps stream over the
classes and over bands of rows: no array holds classes x pixels or centers x pixels, and 50
megapixels fit in a few gigabytes.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab.grouping_grid import Grid
from panoptic_deeplab.labels import IGNORED
from panoptic_deeplab.structures import VOID, PanopticMap

BAND_PIXELS = 1 << 16
"""Pixels grouped at once; their coordinates and distances stay in a core's second cache."""


class PlainImage:
    """The plain back end's maps of one image; see `grouping.GroupedImage`.

    Args:
        semantic: (K, h, w) logits, float32.
        center: (1, h, w).
        offset: (2, h, w).
        grid: from there to the result.
    """

    def __init__(self, semantic: Tensor, center: Tensor, offset: Tensor, grid: Grid) -> None:
        self._logits = semantic.cpu()
        self._grid = grid
        self._classes = classify(self._logits, grid).numpy()
        self._heat = grid.bring(center.cpu())[0].numpy()
        self._offset = grid.bring_offset(offset.cpu()).numpy()
        self._foreground: NDArray[np.bool_] | None = None
        self._numbers = np.zeros((0, 0), np.int32)

    @classmethod
    def from_maps(
        cls,
        semantic: NDArray[np.uint8],
        center: NDArray[np.float32],
        offset: NDArray[np.float32],
        foreground: NDArray[np.bool_] | None,
    ) -> "PlainImage":
        """Open maps that lie on the result's grid; a given foreground takes the classes' place."""
        image = cls.__new__(cls)
        image._classes, image._heat, image._offset = semantic, center, offset
        image._foreground = foreground
        return image

    def count_classes(self) -> NDArray[np.int64]:
        """(256,) pixels by class id."""
        return count_classes(self._classes)

    def find_centers(
        self, *, threshold: float, nms_kernel: int, top_k: int, merge_plateaus: bool
    ) -> NDArray[np.int64]:
        """(N, 2) as (y, x)."""
        return find_centers(
            self._heat,
            threshold=threshold,
            nms_kernel=nms_kernel,
            top_k=top_k,
            merge_plateaus=merge_plateaus,
        )

    def assign(
        self, centers: NDArray[np.int64], is_foreground: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Number the foreground's pixels; (N + 1, 256) votes."""
        self._numbers = assign_pixels(self._offset, centers, self._pixels(is_foreground))
        self._offset = np.zeros(0, np.float32)  # the largest map, not needed again
        return count_votes(self._numbers, self._classes, len(centers))

    def assign_regions(self, is_foreground: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number the foreground's connected regions; (N + 1, 256) votes."""
        self._numbers = connected_regions(self._classes, self._pixels(is_foreground))
        return count_votes(self._numbers, self._classes, int(self._numbers.max(initial=0)))

    def read_heat(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) heat at (n, 2) places."""
        heat: NDArray[np.float32] = self._heat[places[:, 0], places[:, 1]]
        return heat

    def sum_coordinates(self) -> NDArray[np.float64]:
        """(N + 1, 2) sums of (y, x)."""
        return sum_coordinates(self._numbers)

    def sum_probabilities(self, class_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N + 1,) sums of the probability of each number's class."""
        return sum_probabilities(self._logits, self._grid, self._numbers, class_ids)

    def paint(
        self, thing_ids: NDArray[np.int32], stuff_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """(H, W) segment ids, in the array of the numbers."""
        for rows in bands(self._numbers.shape):
            numbers = self._numbers[rows]
            ids = np.where(numbers > 0, thing_ids[numbers], stuff_ids[self._classes[rows]])
            self._numbers[rows] = ids
        return self._numbers

    def _pixels(self, is_foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return is_foreground[self._classes] if self._foreground is None else self._foreground


def classify(logits: Tensor, grid: Grid) -> Tensor:
    """Resize the logits and take each pixel's best class, some classes at a time.

    Args:
        logits: (K, h, w) float32.
        grid: where to.

    Returns:
        (H, W) uint8 class ids; the lower class among equals.
    """
    best = torch.full(grid.output_size, -torch.inf, device=logits.device)
    classes = torch.zeros(grid.output_size, dtype=torch.uint8, device=logits.device)
    for first, part in grid.class_chunks(logits):
        for class_id, values in enumerate(part, first):
            # Class ids ascend, so the latest class that took the lead is the largest.
            leads = (values > best).view(torch.uint8).mul_(class_id)
            torch.maximum(classes, leads, out=classes)
            torch.maximum(best, values, out=best)
    return classes


def count_classes(classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256,) pixels by class id."""
    counts = np.zeros(IGNORED + 1, np.int64)
    for rows in bands(classes.shape):  # OpenCV counts in float32: exact below 2**24
        histogram = cv2.calcHist([classes[rows]], [0], None, [len(counts)], [0, len(counts)])
        counts += histogram.ravel().astype(np.int64)
    return counts


def find_centers(
    heat: NDArray[np.float32],
    *,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    merge_plateaus: bool = False,
) -> NDArray[np.int64]:
    """Find the highest pixels of the heat map.

    Args:
        heat: (H, W).
        threshold: heat must exceed it, and 0.
        nms_kernel: a center is the highest of this window around it, or equals the highest.
        top_k: at most so many, see `select_centers`.
        merge_plateaus: keep the first pixel of each connected plateau (8 neighbors).

    Returns:
        (N, 2) as (y, x), rows from the top, each from the left.
    """
    window = np.ones((nms_kernel, nms_kernel), np.uint8)
    bar = np.float32(max(threshold, 0.0))
    peaks = (heat > bar) & (heat == cv2.dilate(heat, window))  # outside the map is never highest
    places = np.flatnonzero(peaks)
    return select_centers(places, heat.ravel()[places], heat.shape, top_k, merge_plateaus)


def select_centers(
    places: NDArray[np.int64],
    heat: NDArray[np.float32],
    size: tuple[int, ...],
    top_k: int,
    merge_plateaus: bool,
) -> NDArray[np.int64]:
    """Choose among the peaks of a heat map.

    Args:
        places: (n,) their flat positions, ascending.
        heat: (n,) there.
        size: (H, W) of the map.
        top_k: at most so many, by (heat descending, row, column). Deviation 1: the public codes
            keep one less, and drop all that equal the last one.
        merge_plateaus: keep the first pixel of each connected plateau (8 neighbors).

    Returns:
        (N, 2) as (y, x), rows from the top, each from the left.
    """
    if merge_plateaus:
        peaks = np.zeros(size, np.uint8)
        peaks.ravel()[places] = 1
        _, plateau = cv2.connectedComponents(peaks, connectivity=8)
        _, first = np.unique(plateau.ravel()[places], return_index=True)
        first.sort()
        places, heat = places[first], heat[first]
    if len(places) > top_k:
        by_heat = np.argsort(-heat, kind="stable")
        places = np.sort(places[by_heat[:top_k]])
    return np.stack(np.divmod(places, size[1]), axis=1)


def assign_pixels(
    offset: NDArray[np.float32], centers: NDArray[np.int64], pixels: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Give each pixel the number of the center nearest to where it points.

    Args:
        offset: (2, H, W), (dy, dx) in pixels of this grid.
        centers: (N, 2), (y, x). N may be 0.
        pixels: (H, W), the pixels that take part.

    Returns:
        (H, W): 1..N; the lower number among equally near centers; 0 for other pixels, and
        everywhere if N is 0.
    """
    numbers = np.zeros(pixels.shape, np.int32)
    if not len(centers):
        return numbers
    for rows in bands(pixels.shape):
        ys, xs = np.nonzero(pixels[rows])
        target_y = (ys + rows.start).astype(np.float32) + offset[0, rows][ys, xs]
        target_x = xs.astype(np.float32) + offset[1, rows][ys, xs]
        nearest = np.full(len(ys), np.inf, np.float32)
        number = np.ones(len(ys), np.int32)  # stays where all distances overflow
        for i, (y, x) in enumerate(centers.astype(np.float32), 1):
            dy, dx = y - target_y, x - target_x
            # The root is taken before comparing: it can make two distances equal, and then the
            # lower number wins, as in the public codes.
            with np.errstate(over="ignore"):  # infinitely far is far enough
                distance = np.sqrt(dy * dy + dx * dx)
            number[distance < nearest] = i
            np.minimum(nearest, distance, out=nearest)
        numbers[rows][ys, xs] = number
    return numbers


def connected_regions(classes: NDArray[np.uint8], pixels: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the connected regions (8 neighbors) of each class, in the order of first pixels.

    Args:
        classes: (H, W).
        pixels: (H, W), those that take part.

    Returns:
        (H, W): 1..N, 0 for other pixels.
    """
    regions = np.zeros(classes.shape, np.int32)
    count = 0
    for class_id in np.unique(classes[pixels]):
        mask = (pixels & (classes == class_id)).view(np.uint8)
        found, region = cv2.connectedComponents(mask, connectivity=8)
        np.add(region, count, out=regions, where=region > 0)
        count += found - 1
    names, first = np.unique(regions, return_index=True)
    in_raster_order = names[np.argsort(first)]
    numbers = np.zeros(count + 1, np.int32)
    numbers[in_raster_order[in_raster_order > 0]] = np.arange(1, count + 1)
    return numbers[regions]


def count_votes(
    numbers: NDArray[np.int32], classes: NDArray[np.uint8], num_instances: int
) -> NDArray[np.int64]:
    """Count the classes of each instance's pixels.

    Args:
        numbers: (H, W), 0..N.
        classes: (H, W).
        num_instances: N.

    Returns:
        (N + 1, 256); row 0 stays empty.
    """
    votes = np.zeros((num_instances + 1, IGNORED + 1), np.int64)
    for rows in bands(numbers.shape):
        inside = numbers[rows] > 0
        pairs = numbers[rows][inside] * (IGNORED + 1) + classes[rows][inside]
        votes += np.bincount(pairs, minlength=votes.size).reshape(votes.shape)
    return votes


def sum_coordinates(numbers: NDArray[np.int32]) -> NDArray[np.float64]:
    """(N + 1, 2) sums of (y, x) over the pixels of each number; row 0 stays 0."""
    size = int(numbers.max(initial=0)) + 1
    sums = np.zeros((size, 2))
    for rows in bands(numbers.shape):
        ys, xs = np.nonzero(numbers[rows])
        index = numbers[rows][ys, xs]
        sums[:, 0] += np.bincount(index, ys + rows.start, minlength=size)
        sums[:, 1] += np.bincount(index, xs, minlength=size)
    return sums


def sum_probabilities(
    logits: Tensor, grid: Grid, numbers: NDArray[np.int32], class_ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum up the soft-maxed probability of each instance's class over its pixels.

    Args:
        logits: (K, h, w).
        grid: from there to the result.
        numbers: (H, W), 0..N.
        class_ids: (N + 1,) by number.

    Returns:
        (N + 1,).
    """
    places = np.flatnonzero(numbers)
    index = numbers.ravel()[places]  # (P,)
    asked_class = class_ids[index]
    best = np.full(len(places), -np.inf, np.float32)
    total = np.zeros(len(places), np.float32)
    asked = np.zeros(len(places), np.float32)
    for first, part in grid.class_chunks(logits):
        for class_id, values in enumerate(part.flatten(1).numpy(), first):
            value = values[places]
            higher = np.maximum(best, value)
            # Running soft-max: what was summed up so far is rescaled to the new maximum.
            total *= np.exp(best - higher)
            total += np.exp(value - higher)
            best = higher
            np.copyto(asked, value, where=asked_class == class_id)
    probabilities = np.exp(asked - best) / total
    return np.bincount(index, probabilities, minlength=len(class_ids)).astype(np.float64)


def segment_boxes(panoptic: PanopticMap) -> dict[int, tuple[int, int, int, int]]:
    """Find the smallest box around each segment that has pixels.

    Returns:
        (top, left, bottom, right) in pixels by segment id, the latter two exclusive.
    """
    boxes: dict[int, tuple[int, int, int, int]] = {}
    ids = panoptic.segment_map
    if not ids.size:
        return boxes
    width = ids.shape[1]
    flat = ids.ravel()
    breaks = flat[1:] != flat[:-1]
    breaks[width - 1 :: width] = True  # runs end with their row
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    ends = np.append(starts[1:], flat.size) - 1
    names, which = np.unique(flat[starts], return_inverse=True)
    low = np.full((len(names), 2), flat.size)
    high = np.zeros((len(names), 2), np.int64)
    np.minimum.at(low, which, np.stack(np.divmod(starts, width), axis=1))
    np.maximum.at(high, which, np.stack(np.divmod(ends, width), axis=1) + 1)
    for name, (top, left), (bottom, right) in zip(
        names.tolist(), low.tolist(), high.tolist(), strict=True
    ):
        if name != VOID:
            boxes[name] = (top, left, bottom, right)
    return boxes


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of a map into bands of about `BAND_PIXELS`."""
    rows = max(BAND_PIXELS // max(shape[1], 1), 1)
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))
