"""Each pixel's class from the network's grid by torch operations, mostly without resizing.

In: logits and the axes of the result. Out: class ids, equal to those of resized logits to the last
bit. On the CPU alone, and only where `Grid.starts_from_samples` allows it.
"""

import numpy as np
import torch
from torch import Tensor

from panoptic_deeplab.interpolation import MARGIN, Axis, mix

CHUNK = 1 << 20
"""Numbers per array inside the loops over pieces (4 MB of float32); measured: fastest."""


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
    wide = best.index_select(1, torch.from_numpy(columns.low))
    classes = wide.index_select(0, torch.from_numpy(rows.low))  # (H, W)
    next_best, next_sure = _repeat_end(best), _repeat_end(sure)
    height, width = best.shape
    settled = sure.clone()
    for down, right in ((0, 1), (1, 0), (1, 1)):  # the other samples around each cell
        settled &= next_best[down : down + height, right : right + width] == best
        settled &= next_sure[down : down + height, right : right + width]
    cells = torch.from_numpy(np.argwhere(~settled.numpy()))
    tops, num_rows = _spans(rows, best.shape[0])
    lefts, num_columns = _spans(columns, best.shape[1])
    cells = cells[(num_rows[cells[:, 0]] > 0) & (num_columns[cells[:, 1]] > 0)]
    y_in_cell, x_in_cell = torch.arange(int(num_rows.max())), torch.arange(int(num_columns.max()))
    step = max(CHUNK // max(4 * len(logits), len(y_in_cell) * len(x_in_cell)), 1)
    for part in torch.split(cells, step) if len(cells) else ():
        samples = _corners(logits, part)
        can_win = _can_win(samples, _corners(best[None], part)[0].long())
        # Cells with most classes first, so that those still open are always the first ones.
        order = can_win.sum(dim=0).argsort(descending=True)
        part = part[order]
        # Cells at the border have fewer pixels: their last one is computed again instead.
        y = tops[part[:, 0], None] + y_in_cell.minimum(num_rows[part[:, 0], None] - 1)
        x = lefts[part[:, 1], None] + x_in_cell.minimum(num_columns[part[:, 1], None] - 1)
        weight_y, weight_x = torch.from_numpy(rows.weight)[y], torch.from_numpy(columns.weight)[x]
        found = _classify_pixels(samples, can_win, order, weight_y, weight_x)
        places = y[:, :, None] * classes.shape[1] + x[:, None]
        classes.view(-1).scatter_(0, places.flatten(), found.flatten())
    return classes


def _lead(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Best class of each sample, and whether its lead over the next exceeds rounding."""
    first = logits[0].clone()
    second = torch.full_like(first, -torch.inf)
    best = torch.zeros(first.shape, dtype=torch.uint8)
    lower = torch.empty_like(first)
    for class_id, values in enumerate(logits[1:], 1):
        # Class ids ascend, so the latest class that took the lead is the largest.
        torch.maximum(best, (values > first).view(torch.uint8).mul_(class_id), out=best)
        torch.maximum(second, torch.minimum(first, values, out=lower), out=second)
        torch.maximum(first, values, out=first)
    return best, first - second > MARGIN * first.abs()


def _repeat_end(maps: Tensor) -> Tensor:
    """(h + 1, w + 1), the last row and column twice."""
    maps = torch.cat([maps, maps[-1:]])
    return torch.cat([maps, maps[:, -1:]], dim=1)


def _spans(axis: Axis, num_samples: int) -> tuple[Tensor, Tensor]:
    """First pixel of each cell along an axis, and how many it has."""
    ends = torch.from_numpy(axis.cells(num_samples))
    return ends[:-1], ends.diff()


def _corners(maps: Tensor, cells: Tensor) -> Tensor:
    """(C, 4, n) the samples at the corners of n cells: above left and right, below likewise.

    Args:
        maps: (C, h, w).
        cells: (n, 2), row and column of each cell's first sample.
    """
    channels, height, width = maps.shape
    y, x = cells.T
    below, right = (y + 1).clamp(max=height - 1), (x + 1).clamp(max=width - 1)
    places = torch.stack([v * width + u for v in (y, below) for u in (x, right)])  # (4, n)
    flat = maps.view(channels, -1).index_select(1, places.flatten())
    return flat.view(channels, 4, -1)


def _can_win(samples: Tensor, winners: Tensor) -> Tensor:
    """(K, n) which classes can be the best somewhere in a cell.

    Two bars are exceeded by the best class everywhere: the highest of all lowest corners, and the
    lowest corner of the mean of the classes that are best at some corner.

    Args:
        samples: (K, 4, n).
        winners: (4, n) the best class at each corner.
    """
    highest = samples.amax(dim=1)  # (K, n)
    bar = samples.amin(dim=1).amax(dim=0)
    bar = bar - MARGIN * bar.abs()
    of_winners = samples.gather(0, winners[:, None].expand(-1, 4, -1))  # (4 winners, 4 corners, n)
    scale = of_winners.abs().amax(dim=(0, 1))
    mean = of_winners.mean(dim=0).amin(dim=0) - MARGIN * scale
    return highest >= torch.maximum(bar, mean)


def _classify_pixels(
    samples: Tensor, can_win: Tensor, order: Tensor, weight_y: Tensor, weight_x: Tensor
) -> Tensor:
    """Interpolate the classes that can win in some cells and take the best.

    Sums are rounded in any order first; pixels whose best two classes then lie within rounding
    are computed again as torch does.

    Args:
        samples: (K, 4, n).
        can_win: (K, n).
        order: (n,) of the cells in all that follows: the number of such classes never rises.
        weight_y: (n, a) of the samples below, for each row of pixels.
        weight_x: (n, b) of the samples on the right, for each column.

    Returns:
        (n, a, b) uint8.
    """
    first = torch.full((*weight_y.shape, weight_x.shape[1]), -torch.inf)
    second, best = first.clone(), torch.zeros(first.shape, dtype=torch.uint8)
    can_win = can_win[:, order]
    class_ids = can_win.T.nonzero()[:, 1]  # of all cells, one after another, each ascending
    counts = can_win.sum(dim=0)
    starts = counts.cumsum(0) - counts
    corner = torch.arange(4)[:, None] * len(order)
    for n in range(int(counts[0])):
        num_open = int((counts > n).sum())
        class_id = class_ids[starts[:num_open] + n]
        places = corner + class_id * (4 * len(order)) + order[:num_open]
        a, b, c, d = samples.flatten().index_select(0, places.flatten()).view(4, -1, 1)
        above = torch.lerp(a, b, weight_x[:num_open])
        below = torch.lerp(c, d, weight_x[:num_open])
        values = torch.lerp(above[:, None], below[:, None], weight_y[:num_open, :, None])
        highest, so_far = first[:num_open], best[:num_open]
        leads = (values > highest).view(torch.uint8)
        torch.maximum(so_far, leads.mul_(class_id[:, None, None].byte()), out=so_far)
        lower = torch.minimum(highest, values)
        torch.maximum(second[:num_open], lower, out=second[:num_open])
        torch.maximum(highest, values, out=highest)
    scale = samples.abs().amax(dim=(0, 1))[order]
    cell, i, j = (first - second <= MARGIN * scale[:, None, None]).nonzero().T
    if len(cell):
        a, b, c, d = samples[:, :, order[cell]].transpose(0, 1).numpy()
        wy, wx = weight_y[cell, i].numpy(), weight_x[cell, j].numpy()
        exact = mix(mix(a, b, wx), mix(c, d, wx), wy)  # (K, m)
        best[cell, i, j] = torch.from_numpy(exact.argmax(axis=0).astype(np.uint8))
    return best
