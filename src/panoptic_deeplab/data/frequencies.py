"""Which classes a data set's images hold, and how much of each: what sampling by rarity needs.

Lists that name classes and areas (COCO's) are enough; other formats have to be read, image by
image, which is done by threads and said in the log.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.structures import Segment

logger = logging.getLogger(__name__)

SAMPLED = 400
"""Images from which frequencies are taken where the labels have to be read; the share of a class
that one pixel in a thousand belongs to is then known well enough to draw by."""


def class_areas(dataset: PanopticDataset, indices: Sequence[int]) -> NDArray[np.float32]:
    """Pixels of each class in some images.

    Args:
        dataset: with truth.
        indices: of the images.

    Returns:
        (N, K); crowd regions count as their class.

    Raises:
        ValueError: as the data set, if an image that has to be read is damaged.
        FileNotFoundError: the same.
    """
    areas = np.zeros((len(indices), dataset.labels.num_classes), np.float32)
    listed = [_listed(dataset, index) for index in indices]
    unknown = [i for i, segments in enumerate(listed) if segments is None]
    if unknown:
        logger.info("Reading the labels of %d images to count their classes.", len(unknown))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read = pool.map(partial(_segments, dataset), [indices[i] for i in unknown])
        for i, segments in zip(unknown, read, strict=True):
            listed[i] = segments
    for row, found in zip(areas, listed, strict=True):
        for segment in found or ():
            row[segment.class_id] += segment.area_px
    return areas


def class_weights(dataset: PanopticDataset) -> NDArray[np.float64]:
    """How likely each class is drawn, in proportion: one by its share of all pixels.

    Returns:
        (K,), 0 for classes that do not occur.
    """
    count = len(dataset)
    indices: Sequence[int] = range(count)
    if count > SAMPLED and _listed(dataset, 0) is None:
        indices = np.linspace(0, count - 1, SAMPLED).round().astype(int).tolist()
    pixels = class_areas(dataset, indices).sum(axis=0, dtype=np.float64)
    weights: NDArray[np.float64] = np.zeros(pixels.shape)
    np.divide(1, pixels, out=weights, where=pixels > 0)
    return weights


def _listed(dataset: PanopticDataset, index: int) -> tuple[Segment, ...] | None:
    """Segments known without reading; None if there is no such list, or it lacks areas."""
    read = getattr(dataset, "listed_segments", None)
    segments = read(index) if read is not None else None
    if segments is None or any(s.area_px < 0 for s in segments):
        return None
    return tuple(segments)


def _segments(dataset: PanopticDataset, index: int) -> tuple[Segment, ...]:
    panoptic = dataset[index].panoptic
    return () if panoptic is None else panoptic.segments
