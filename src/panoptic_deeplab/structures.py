"""The six records that travel between the stages; nothing else does.

    data -> Sample -> transforms -> targets -> Batch -> model -> Outputs -> losses
                                               model -> Outputs -> grouping -> PanopticMap

`Segment`, `PanopticMap` and `Sample` live on the Python side: frozen dataclasses of NumPy arrays,
checked on creation. `Targets`, `Batch` and `Outputs` cross the network: NamedTuples of tensors,
which `default_collate` and `torch.export` keep. `Targets` and `Outputs` share field names, so
a loss is a pair by name. Letters: B batch, K classes, H W image grid, h w feature grid.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # importing torch takes seconds, and the Python side does without
    from torch import Tensor

VOID = 0
"""Segment id of pixels that belong to no segment (as in COCO's panoptic PNGs)."""


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: a thing's instance, or all of an image's stuff of a class.

    Attributes:
        id: its value in the segment map, 1 or more.
        class_id: 0..K-1 in the label space.
        area_px: number of its pixels.
        score: confidence 0..1 of a predicted segment, None for truth and stuff.
        is_crowd: True for a region of many instances that were not told apart (truth only).
        objectness: heat at a predicted thing's center; None if it was not read.
        class_probability: mean probability of its class over its mask; None likewise.
    """

    id: int
    class_id: int
    area_px: int
    score: float | None = None
    is_crowd: bool = False
    objectness: float | None = None
    class_probability: float | None = None


@dataclass(frozen=True)
class PanopticMap:
    """Truth or prediction: which segment each pixel belongs to, and what the segments are.

    Attributes:
        segment_map: (H, W) int32, segment id per pixel, `VOID` where there is none.
        segments: in the file's order for truth; things before stuff for predictions.

    Raises:
        ValueError: if the map is not (H, W) int32, an id occurs twice or is not positive.
            Whether ids and areas agree with the pixels is the readers' business, since it costs
            a pass over the image; see `check`.
    """

    segment_map: NDArray[np.int32]
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        """Check type, shape and ids."""
        array = self.segment_map
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.int32:
            got = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
            raise ValueError(f"segment_map must be an (H, W) int32 array, got {got.strip()}.")
        seen: set[int] = set()
        for segment in self.segments:
            if segment.id <= VOID:
                raise ValueError(f"Segment ids start at 1 (0 is void), got {segment.id}.")
            if segment.id in seen:
                raise ValueError(f"Segment id {segment.id} is listed twice.")
            seen.add(segment.id)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.segment_map.shape[0], self.segment_map.shape[1]

    def check(self) -> None:
        """Compare list and pixels, one pass over the map.

        Raises:
            ValueError: naming the segment whose pixels or area are not as listed, or the id of
                the map that is not listed.
        """
        areas = count_ids(self.segment_map)
        areas.pop(VOID, None)
        for segment in self.segments:
            found = areas.pop(segment.id, 0)
            if found != segment.area_px:
                raise ValueError(
                    f"Segment {segment.id} is listed with {segment.area_px} pixels, "
                    f"the map has {found}."
                )
        if areas:
            raise ValueError(f"The map has segments that are not listed: {sorted(areas)}.")


@dataclass(frozen=True)
class Sample:
    """One image of a data set with its truth, before any transform.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        panoptic: the truth at the image's size, or None for images without labels.
        image_id: the data set's name for it, used in messages and result files.
    """

    image: NDArray[np.uint8]
    panoptic: PanopticMap | None
    image_id: str = field(default="")

    def __post_init__(self) -> None:
        """Check type and sizes."""
        image = self.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"image must be (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}. "
                "Read files with `panoptic_deeplab.data.base.read_image`."
            )
        if self.panoptic is not None and self.panoptic.size != image.shape[:2]:
            raise ValueError(
                f"Image {self.image_id!r} is {image.shape[0]}x{image.shape[1]} (height x width) "
                f"but its labels are {self.panoptic.size[0]}x{self.panoptic.size[1]}."
            )


class Targets(NamedTuple):
    """What the network should give, at full resolution, with a loss weight per pixel.

    Without the leading B for a single image.

    Attributes:
        semantic: (B, H, W) int64, class ids, 255 = ignored.
        center: (B, 1, H, W) float32, heat map in [0, 1].
        offset: (B, 2, H, W) float32, (dy, dx) from the pixel to its center, in pixels.
        semantic_weight: (B, H, W) float32.
        center_weight: (B, H, W) float32.
        offset_weight: (B, H, W) float32.
    """

    semantic: "Tensor"
    center: "Tensor"
    offset: "Tensor"
    semantic_weight: "Tensor"
    center_weight: "Tensor"
    offset_weight: "Tensor"


class Batch(NamedTuple):
    """Images and targets of one training step.

    Attributes:
        image: (B, 3, H, W) uint8, RGB.
        targets: see `Targets`.
    """

    image: "Tensor"
    targets: Targets


class Outputs(NamedTuple):
    """What the network gives, on one grid (the network's own (h, w) or the image's (H, W)).

    Attributes:
        semantic: (B, K, h, w) logits.
        center: (B, 1, h, w) heat map; not clamped, no sigmoid.
        offset: (B, 2, h, w), (dy, dx) from the pixel to its center, in pixels of this grid.
    """

    semantic: "Tensor"
    center: "Tensor"
    offset: "Tensor"


def count_ids(segment_map: NDArray[np.int32]) -> dict[int, int]:
    """Count the pixels of each id of an (H, W) map, void included.

    Example:
        >>> count_ids(np.array([[0, 7, 7], [0, 7, 3]], np.int32))
        {0: 2, 3: 1, 7: 3}
    """
    flat = segment_map.reshape(-1)
    if not flat.size:
        return {}
    # Neighbours mostly share their id: sorting the runs instead of the pixels is five times faster.
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size)
    ids, run_of = np.unique(flat[starts], return_inverse=True)
    areas = np.bincount(run_of, weights=lengths).astype(np.int64)
    return dict(zip(ids.tolist(), areas.tolist(), strict=True))
