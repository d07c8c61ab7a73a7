"""Grouping by torch operations alone, on any device, in pieces of bounded size.

On the CPU most pixels get their class from the network's grid without any interpolation, and a
pixel's nearest center comes from short lists, one per square of the image. On other devices, and
where torch's arithmetic cannot be followed pixel by pixel, maps are resized some classes at a time.
Segments equal the plain back end's on the same device to the last bit of the resized maps.
"""

from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab import grouping_plain
from panoptic_deeplab.grouping_cells import CHUNK, classify_cells
from panoptic_deeplab.grouping_grid import Grid
from panoptic_deeplab.grouping_plain import select_centers
from panoptic_deeplab.labels import IGNORED

SQUARE = 16
"""Side of the squares that share a list of centers, in pixels; measured: 8 and 32 are slower."""


class TensorImage:
    """The tensor back end's maps of one image; see `grouping.GroupedImage`.

    Args:
        semantic: (K, h, w) logits, float32.
        center: (1, h, w).
        offset: (2, h, w).
        grid: from there to the result.
    """

    def __init__(self, semantic: Tensor, center: Tensor, offset: Tensor, grid: Grid) -> None:
        samples = semantic.shape[1], semantic.shape[2]
        self._logits, self._grid = semantic, grid
        if _is_on_cpu(semantic) and grid.starts_from_samples(samples):
            self._classes = classify_cells(semantic, *grid.axes(samples))
            # Scaled where they are read, which is cheaper than everywhere.
            self._offset, self._scales = grid.bring(offset), grid.offset_scales(samples)
        else:
            self._classes = grouping_plain.classify(semantic, grid)
            self._offset, self._scales = grid.bring_offset(offset), np.ones(2, np.float32)
        self._heat = grid.bring(center)[0]
        # Flat places of the pixels with a number, and the numbers, 1 and up.
        self._places = torch.zeros(0, dtype=torch.int64, device=semantic.device)
        self._numbers = self._places
        self._num_numbers = 0

    def count_classes(self) -> NDArray[np.int64]:
        """(256,) pixels by class id."""
        if _is_on_cpu(self._classes):
            return grouping_plain.count_classes(self._classes.numpy())
        return _to_numpy(torch.bincount(self._classes.flatten(), minlength=IGNORED + 1))

    def find_centers(
        self, *, threshold: float, nms_kernel: int, top_k: int, merge_plateaus: bool
    ) -> NDArray[np.int64]:
        """(N, 2) as (y, x)."""
        heat = self._heat
        if _is_on_cpu(heat):
            return grouping_plain.find_centers(
                heat.numpy(),
                threshold=threshold,
                nms_kernel=nms_kernel,
                top_k=top_k,
                merge_plateaus=merge_plateaus,
            )
        reach = nms_kernel // 2
        highest = F.max_pool2d(heat[None], (nms_kernel, 1), stride=1, padding=(reach, 0))
        highest = F.max_pool2d(highest, (1, nms_kernel), stride=1, padding=(0, reach))[0]
        peaks = (heat > max(threshold, 0.0)) & (heat == highest)
        places = _places(peaks)
        # Both in one transfer; float64 holds them exactly.
        pairs = _to_numpy(torch.stack([places.double(), heat.flatten()[places].double()]))
        where, values = pairs[0].astype(np.int64), pairs[1].astype(np.float32)
        return select_centers(where, values, tuple(heat.shape), top_k, merge_plateaus)

    def assign(
        self, centers: NDArray[np.int64], is_foreground: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Number the foreground's pixels; (N + 1, 256) votes."""
        self._num_numbers = len(centers)
        if len(centers):
            inside = _look_up(is_foreground.astype(np.uint8), self._classes).view(torch.bool)
            self._places = _places(inside)
            target_y, target_x = self._targets()
            points = torch.from_numpy(centers.astype(np.float32)).to(self._heat.device)
            self._numbers = nearest_centers(target_y, target_x, points, self._heat.shape) + 1
        self._offset = torch.zeros(0)  # the largest map, not needed again
        return self._count_votes()

    def assign_regions(self, is_foreground: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number the foreground's connected regions; (N + 1, 256) votes."""
        classes = _to_numpy(self._classes)
        regions = torch.from_numpy(
            grouping_plain.connected_regions(classes, is_foreground[classes])
        ).to(self._classes.device)
        self._places = _places(regions)
        self._numbers = regions.flatten()[self._places].long()
        self._num_numbers = int(regions.max()) if regions.numel() else 0
        return self._count_votes()

    def read_heat(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) heat at (n, 2) places."""
        y, x = torch.from_numpy(places).to(self._heat.device).T
        return _to_numpy(self._heat[y, x])

    def sum_coordinates(self) -> NDArray[np.float64]:
        """(N + 1, 2) sums of (y, x)."""
        width = self._classes.shape[1]
        y = torch.div(self._places, width, rounding_mode="floor")
        return np.stack([self._sum(y), self._sum(self._places - y * width)], axis=1)

    def sum_probabilities(self, class_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N + 1,) sums of the probability of each number's class."""
        asked_class = torch.from_numpy(class_ids).to(self._numbers.device)[self._numbers]
        best = torch.full(self._places.shape, -torch.inf, device=self._places.device)
        total, asked = torch.zeros_like(best), torch.zeros_like(best)
        for first, part in self._grid.class_chunks(self._logits):
            for class_id, values in enumerate(part.flatten(1), first):
                value = values.index_select(0, self._places)
                higher = torch.maximum(best, value)
                # Running soft-max: what was summed up so far is rescaled to the new maximum.
                total = total * (best - higher).exp_() + (value - higher).exp_()
                best = higher
                asked = torch.where(asked_class == class_id, value, asked)
        return self._sum((asked - best).exp_() / total)

    def paint(
        self, thing_ids: NDArray[np.int32], stuff_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """(H, W) segment ids."""
        ids = _look_up(stuff_ids, self._classes)
        table = torch.from_numpy(thing_ids).to(ids.device)
        ids.view(-1).scatter_(0, self._places, table.index_select(0, self._numbers))
        return _to_numpy(ids)

    def _targets(self) -> tuple[Tensor, Tensor]:
        """Where the numbered pixels point: (P,) y and (P,) x."""
        height, width = self._heat.shape
        row = torch.arange(height + 1, device=self._places.device)
        per_row = torch.searchsorted(self._places, row * width).diff()
        # Told its length, torch does not wait for a GPU to find it out.
        repeat = partial(torch.repeat_interleave, repeats=per_row, output_size=len(self._places))
        row_start, y = repeat(row[:-1] * width), repeat(row[:-1].float())
        x = (self._places - row_start).float()
        dy, dx = (part.flatten().index_select(0, self._places) for part in self._offset)
        scale_y, scale_x = self._scales.tolist()
        return y + dy * scale_y, x + dx * scale_x

    def _count_votes(self) -> NDArray[np.int64]:
        class_ids = self._classes.flatten().index_select(0, self._places)
        pairs = self._numbers * (IGNORED + 1) + class_ids
        size = (self._num_numbers + 1) * (IGNORED + 1)
        return _to_numpy(_count(pairs, size).view(-1, IGNORED + 1))

    def _sum(self, values: Tensor) -> NDArray[np.float64]:
        """(N + 1,) sums by number."""
        return _to_numpy(_count(self._numbers, self._num_numbers + 1, values.double()))


def nearest_centers(
    target_y: Tensor, target_x: Tensor, centers: Tensor, size: tuple[int, ...]
) -> Tensor:
    """Find the nearest center to each of many points.

    Centers are listed per square of the image: those that may be nearest to some point of it.
    Most squares have one.

    Args:
        target_y: (P,) float32.
        target_x: (P,) float32.
        centers: (N, 2) float32, (y, x); at least one.
        size: (H, W) of the image; points may lie outside.

    Returns:
        (P,) int64, 0..N-1, the lowest of equally near ones.
    """
    # One more square on each side stands for everything beyond it.
    rows, columns = (-(-n // SQUARE) + 2 for n in size)
    row = (target_y / SQUARE).floor_().clamp_(-1, rows - 2)
    column = (target_x / SQUARE).floor_().clamp_(-1, columns - 2)
    square = row.add_(1).mul_(columns).add_(column).add_(1).long()
    starts, counts, listed = _list_centers(square, rows, columns, centers)
    # The only center of each square, or -1 where there is a choice, or -2 outside.
    only = torch.where(counts == 1, listed[starts], counts.clamp(max=1) - 2)
    found = only.index_select(0, square)
    pixels = _places(found == -1)
    square = square[pixels]
    found[pixels] = _nearest_listed(
        target_y[pixels], target_x[pixels], centers, starts[square], counts[square], listed
    )
    pixels = _places(found == -2)
    found[pixels] = _nearest_of_all(target_y[pixels], target_x[pixels], centers)
    return found


def _nearest_listed(
    target_y: Tensor,
    target_x: Tensor,
    centers: Tensor,
    starts: Tensor,
    counts: Tensor,
    listed: Tensor,
) -> Tensor:
    """(P,) nearest of each point's own listed centers, the lowest of equally near ones.

    Args:
        target_y: (P,).
        target_x: (P,).
        centers: (N, 2).
        starts: (P,) where each point's list begins.
        counts: (P,) how long it is.
        listed: the lists one after another, each ascending.
    """
    found, pixels = listed[starts], None
    best, nearest = found, _distance(centers, found, target_y, target_x)
    n, ends = 1, counts - 1
    while len(best):
        # Points whose lists have ended go through their last center again until the next sorting
        # out, after 1, 2, 4, 8... centers: a GPU has to be waited for to count those that stay.
        last = torch.clamp(ends, max=n)
        other = listed[starts + last]
        distance = _distance(centers, other, target_y, target_x)
        best = torch.where(distance < nearest, other, best)
        nearest = torch.minimum(nearest, distance)
        n += 1
        if n & (n - 1):
            continue
        if pixels is None:
            found, pixels = best, torch.arange(len(best), device=best.device)
        else:
            found[pixels] = best
        more = _places(ends >= n)
        pixels, best, nearest, ends = pixels[more], best[more], nearest[more], ends[more]
        starts, target_y, target_x = starts[more], target_y[more], target_x[more]
    return found


def _distance(centers: Tensor, which: Tensor, target_y: Tensor, target_x: Tensor) -> Tensor:
    dy, dx = centers[which, 0] - target_y, centers[which, 1] - target_x
    return (dy * dy + dx * dx).sqrt()


def _nearest_of_all(target_y: Tensor, target_x: Tensor, centers: Tensor) -> Tensor:
    """(P,) nearest center of all, the lowest of equally near ones."""
    step = max(CHUNK // len(centers), 1)
    pieces = [torch.zeros(0, dtype=torch.int64, device=centers.device)]
    for begin in range(0, len(target_y), step):
        dy = centers[:, 0] - target_y[begin : begin + step, None]
        dx = centers[:, 1] - target_x[begin : begin + step, None]
        pieces.append((dy * dy + dx * dx).sqrt_().argmin(dim=1))
    return torch.cat(pieces)


def _list_centers(
    squares: Tensor, rows: int, columns: int, centers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """List for each square that is pointed to the centers that may be nearest to a point of it.

    Args:
        squares: (P,) int64, row * columns + column of the squares pointed to.
        rows: of squares, the first and the last for everything outside.
        columns: of squares, likewise.
        centers: (N, 2).

    Returns:
        (rows * columns,) where each square's list begins, likewise how long it is (0 outside), and
        the lists one after another, with one more entry at the end.
    """
    is_occupied = torch.zeros(rows * columns, dtype=torch.bool, device=squares.device)
    is_occupied = is_occupied.index_fill_(0, squares, 1).view(rows, columns)
    is_occupied[0] = is_occupied[-1] = False
    is_occupied[:, 0] = is_occupied[:, -1] = False
    occupied = _places(is_occupied)
    counts = torch.zeros(rows * columns, dtype=torch.int64, device=squares.device)
    center_y, center_x = centers.double().T
    lists = []
    for part in torch.split(occupied, max(CHUNK // len(centers), 1)):
        top = (torch.div(part, columns, rounding_mode="floor") - 1).double()[:, None] * SQUARE
        left = (part % columns - 1).double()[:, None] * SQUARE
        from_top, from_left = center_y - top, center_x - left  # (S, N)
        beside_y = torch.maximum(-from_top, from_top - SQUARE).clamp_(min=0)
        beside_x = torch.maximum(-from_left, from_left - SQUARE).clamp_(min=0)
        across_y = torch.maximum(from_top, SQUARE - from_top)
        across_x = torch.maximum(from_left, SQUARE - from_left)
        bar = (across_y**2 + across_x**2).amin(dim=1, keepdim=True)
        # Distances are compared in float32 and their roots may tie: room for many roundings.
        near = beside_y**2 + beside_x**2 <= bar * 1.0001 + 0.0001
        counts[part] = near.sum(dim=1)
        lists.append(near.nonzero()[:, 1])
    lists.append(torch.zeros(1, dtype=torch.int64, device=squares.device))
    return counts.cumsum(0) - counts, counts, torch.cat(lists)


def _is_on_cpu(values: Tensor) -> bool:
    """Whether NumPy and OpenCV can work on the same memory."""
    return values.device.type == "cpu"


def _look_up(table: NDArray[Any], classes: Tensor) -> Tensor:
    """Entries of a table by uint8 class id, the fastest way on each kind of device."""
    if _is_on_cpu(classes):
        return torch.from_numpy(cv2.LUT(classes.numpy(), table))
    return torch.from_numpy(table).to(classes.device)[classes.int()]


def _count(numbers: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """(size,) how often each number comes, or the sum of its weights; none may be `size` or more.

    Torch's own waits for a GPU to learn the numbers' range.
    """
    if _is_on_cpu(numbers):
        return torch.bincount(numbers, weights, minlength=size)
    if weights is None:
        weights = torch.ones_like(numbers)
    return torch.zeros(size, dtype=weights.dtype, device=numbers.device).index_add_(
        0, numbers, weights
    )


def _places(mask: Tensor) -> Tensor:
    """(P,) flat places of a mask's pixels, ascending."""
    if _is_on_cpu(mask):
        return torch.from_numpy(np.flatnonzero(mask.numpy().astype(bool, copy=False)))
    return mask.flatten().nonzero()[:, 0]


def _to_numpy(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
