"""Polygons to masks by COCO's rule, and masks to polygons that give the same masks back.

COCO's rule (pycocotools, `maskApi.c`): the outline is walked on a grid five times finer; wherever
it crosses the middle of a pixel column, the pixels below change sides. So a polygon is filled by
even and odd crossings, and one that runs along pixel edges covers exactly the pixels inside. The
tests compare with pycocotools, pixel by pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Corners = NDArray[np.float64]

_FINER = 5.0  # pycocotools' scale
_FARTHEST = 4  # picture sides that a corner may lie outside; beyond, the file is damaged


def fill_polygons(
    polygons: Sequence[Corners], size: tuple[int, int], *, name: str = "polygon"
) -> tuple[int, Mask]:
    """Mask of one object given by one or more polygons.

    Args:
        polygons: each (N, 2) in pixels, (x, y), the upper left corner of the picture at (0, 0).
        size: (H, W) of the picture; what lies outside is cut off.
        name: for messages.

    Returns:
        The first column, and (H, w) bool: the columns from there on that the object touches.

    Raises:
        ValueError: if a polygon has fewer than three corners, or one is no number or far outside.
    """
    height = size[0]
    crossings = [_crossings(_checked(p, size, name), size) for p in polygons]
    columns = np.concatenate([c for c, _ in crossings]) if crossings else np.zeros(0, np.int64)
    if not columns.size:
        return 0, np.zeros((height, 0), bool)
    left, right = int(columns.min()), int(columns.max()) + 1
    filled = np.zeros((right - left, height), bool)
    for column, row in crossings:
        places = (column - left) * height + row
        # At the lower edge a crossing falls on the next column's first pixel, as in pycocotools.
        odd = np.bincount(places, minlength=filled.size + 1)[: filled.size] & 1
        filled |= (np.cumsum(odd) & 1).reshape(filled.shape).astype(bool)
    return left, np.ascontiguousarray(filled.T)


def outline(mask: Mask) -> list[Corners]:
    """Outlines of a mask along pixel edges, one polygon per connected part.

    A hole is tied to its outline by a seam that is walked there and back and so leaves no trace
    where crossings are counted.

    Args:
        mask: (H, W).

    Returns:
        Polygons (N, 2), (x, y), whole numbers; parts that only touch at a corner are apart.
    """
    grid = np.pad(np.asarray(mask, np.uint8), 1)
    count, parts = cv2.connectedComponents(grid, connectivity=4)
    rings: list[list[Corners]] = [[] for _ in range(count)]
    for ring, (y, x) in _rings(grid):
        rings[parts[y, x]].append(ring)
    return [join_rings(found) for found in rings[1:]]


def join_rings(rings: Sequence[Corners]) -> Corners:
    """One polygon from several closed lines, tied by seams; the first one leads."""
    joined = rings[0]
    for ring in rings[1:]:
        near = int(np.abs(joined - ring[0]).sum(axis=1).argmin())
        joined = np.concatenate([joined[: near + 1], ring, ring[:1], joined[near:]])
    return joined


def _checked(polygon: Corners, size: tuple[int, int], name: str) -> Corners:
    corners = np.asarray(polygon, np.float64)
    if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3:
        raise ValueError(
            f"{name}: expected at least three corners (x, y), got {corners.size} numbers. Remove "
            "the shape or complete it."
        )
    limit = _FARTHEST * max(*size, 16)
    if not np.isfinite(corners).all() or np.abs(corners).max() > limit:
        raise ValueError(
            f"{name}: expected corners in or near the picture of {size[0]}x{size[1]} (height x "
            f"width), got one beyond {limit}. Check that they are in pixels of this picture."
        )
    return corners


def _crossings(
    corners: Corners, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows at which a polygon's outline crosses the middle of a pixel column."""
    height, width = size
    fine = np.trunc(corners * _FINER + 0.5).astype(np.int64)
    start, end = fine, np.roll(fine, -1, axis=0)
    span = np.abs(end - start)
    is_flat = span[:, 0] >= span[:, 1]
    steps = np.where(is_flat, span[:, 0], span[:, 1])
    # Each edge is walked from its lower end, so that both directions meet the same points.
    along = np.where(is_flat, 0, 1)
    rows = np.arange(len(fine))
    turned = start[rows, along] > end[rows, along]
    low, high = np.where(turned[:, None], end, start), np.where(turned[:, None], start, end)
    rise = np.where(is_flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0])
    slope = rise / np.maximum(steps, 1)
    edge = np.repeat(rows, steps + 1)
    first = np.cumsum(steps + 1) - (steps + 1)
    t = np.arange(edge.size) - first[edge]
    t = np.where(turned[edge], steps[edge] - t, t)
    shift = slope[edge] * t + 0.5
    flat = is_flat[edge]
    x = np.where(flat, low[edge, 0] + t, np.trunc(low[edge, 0] + shift).astype(np.int64))
    y = np.where(flat, np.trunc(low[edge, 1] + shift).astype(np.int64), low[edge, 1] + t)
    moves = np.flatnonzero(x[1:] != x[:-1])
    before, after = moves, moves + 1
    column = (np.where(x[after] < x[before], x[after], x[after] - 1) + 0.5) / _FINER - 0.5
    row = np.ceil(np.clip((np.minimum(y[after], y[before]) + 0.5) / _FINER - 0.5, 0, height))
    inside = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    return column[inside].astype(np.int64), row[inside].astype(np.int64)


def _rings(grid: NDArray[np.uint8]) -> list[tuple[Corners, tuple[int, int]]]:
    """Closed outlines of a padded mask, clockwise around it, and a pixel inside each.

    Straight runs go right above a pixel, down at its right, left below, up at its left. Where two
    runs start at one corner, the turn to the right stays at the same pixel.
    """
    starts: dict[tuple[int, int, int], tuple[int, int]] = {}
    inside = grid.astype(bool)
    for direction, (dy, dx) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        edge = inside & ~np.roll(inside, (-dy, -dx), (0, 1))
        lines = edge if dx == 0 else edge.T  # runs lie along rows, or along columns
        changes = np.diff(lines.astype(np.int8), axis=1, prepend=0, append=0)
        line, begin = np.nonzero(changes > 0)
        _, stop = np.nonzero(changes < 0)
        where = line + (1 if direction in (1, 2) else 0)
        ends = (begin, stop) if direction in (0, 1) else (stop, begin)
        for place, one, two in zip(where.tolist(), *(e.tolist() for e in ends), strict=True):
            tail, head = ((place, one), (place, two)) if dx == 0 else ((one, place), (two, place))
            starts[(*tail, direction)] = head
    rings = []
    while starts:
        first = next(iter(starts))
        y, x, direction = first
        # The pixel at the right hand of the first run; the pad is one pixel, corners count from it.
        pixel = ((y, x), (y, x - 1), (y - 1, x - 1), (y - 1, x))[direction]
        ring, key = [], first
        while True:
            y, x, direction = key
            ring.append((x - 1, y - 1))
            y, x = starts.pop(key)
            right, left = (direction + 1) % 4, (direction - 1) % 4
            key = (y, x, right)
            if key != first and key not in starts:
                key = (y, x, left)
            if key == first:
                break
        rings.append((np.array(ring, np.float64), pixel))
    return rings
