"""Grouping by torch operations alone, on any device, in pieces of bounded size.

On the CPU most pixels get their class from the network's grid without any interpolation, and a
pixel's nearest center comes from short lists, one per square of the image. On other devices, and
where torch's arithmetic cannot be followed pixel by pixel, maps are resized some classes at a time.
Segments equal the plain back end's on the same device to the last bit of the resized maps.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab import grouping_plain, interpolation
from panoptic_deeplab.grouping_plain import Grid, select_centers
from panoptic_deeplab.interpolation import MARGIN, Axis
from panoptic_deeplab.labels import IGNORED

SQUARE = 16
"""Side of the squares that share a list of centers, in pixels; measured: 8 and 32 are slower."""

CHUNK = 1 << 19
"""Numbers per array inside the loops over pieces (2 MB of float32): stays in the second cache."""


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
        if semantic.device.type == "cpu" and grid.starts_from_samples(samples):
            self._classes = classify_cells(semantic, *grid.axes(samples))
        else:
            self._classes = grouping_plain.classify(semantic, grid)
        self._heat = grid.bring(center)[0]
        self._offset = grid.bring_offset(offset)
        # Flat places of the pixels with a number, and the numbers, 1 and up.
        self._places = torch.zeros(0, dtype=torch.int64, device=semantic.device)
        self._numbers = self._places
        self._num_numbers = 0

    def count_classes(self) -> NDArray[np.int64]:
        """(256,) pixels by class id."""
        return _to_numpy(torch.bincount(self._classes.flatten(), minlength=IGNORED + 1))

    def find_centers(
        self, *, threshold: float, nms_kernel: int, top_k: int, merge_plateaus: bool
    ) -> NDArray[np.int64]:
        """(N, 2) as (y, x)."""
        heat = self._heat
        if heat.device.type == "cpu":
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
        places = peaks.flatten().nonzero()[:, 0]
        values = _to_numpy(heat.flatten()[places])
        return select_centers(_to_numpy(places), values, tuple(heat.shape), top_k, merge_plateaus)

    def assign(
        self, centers: NDArray[np.int64], is_foreground: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Number the foreground's pixels; (N + 1, 256) votes."""
        self._num_numbers = len(centers)
        if len(centers):
            inside = _look_up(torch.from_numpy(is_foreground), self._classes)
            self._places = inside.flatten().nonzero()[:, 0]
            points = torch.from_numpy(centers.astype(np.float32)).to(self._heat.device)
            self._numbers = nearest_centers(self._offset, self._places, points) + 1
        return self._count_votes()

    def assign_regions(self, is_foreground: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number the foreground's connected regions; (N + 1, 256) votes."""
        classes = _to_numpy(self._classes)
        regions = torch.from_numpy(
            grouping_plain.connected_regions(classes, is_foreground[classes])
        ).to(self._classes.device)
        self._places = regions.flatten().nonzero()[:, 0]
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
                value = values[self._places]
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
        ids = _look_up(torch.from_numpy(stuff_ids), self._classes)
        table = torch.from_numpy(thing_ids).to(ids.device)
        ids.view(-1)[self._places] = table[self._numbers]
        return _to_numpy(ids)

    def _count_votes(self) -> NDArray[np.int64]:
        pairs = self._numbers * (IGNORED + 1) + self._classes.flatten()[self._places]
        size = (self._num_numbers + 1) * (IGNORED + 1)
        return _to_numpy(torch.bincount(pairs, minlength=size).view(-1, IGNORED + 1))

    def _sum(self, values: Tensor) -> NDArray[np.float64]:
        """(N + 1,) sums by number."""
        sums = torch.bincount(self._numbers, values.double(), minlength=self._num_numbers + 1)
        return _to_numpy(sums)


def nearest_centers(offset: Tensor, places: Tensor, centers: Tensor) -> Tensor:
    """Find the nearest center to where some pixels point.

    Centers are listed per square of the image: those that may be nearest to some point of it.
    Most squares have one or two.

    Args:
        offset: (2, H, W), (dy, dx).
        places: (P,) flat positions of the pixels.
        centers: (N, 2) float32, (y, x); at least one.

    Returns:
        (P,) int64, 0..N-1, the lowest of equally near ones.
    """
    _, height, width = offset.shape
    y = torch.div(places, width, rounding_mode="floor")
    target_y = y.float() + offset[0].flatten()[places]
    target_x = (places - y * width).float() + offset[1].flatten()[places]
    rows, columns = -(-height // SQUARE), -(-width // SQUARE)
    row, column = (target_y / SQUARE).floor_(), (target_x / SQUARE).floor_()
    outside = (row < 0) | (row >= rows) | (column < 0) | (column >= columns)
    square = row.clamp_(0, rows - 1).mul_(columns).add_(column.clamp_(0, columns - 1)).long()
    starts, listed = _list_centers(square[~outside], rows, columns, centers)
    first, count = starts[:-1][square], starts.diff()[square]
    found = listed[first]
    _choose_among_listed(
        found,
        ((count > 1) & ~outside).nonzero()[:, 0],
        first,
        count,
        listed,
        centers,
        target_y,
        target_x,
    )
    beyond = outside.nonzero()[:, 0]
    found[beyond] = _nearest_of_all(target_y[beyond], target_x[beyond], centers)
    return found


def _choose_among_listed(
    found: Tensor,
    pixels: Tensor,
    first: Tensor,
    count: Tensor,
    listed: Tensor,
    centers: Tensor,
    target_y: Tensor,
    target_x: Tensor,
) -> None:
    """Compare the listed centers of those pixels whose square leaves a choice.

    Args:
        found: (P,) the first listed center; corrected in place.
        pixels: (Q,) which pixels have more than one.
        first: (P,) where each pixel's list begins.
        count: (P,) how long it is.
        listed: the lists one after another, each ascending.
        centers: (N, 2).
        target_y: (P,) where each pixel points.
        target_x: (P,).
    """
    nearest = _distance(centers, found[pixels], target_y[pixels], target_x[pixels])
    n = 1
    while len(pixels):
        other = listed[first[pixels] + n]
        distance = _distance(centers, other, target_y[pixels], target_x[pixels])
        closer = distance < nearest
        found[pixels[closer]] = other[closer]
        n += 1
        more = count[pixels] > n
        pixels, nearest = pixels[more], torch.minimum(nearest, distance)[more]


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
) -> tuple[Tensor, Tensor]:
    """List for each square that is pointed to the centers that may be nearest to a point of it.

    Args:
        squares: (P,) int64, row * columns + column of the squares pointed to.
        rows: of squares.
        columns: of squares.
        centers: (N, 2).

    Returns:
        (rows * columns + 1,) where each square's list begins; the lists one after another, with
        one more entry at the end.
    """
    occupied = torch.bincount(squares, minlength=rows * columns).nonzero()[:, 0]
    counts = torch.zeros(rows * columns + 1, dtype=torch.int64, device=squares.device)
    center_y, center_x = centers.double().T
    lists = []
    for part in torch.split(occupied, max(CHUNK // len(centers), 1)):
        top = (torch.div(part, columns, rounding_mode="floor") * SQUARE).double()[:, None]
        left = (part % columns * SQUARE).double()[:, None]
        from_top, from_left = center_y - top, center_x - left  # (S, N)
        beside_y = torch.maximum(-from_top, from_top - SQUARE).clamp_(min=0)
        beside_x = torch.maximum(-from_left, from_left - SQUARE).clamp_(min=0)
        across_y = torch.maximum(from_top, SQUARE - from_top)
        across_x = torch.maximum(from_left, SQUARE - from_left)
        bar = (across_y**2 + across_x**2).amin(dim=1, keepdim=True)
        # Distances are compared in float32 and their roots may tie: room for many roundings.
        near = beside_y**2 + beside_x**2 <= bar * 1.0001 + 0.0001
        counts[part + 1] = near.sum(dim=1)
        lists.append(near.nonzero()[:, 1])
    lists.append(torch.zeros(1, dtype=torch.int64, device=squares.device))
    return counts.cumsum(0), torch.cat(lists)


def classify_cells(logits: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Resize logits on the CPU and take each pixel's best class, mostly without resizing.

    Interpolation never turns an order round: a class that leads clearly at all four samples
    around a cell leads within it. Only the other cells are interpolated.

    Args:
        logits: (K, h, w) float32.
        rows: H pixels of h samples.
        columns: W pixels of w samples.

    Returns:
        (H, W) uint8 class ids, the lower among equals.
    """
    best, sure = _lead(logits)
    low_rows, low_columns = torch.from_numpy(rows.low), torch.from_numpy(columns.low)
    classes = best[:, low_columns][low_rows]  # (H, W)
    corners = [(best[y][:, x], sure[y][:, x]) for y, x in _corners(*best.shape)]
    settled = corners[0][1].clone()
    for class_id, is_sure in corners[1:]:
        settled &= is_sure & (class_id == corners[0][0])
    cells = (~settled).nonzero()
    tops, num_rows = _spans(rows, best.shape[0])
    lefts, num_columns = _spans(columns, best.shape[1])
    cells = cells[(num_rows[cells[:, 0]] > 0) & (num_columns[cells[:, 1]] > 0)]
    if not len(cells):
        return classes
    y_in_cell = torch.arange(int(num_rows.max()))
    x_in_cell = torch.arange(int(num_columns.max()))
    step = max(CHUNK // (len(logits) * len(y_in_cell) * len(x_in_cell)), 1)
    for part in torch.split(cells, step):
        # Cells at the border have fewer pixels: their last one is computed again instead.
        y = tops[part[:, 0], None] + y_in_cell.minimum(num_rows[part[:, 0], None] - 1)
        x = lefts[part[:, 1], None] + x_in_cell.minimum(num_columns[part[:, 1], None] - 1)
        classes[y[:, :, None], x[:, None]] = _classify_pixels(logits, part, y, x, rows, columns)
    return classes


def _lead(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Best class of each sample, and whether its lead over the next exceeds rounding."""
    first = logits[0].clone()
    second = torch.full_like(first, -torch.inf)
    best = torch.zeros(first.shape, dtype=torch.uint8)
    for class_id, values in enumerate(logits[1:], 1):
        best.masked_fill_(values > first, class_id)
        torch.maximum(second, torch.minimum(first, values), out=second)
        torch.maximum(first, values, out=first)
    return best, first - second > MARGIN * first.abs()


def _corners(height: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns of the four samples around each cell, repeated at the end of the map."""
    y, x = torch.arange(height), torch.arange(width)
    below, right = (y + 1).clamp(max=height - 1), (x + 1).clamp(max=width - 1)
    return [(y, x), (y, right), (below, x), (below, right)]


def _spans(axis: Axis, num_samples: int) -> tuple[Tensor, Tensor]:
    """First pixel of each cell along an axis, and how many it has."""
    ends = torch.from_numpy(np.searchsorted(axis.low, np.arange(num_samples + 1)))
    return ends[:-1], ends.diff()


def _classify_pixels(
    logits: Tensor, cells: Tensor, y: Tensor, x: Tensor, rows: Axis, columns: Axis
) -> Tensor:
    """Interpolate all classes in some cells and take the best.

    Sums are rounded in any order first; pixels whose best two classes then lie within rounding
    are computed again as torch does.

    Args:
        logits: (K, h, w).
        cells: (n, 2), row and column of each cell's first sample.
        y: (n, a) rows of its pixels.
        x: (n, b) columns.
        rows: samples of all rows.
        columns: samples of all columns.

    Returns:
        (n, a, b) uint8.
    """
    last_row, last_column = logits.shape[1] - 1, logits.shape[2] - 1
    low_y, low_x = cells.T
    high_y, high_x = (low_y + 1).clamp(max=last_row), (low_x + 1).clamp(max=last_column)
    samples = [logits[:, v, u] for v in (low_y, high_y) for u in (low_x, high_x)]  # 4 x (K, n)
    weight_y, weight_x = torch.from_numpy(rows.weight)[y], torch.from_numpy(columns.weight)[x]
    a, b, c, d = (s[:, :, None] for s in samples)
    above, below = torch.lerp(a, b, weight_x), torch.lerp(c, d, weight_x)  # (K, n, b)
    first = torch.full((len(cells), y.shape[1], x.shape[1]), -torch.inf)
    second = first.clone()
    best = torch.zeros(first.shape, dtype=torch.uint8)
    for class_id in range(len(logits)):
        values = torch.lerp(
            above[class_id, :, None], below[class_id, :, None], weight_y[:, :, None]
        )
        best.masked_fill_(values > first, class_id)
        torch.maximum(second, torch.minimum(first, values), out=second)
        torch.maximum(first, values, out=first)
    scale = torch.stack([s.abs().amax(dim=0) for s in samples]).amax(dim=0)
    cell, i, j = (first - second <= MARGIN * scale[:, None, None]).nonzero().T
    if len(cell):
        e, f, g, h = (s[:, cell].numpy() for s in samples)
        wy, wx = weight_y[cell, i].numpy(), weight_x[cell, j].numpy()
        mix = interpolation.mix
        exact = mix(mix(e, f, wx), mix(g, h, wx), wy)  # (K, m)
        best[cell, i, j] = torch.from_numpy(exact.argmax(axis=0).astype(np.uint8))
    return best


def _look_up(table: Tensor, classes: Tensor) -> Tensor:
    """Entries of a table by uint8 class id, the fastest way on each kind of device."""
    if classes.device.type == "cpu":
        return torch.from_numpy(table.numpy()[classes.numpy()])
    return table.to(classes.device)[classes.int()]


def _to_numpy(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
