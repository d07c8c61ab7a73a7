"""Decoded images kept in memory, up to a limit, shared by the processes that read them.

Images come up in an order of chance, so what has been kept is never pushed out: with a limit of
half the data set, half of the images need no decoding, whichever those are. What is given back are
views, so a crop touches only the memory of its window.
"""

import mmap
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from panoptic_deeplab.data.base import PanopticDataset, View
from panoptic_deeplab.structures import PanopticMap, Sample, Segment

_ALIGNED = 64  # bytes; maps of numbers must not begin in the middle of one


class CachedDataset(View):
    """A data set whose images are decoded once, as far as there is room.

    Processes made by forking share the memory, and each fills a part of its own, so that nobody
    waits for a lock. A copy that was sent to another process by pickling begins empty.

    Args:
        dataset: whose images are kept.
        limit_mb: of all kept images together, 7 bytes per pixel.
        parts: processes that will read.
    """

    def __init__(self, dataset: PanopticDataset, limit_mb: int, parts: int) -> None:
        super().__init__(dataset)
        self._limit_mb, self._parts = limit_mb, max(1, parts)
        self._begin()

    def _begin(self) -> None:
        self._part_bytes = self._limit_mb * 2**20 // self._parts
        # Anonymous and shared: pages that nobody writes cost nothing, all end with the processes.
        self._memory = mmap.mmap(-1, max(1, self._part_bytes * self._parts))
        shape = (len(self._dataset), 4)
        self._index = np.frombuffer(mmap.mmap(-1, 8 * 4 * max(1, shape[0])), np.int64)
        self._index = self._index[: 4 * shape[0]].reshape(shape)  # place + 1, H, W, S
        self._used = np.frombuffer(mmap.mmap(-1, 8 * self._parts), np.int64)

    def __getstate__(self) -> tuple[PanopticDataset, int, int]:
        """What another process needs to make a cache of its own."""
        return self._dataset, self._limit_mb, self._parts

    def __setstate__(self, state: tuple[PanopticDataset, int, int]) -> None:
        self._dataset, self._limit_mb, self._parts = state
        self._begin()

    @property
    def num_kept(self) -> int:
        """How many images need no decoding any more."""
        return int((self._index[:, 0] > 0).sum())

    def __getitem__(self, index: int, /) -> Sample:
        """From memory, or decoded and kept if there is room; its arrays cannot be written to."""
        if self._index[index, 0]:
            return self._kept(index)
        sample = self._dataset[index]
        self._keep(index, sample)
        return sample

    def _kept(self, index: int) -> Sample:
        place, height, width, count = self._index[index].tolist()
        pixels = height * width
        image = self._view(place - 1, np.uint8, 3 * pixels).reshape(height, width, 3)
        start = _after(place - 1 + 3 * pixels)
        ids = self._view(start, np.int32, pixels).reshape(height, width)
        rows = self._view(_after(start + 4 * pixels), np.int64, 4 * count).reshape(count, 4)
        segments = (Segment(i, c, area, None, bool(crowd)) for i, c, area, crowd in rows.tolist())
        return Sample(image, PanopticMap(ids, tuple(segments)), self.image_id(index))

    def _view(self, start: int, kind: Any, count: int) -> Any:
        array = np.frombuffer(self._memory, kind, count, start)
        array.flags.writeable = False
        return array

    def _keep(self, index: int, sample: Sample) -> None:
        if sample.panoptic is None:
            return
        worker = get_worker_info()
        part = 0 if worker is None else worker.id % self._parts
        segments = [
            (s.id, s.class_id, s.area_px, int(s.is_crowd)) for s in sample.panoptic.segments
        ]
        arrays = (
            sample.image,
            sample.panoptic.segment_map,
            np.array(segments, np.int64).reshape(-1, 4),
        )
        first = _after(part * self._part_bytes) + int(self._used[part])
        place = first
        for array in arrays:
            place = _after(place + array.nbytes)
        if place > (part + 1) * self._part_bytes:
            return
        self._used[part] += place - first
        place = first
        for array in arrays:
            target = np.frombuffer(self._memory, array.dtype, array.size, place)
            target.reshape(array.shape)[...] = array
            place = _after(place + array.nbytes)
        height, width = sample.panoptic.size
        self._index[index, 1:] = height, width, len(segments)
        self._index[index, 0] = first + 1  # last: from here on others may read it


def _after(place: int) -> int:
    return -(-place // _ALIGNED) * _ALIGNED
