"""The bands of pixels along the borders of segments, in which boundary quality is measured.

A pixel lies in its segment's band if a pixel of another id, or the image's border, is no farther
than the band's width, in the larger of the two axes' distances. For each segment this is what
Boundary IoU takes: the mask without itself eroded so many times by a 3x3 square.

Paper: arXiv:2103.16562, section 4; widths as in its public code.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.structures import VOID

BAND_SHARES = {"coco": 0.02, "cityscapes": 0.005}
"""Width of a band over the image's diagonal, by data set: bowenc0221/boundary-iou-api's default in
`coco_panoptic_api` and in `cityscapes_panoptic_api`."""

INSIDE = 2**31 - 1
"""Stands for the inside of all segments, which is no void; no reader gives a segment this id."""


def band_width_px(size: tuple[int, int], share: float) -> int:
    """Width of the bands of an image of (height, width) pixels, at least 1.

    Args:
        size: (H, W).
        share: of the diagonal, see `BAND_SHARES`.
    """
    return max(1, round(share * float(np.hypot(*size))))


def band_ids(segment_map: NDArray[np.int32], width_px: int) -> NDArray[np.int32]:
    """Keep the ids of a map in the bands along borders; the rest of a segment becomes `INSIDE`.

    Args:
        segment_map: (H, W).
        width_px: of the bands.

    Returns:
        (H, W); void stays void.
    """
    if not segment_map.size:
        return segment_map
    inside = np.pad(_has_like_neighbors(segment_map).astype(np.uint8), 1)
    # Chessboard distance to the nearest pixel that touches another segment; one more to the other.
    distance = cv2.distanceTransform(inside, cv2.DIST_C, cv2.DIST_MASK_3)[1:-1, 1:-1]
    is_kept = (distance < width_px) | (segment_map == VOID)
    return np.where(is_kept, segment_map, np.int32(INSIDE))


def _has_like_neighbors(ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether all eight neighbors have a pixel's id; (H, W), False along the image's border."""
    alike = np.zeros(ids.shape, np.bool_)
    across = ids[:, 1:] == ids[:, :-1]
    row = across[:, 1:] & across[:, :-1]  # (H, W - 2): left and right are alike
    down = ids[1:, 1:-1] == ids[:-1, 1:-1]
    alike[1:-1, 1:-1] = row[1:-1] & row[:-2] & row[2:] & down[1:] & down[:-1]
    return alike
