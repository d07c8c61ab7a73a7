"""From the network's heads to a panoptic map: centers, nearest center, majority vote, stuff.

In: `Outputs` on the network's own grid, or maps that already lie on the result's. Out: one
`PanopticMap` per image. The order of steps is here; how each is computed is the business of a
back end: `grouping_plain.py` (NumPy, the meaning of every step), `grouping_numba.py` (compiled
loops) and `grouping_tensor.py` (torch operations, any device). All give the same segments.

Paper: arXiv:1911.10194, section 3.2; instance scores: its supplement, Table 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panoptic_deeplab.backends import choose_backend
from panoptic_deeplab.grouping_grid import make_grid
from panoptic_deeplab.grouping_plain import PlainImage
from panoptic_deeplab.interpolation import Size
from panoptic_deeplab.labels import IGNORED, LabelSpace, near_names
from panoptic_deeplab.structures import VOID, Outputs, PanopticMap, Segment

Backend = Literal["auto", "numba", "tensor", "plain"]
Orphans = Literal["void", "component"]
Score = Literal["product", "objectness", "class"]
Place = Literal["center", "centroid"]


class GroupedImage(Protocol):
    """The maps of one image as a back end holds them, and the steps it computes on them."""

    def count_classes(self) -> NDArray[np.int64]:
        """(256,) pixels by class id."""

    def find_centers(
        self, *, threshold: float, nms_kernel: int, top_k: int, merge_plateaus: bool
    ) -> NDArray[np.int64]:
        """(N, 2) as (y, x), see `grouping_plain.find_centers`."""

    def assign(
        self, centers: NDArray[np.int64], is_foreground: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Number the pixels of foreground classes by nearest center; (N + 1, 256) votes."""

    def assign_regions(self, is_foreground: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number the connected regions of foreground classes instead; (N + 1, 256) votes."""

    def read_heat(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n,) heat at (n, 2) places (y, x)."""

    def sum_coordinates(self) -> NDArray[np.float64]:
        """(N + 1, 2) sums of (y, x) over the pixels of each number."""

    def sum_probabilities(self, class_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N + 1,) sums over the pixels of each number of the probability of its class."""

    def paint(
        self, thing_ids: NDArray[np.int32], stuff_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """(H, W): segment id by number where there is one, by class elsewhere. The last step."""


class Election(NamedTuple):
    """What the votes decided; entry 0 of the tables is for pixels without a number.

    Attributes:
        segments: things in the order of their numbers, then stuff by class id.
        numbers: (n,) of the things among them.
        class_ids: (N + 1,) by number.
        areas: (N + 1,) pixels by number.
        thing_ids: (N + 1,) segment id by number.
        stuff_ids: (256,) segment id by class id.
    """

    segments: tuple[Segment, ...]
    numbers: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    thing_ids: NDArray[np.int32]
    stuff_ids: NDArray[np.int32]


def group_outputs(
    outputs: Outputs,
    labels: LabelSpace,
    *,
    size: Size,
    align_corners: bool,
    crop_size: Size | None = None,
    output_size: Size | None = None,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    stuff_area_px: int = 2048,
    merge_plateaus: bool = False,
    orphans: Orphans = "void",
    score: Score = "product",
    objectness_at: Place = "center",
    backend: Backend = "auto",
) -> list[PanopticMap]:
    """Turn a batch of outputs into panoptic maps, without gradients.

    Args:
        outputs: on the network's grid, (B, K, h, w) and so on.
        labels: the K classes.
        size: (H, W) of the network's input; the heads are resized to it.
        align_corners: of that resize, `PanopticDeepLab.align_corners`.
        crop_size: top left part of it without padding; None: all of it.
        output_size: of the result; None: `crop_size`.
        threshold: a center's heat must exceed it, and 0; paper: 0.1.
        nms_kernel: side of the window in which only the highest heat survives, odd, in pixels of
            the result; paper: 7.
        top_k: most centers kept, by heat; paper: 200.
        stuff_area_px: a stuff class with fewer pixels becomes void; paper: 2048 on Cityscapes.
        merge_plateaus: of a plateau of equal heat keep its first pixel instead of all.
        orphans: without any center, thing pixels become "void" (paper), or each connected
            "component" of a class an instance.
        score: of a thing: heat at its center ("objectness"), mean probability of its class over
            its mask ("class"), or their "product"; supplement, Table 2.
        objectness_at: read the heat at the detected "center" or at the mask's "centroid",
            truncated to whole pixels (public codes).
        backend: "numba", "tensor", "plain", or "auto": numba for tensors on the CPU where it is
            installed, else tensor.

    Returns:
        One map per image: segment ids 1..n, things first in the order of their centers (rows from
        the top, each from the left), then stuff by class id. Things have a score,
        and the parts of it that were computed: with "product" objectness and class probability.

    Raises:
        ValueError: if shapes do not fit together, a setting is out of range, or a head has a
            value that is not finite.
        ImportError: if numba is asked for and not installed.
    """
    _check_outputs(outputs, labels)
    _check_center_settings(nms_kernel, top_k, merge_plateaus)
    _check_choice("orphans", orphans, Orphans)
    _check_choice("score", score, Score)
    _check_choice("objectness_at", objectness_at, Place)
    grid = make_grid(size, crop_size, output_size, align_corners)
    results = []
    with torch.no_grad():
        open_image = _open_with(backend, outputs)
        for heads in zip(*outputs, strict=True):
            image = open_image(*(head.detach().float().contiguous() for head in heads), grid)
            centers = image.find_centers(
                threshold=threshold,
                nms_kernel=nms_kernel,
                top_k=top_k,
                merge_plateaus=merge_plateaus,
            )
            election = _group(image, centers, labels, stuff_area_px, orphans)
            at = centers[election.numbers - 1] if len(centers) else None
            if objectness_at == "centroid":
                at = None
            results.append(_finish(image, election, _score(image, election, at, score)))
    return results


def panoptic_from_maps(
    semantic: NDArray[np.uint8],
    center: NDArray[np.float32],
    offset: NDArray[np.float32],
    labels: LabelSpace,
    *,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    stuff_area_px: int = 2048,
    merge_plateaus: bool = False,
    orphans: Orphans = "void",
    foreground: NDArray[np.bool_] | None = None,
) -> PanopticMap:
    """Group maps that already lie on the result's grid; segments carry no scores.

    Args:
        semantic: (H, W) class ids; `IGNORED` pixels become void.
        center: (H, W) heat map.
        offset: (2, H, W), (dy, dx) in pixels of this grid.
        labels: classes.
        threshold: as in `group_outputs`, like the following.
        nms_kernel: as there.
        top_k: as there.
        stuff_area_px: as there.
        merge_plateaus: as there.
        orphans: as there.
        foreground: (H, W), pixels that belong to instances; None: those of a thing class.

    Raises:
        ValueError: as in `group_outputs`.
    """
    _check_maps(semantic, center, offset)
    _check_center_settings(nms_kernel, top_k, merge_plateaus)
    _check_choice("orphans", orphans, Orphans)
    image = PlainImage.from_maps(semantic, center, offset, foreground)
    centers = image.find_centers(
        threshold=threshold, nms_kernel=nms_kernel, top_k=top_k, merge_plateaus=merge_plateaus
    )
    return _finish(image, _group(image, centers, labels, stuff_area_px, orphans), [])


def elect(
    votes: NDArray[np.int64],
    class_counts: NDArray[np.int64],
    labels: LabelSpace,
    stuff_area_px: int,
) -> Election:
    """Give each instance its majority's class and find the stuff that is large enough.

    Args:
        votes: (N + 1, 256) pixels by number and class; row 0 is empty.
        class_counts: (256,) pixels by class.
        labels: classes.
        stuff_area_px: fewest pixels of a stuff segment.
    """
    class_ids = votes[:, :IGNORED].argmax(axis=1)  # the smallest among equally frequent ones
    areas = votes.sum(axis=1)
    # An instance without pixels takes no segment id.
    numbers = np.flatnonzero(votes[:, :IGNORED].any(axis=1))
    thing_ids = np.zeros(len(votes), np.int32)
    thing_ids[numbers] = np.arange(1, len(numbers) + 1)
    segments = [Segment(int(thing_ids[n]), int(class_ids[n]), int(areas[n])) for n in numbers]
    free = class_counts - votes.sum(axis=0)
    stuff_ids = np.zeros(IGNORED + 1, np.int32)
    for class_id in labels.stuff_ids:
        if free[class_id] >= max(stuff_area_px, 1):
            stuff_ids[class_id] = len(segments) + 1
            segments.append(Segment(len(segments) + 1, class_id, int(free[class_id])))
    return Election(tuple(segments), numbers, class_ids, areas, thing_ids, stuff_ids)


def _group(
    image: GroupedImage,
    centers: NDArray[np.int64],
    labels: LabelSpace,
    stuff_area_px: int,
    orphans: Orphans,
) -> Election:
    is_thing = np.zeros(IGNORED + 1, np.bool_)
    is_thing[list(labels.thing_ids)] = True
    if len(centers) or orphans == "void":
        votes = image.assign(centers, is_thing)
    else:
        votes = image.assign_regions(is_thing)
    return elect(votes, image.count_classes(), labels, stuff_area_px)


def _score(
    image: GroupedImage,
    election: Election,
    centers: NDArray[np.int64] | None,
    score: Score,
) -> list[Segment]:
    """Rate the things; at their centroids, truncated to whole pixels, if no centers are given."""
    numbers = election.numbers
    things = list(election.segments[: len(numbers)])
    if not things:
        return []
    if score != "class":
        if centers is None:
            means = image.sum_coordinates()[numbers] / election.areas[numbers, None]
            centers = means.astype(np.int64)
        heat = np.asarray(image.read_heat(centers), np.float64).tolist()
        things = [replace(s, score=h, objectness=h) for s, h in zip(things, heat, strict=True)]
    if score != "objectness":
        sums = image.sum_probabilities(election.class_ids)
        means = (sums[numbers] / election.areas[numbers]).tolist()
        things = [
            replace(s, score=p if s.objectness is None else s.objectness * p, class_probability=p)
            for s, p in zip(things, means, strict=True)
        ]
    return things


def _finish(image: GroupedImage, election: Election, rated: Sequence[Segment]) -> PanopticMap:
    """Paint the map; the first segments are those that were rated."""
    segments = (*rated, *election.segments[len(rated) :])
    assert VOID == election.thing_ids[0]
    return PanopticMap(image.paint(election.thing_ids, election.stuff_ids), segments)


def _open_with(backend: Backend, outputs: Outputs) -> Callable[..., GroupedImage]:
    """Find the class that opens an image, given its three heads and the grid."""
    on_cpu = outputs.semantic.device.type == "cpu"
    chosen = choose_backend(backend, ("tensor", "plain"), suits_numba=on_cpu)
    if chosen == "plain":
        return PlainImage
    if chosen == "tensor":
        from panoptic_deeplab.grouping_tensor import TensorImage

        return TensorImage
    from panoptic_deeplab.grouping_numba import NumbaImage

    return NumbaImage


def _check_choice(setting: str, value: str, kind: Any) -> None:
    known = get_args(kind)
    if value not in known:
        raise ValueError(f"Unknown {setting} {value!r}. {near_names(value, known)}")


def _check_center_settings(nms_kernel: int, top_k: int, merge_plateaus: bool) -> None:
    if nms_kernel < 1 or nms_kernel % 2 == 0:
        raise ValueError(
            f"nms_kernel must be odd and positive so that its window has a middle, got "
            f"{nms_kernel}. Use {max(nms_kernel, 0) + 1}."
        )
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}. The paper's value is 200.")
    if merge_plateaus and nms_kernel == 1:
        raise ValueError(
            "merge_plateaus needs an nms_kernel of 3 or more, got 1. With 1 every pixel above the "
            "threshold is a center of its own."
        )


def _check_outputs(outputs: Outputs, labels: LabelSpace) -> None:
    wanted = {"semantic": labels.num_classes, "center": 1, "offset": 2}
    shape = outputs.semantic.shape
    extremes = []
    for name, channels in wanted.items():
        head: Tensor = getattr(outputs, name)
        expected = (shape[0], channels, *shape[-2:])
        if head.ndim != 4 or tuple(head.shape) != expected:
            raise ValueError(
                f"outputs.{name} must have shape {expected} (batch, channels, height, width), "
                f"got {tuple(head.shape)}. Pass the model's outputs and its own label space."
            )
        if head.numel():
            extremes.append(torch.stack(head.detach().aminmax()).float())
    # Read together, since reading waits for a GPU.
    for name, pair in zip(wanted, torch.stack(extremes).tolist() if extremes else (), strict=False):
        _check_finite(name, pair)


def _check_maps(
    semantic: NDArray[np.uint8], center: NDArray[np.float32], offset: NDArray[np.float32]
) -> None:
    if semantic.dtype != np.uint8 or center.shape != semantic.shape:
        raise ValueError(
            "semantic must be (H, W) uint8 and center (H, W), got "
            f"{semantic.dtype} {semantic.shape} and {center.shape}."
        )
    if offset.shape != (2, *semantic.shape):
        raise ValueError(
            f"offset must have shape (2, H, W) with H, W = {semantic.shape}, got {offset.shape}. "
            "Channels are (dy, dx)."
        )
    for name, head in (("center", center), ("offset", offset)):
        _check_finite(name, (head.min(initial=0), head.max(initial=0)))


def _check_finite(name: str, extremes: Sequence[Any]) -> None:
    if not all(np.isfinite(float(value)) for value in extremes):
        raise ValueError(
            f"The {name} head must be finite, it has NaN or infinite values. Check the weights "
            "and the input; in float16 try float32 or bfloat16."
        )
