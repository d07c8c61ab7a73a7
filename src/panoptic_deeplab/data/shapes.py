"""Drawn shapes as regions, and regions as shapes: what the polygon formats share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.coco_writer import measure_boxes
from panoptic_deeplab.data.overlaps import Mask, Region, region_of
from panoptic_deeplab.data.polygons import Corners, fill_polygons, outline
from panoptic_deeplab.structures import VOID, PanopticMap

_CIRCLE = 72  # corners of a circle: off by less than a thousandth of its radius


def region_of_polygons(
    class_id: int,
    polygons: Sequence[Corners],
    size: tuple[int, int],
    *,
    name: str,
    is_crowd: bool = False,
    layer: int = 0,
) -> Region:
    """One object from its polygons, each (N, 2), (x, y) in pixels.

    Raises:
        ValueError: as `fill_polygons`.
    """
    left, mask = fill_polygons(polygons, size, name=name)
    region = region_of(class_id, mask, is_crowd=is_crowd)
    return replace(region, left=region.left + left, layer=layer)


def polygons_of(panoptic: PanopticMap) -> dict[int, list[Corners]]:
    """Outlines of each segment along pixel edges, by segment id; filling them gives it back."""
    found = {}
    for number, (x, y, width, height) in measure_boxes(panoptic).items():
        if number == VOID:
            continue
        part = panoptic.segment_map[y : y + height, x : x + width]
        found[number] = [np.add(corners, (x, y)) for corners in outline(part == number)]
    return found


def numbers_of(corners: Corners) -> list[list[int]]:
    """Corners of an outline as plain whole numbers."""
    return [[int(x), int(y)] for x, y in corners.tolist()]


def box(x0: float, y0: float, x1: float, y1: float) -> Corners:
    """A rectangle as a polygon."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Corners:
    """An ellipse as a polygon."""
    angle = np.arange(_CIRCLE) * (2 * np.pi / _CIRCLE)
    return np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)


def join_regions(regions: Sequence[Region]) -> Region:
    """Parts of one object as one region; class, crowd and layer are those of the first."""
    if len(regions) == 1:
        return regions[0]
    covered = [r for r in regions if r.mask.size] or list(regions[:1])
    top, left = min(r.top for r in covered), min(r.left for r in covered)
    bottom = max(r.top + r.mask.shape[0] for r in covered)
    right = max(r.left + r.mask.shape[1] for r in covered)
    mask: Mask = np.zeros((bottom - top, right - left), bool)
    for r in covered:
        y, x = r.top - top, r.left - left
        mask[y : y + r.mask.shape[0], x : x + r.mask.shape[1]] |= r.mask
    return replace(regions[0], top=top, left=left, mask=mask)


def group(parts: Sequence[tuple[Any, Region]]) -> list[Region]:
    """Join parts with one key; a key of None stands alone. In the order of first parts."""
    groups: dict[Any, list[Region]] = {}
    for i, (key, region) in enumerate(parts):
        groups.setdefault(("alone", i) if key is None else ("group", key), []).append(region)
    return [join_regions(regions) for regions in groups.values()]


def check_listed_size(
    record: Mapping[str, Any], keys: tuple[str, str], size: tuple[int, int], where: str, image: str
) -> None:
    """Compare the size that an annotation states with its picture's.

    Raises:
        ValueError: if it states another.
    """
    try:
        listed = tuple(int(record[key]) for key in keys)
    except (KeyError, TypeError, ValueError):
        return  # states none
    if listed != size:
        raise ValueError(
            f"{where}: expected the size of its picture {image}, {size[0]}x{size[1]} (height x "
            f"width), got {listed[0]}x{listed[1]}. Check that both belong together and that the "
            "picture is not meant to be turned."
        )


def points(pairs: Any, where: str) -> NDArray[np.float64]:
    """Corners as (N, 2) from lists of numbers.

    Raises:
        ValueError: naming the place, if they are not pairs of numbers.
    """
    try:
        corners = np.array(pairs, np.float64)
        if corners.ndim == 2 and corners.shape[1] == 2:
            return corners
    except (ValueError, TypeError):
        pass
    raise ValueError(
        f"{where}: expected points as pairs x, y, got {str(pairs)[:40]!r}. Correct it."
    )
