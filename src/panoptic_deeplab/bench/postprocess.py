"""From heads to segments: the back ends against a dense reference that goes mask by mask.

The reference is what one writes down first, on whole maps: resize all heads, arg-max, non-maximum
suppression by max-pooling, one pass over all pixels per center with a running minimum of squared
distances, one mask per instance for the vote, its score and its box. It does not build the centers
x pixels tensor of the public codes, which takes gigabytes and is slower still.
"""

from collections.abc import Callable
from functools import partial
from math import nan
from typing import cast

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor

from panoptic_deeplab.bench.measure import REFERENCE, Row, compare, peak_mb, table
from panoptic_deeplab.bench.scenes import Scene, draw_heads, label_space
from panoptic_deeplab.grouping import Backend, Score, group_outputs
from panoptic_deeplab.grouping_plain import segment_boxes
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Outputs

Size = tuple[int, int]
"""(height, width) in pixels."""

ARGMAX = "arg-max alone"
"""The compiled pass from logits to class ids, which every map from logits needs."""


def dense_reference(
    outputs: Outputs,
    labels: LabelSpace,
    size: tuple[int, int],
    *,
    with_scores: bool,
    stuff_area_px: int = 2048,
) -> tuple[Tensor, list[tuple[int, float, list[int]]]]:
    """Group one image on whole maps; paper's settings.

    Returns:
        (H, W) segment ids, numbered as `group_outputs` does; class, score and box (left, top,
        right, bottom) of each thing, the latter two only if asked for.
    """
    logits, heat, offset = (
        F.interpolate(head, size=size, mode="bilinear", align_corners=False) for head in outputs
    )
    offset = offset * (size[0] / outputs.offset.shape[2])
    classes = logits.argmax(dim=1)[0]
    centers = _find_centers(heat[0, 0])
    is_thing = torch.isin(classes, torch.tensor(labels.thing_ids, device=classes.device))
    numbers = _nearest_center(offset[0], centers) * is_thing
    probabilities = logits.softmax(dim=1)[0] if with_scores else None
    result = torch.zeros(size, dtype=torch.int32, device=classes.device)
    things: list[tuple[int, float, list[int]]] = []
    for number in range(1, len(centers) + 1):
        mask = numbers == number
        if not mask.any():
            continue
        class_id = int(classes[mask].mode().values)
        result[mask] = len(things) + 1
        score, box = 0.0, list[int]()
        if probabilities is not None:
            y, x = centers[number - 1].tolist()
            score = float(probabilities[class_id][mask].mean() * heat[0, 0, y, x])
            ys, xs = mask.nonzero(as_tuple=True)
            box = [int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]
        things.append((class_id, score, box))
    segment_id = len(things)
    for class_id in labels.stuff_ids:
        mask = classes == class_id
        if mask.sum() >= stuff_area_px:
            segment_id += 1
            result[mask] = segment_id
    return result, things


def _find_centers(heat: Tensor) -> Tensor:
    """(N, 2) as (y, x)."""
    pooled = F.max_pool2d(heat[None, None], 7, stride=1, padding=3)[0, 0]
    centers = ((heat > 0.1) & (heat == pooled)).nonzero()
    if len(centers) > 200:
        best = heat[tuple(centers.T)].topk(200).indices.sort().values
        centers = centers[best]
    return centers


def _nearest_center(offset: Tensor, centers: Tensor) -> Tensor:
    """(H, W) numbers from 1."""
    height, width = offset.shape[1:]
    y = torch.arange(height, device=offset.device)[:, None] + offset[0]
    x = torch.arange(width, device=offset.device)[None] + offset[1]
    nearest = torch.full_like(y, torch.inf)
    numbers = torch.zeros_like(y, dtype=torch.int64)
    for number, (center_y, center_x) in enumerate(centers.tolist(), 1):
        distance = (y - center_y) ** 2 + (x - center_x) ** 2
        numbers[distance < nearest] = number
        nearest = torch.minimum(nearest, distance)
    return numbers


def nearest_in_one_tensor(offset: Tensor, centers: Tensor) -> Tensor:
    """Number pixels as the public codes do: all distances at once, gigabytes of them."""
    height, width = offset.shape[1:]
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    places = (grid + offset).flatten(1).T[None]  # (1, HW, 2)
    away = (centers[:, None].float() - places).norm(dim=2)  # (N, HW), and twice that before
    numbers: Tensor = away.argmin(dim=0).view(height, width) + 1
    return numbers


def bench_postprocess(
    scene: Scene,
    *,
    backends: tuple[str, ...] = ("numba", "tensor", "plain"),
    other_numbers: tuple[int, ...] = (20, 200),
    repeats: int = 5,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Compare back ends with the reference, with and without scores and boxes.

    Args:
        scene: what is drawn.
        backends: the first is timed with other numbers of things, too.
        other_numbers: of things.
        repeats: of each.
        progress: shows the rounds.

    Returns:
        For each "backend" and "backend, scores": milliseconds, speedup over the reference,
        peak_mb, floor_milliseconds (reading the heads and writing the map once), and
        times_argmax: milliseconds over those of the compiled arg-max pass alone, if numba is
        among the back ends.
    """
    labels = label_space(scene.num_classes)
    scenes = {n: draw_heads(scene.size, n, labels) for n in (scene.num_things, *other_numbers)}
    outputs = scenes[scene.num_things]

    def group(backend: str, score: str, number: int = scene.num_things) -> None:
        (panoptic,) = group_outputs(
            scenes[number],
            labels,
            size=scene.size,
            align_corners=False,
            backend=cast(Backend, backend),
            score=cast(Score, score),
        )
        if score == "product":
            segment_boxes(panoptic)

    functions: dict[str, Callable[[], object]] = {}
    for backend in backends:
        # Reading a center's heat is the cheapest score; the map itself needs none.
        functions[backend] = partial(group, backend, "objectness")
        functions[f"{backend}, scores"] = partial(group, backend, "product")
    for number in other_numbers:
        functions[f"{backends[0]}, {number} things"] = partial(
            group, backends[0], "objectness", number
        )
    if "numba" in backends:
        functions[ARGMAX] = _argmax_pass(outputs, scene.size)
    for name, with_scores in ((REFERENCE, False), (f"{REFERENCE}, scores", True)):
        functions[name] = partial(
            dense_reference, outputs, labels, scene.size, with_scores=with_scores
        )
    num_bytes = sum(4 * head.numel() for head in outputs) + 4 * scene.size[0] * scene.size[1]
    references = {name: f"{REFERENCE}, scores" for name in functions if name.endswith("scores")}
    results = table(
        functions, num_bytes=num_bytes, repeats=repeats, references=references, progress=progress
    )
    for name in results:
        if name.endswith(" things"):  # the reference was timed on another scene
            results[name]["speedup"] = nan
        if ARGMAX in results:
            results[name]["times_argmax"] = (
                results[name]["milliseconds"] / results[ARGMAX]["milliseconds"]
            )
    return results


def bench_public_form(scene: Scene) -> Row:
    """Time the public codes' way to the nearest center, once: it takes gigabytes."""
    outputs = draw_heads(scene.size, scene.num_things, label_space(scene.num_classes))
    offset = F.interpolate(outputs.offset, size=scene.size, mode="bilinear")[0] * 4
    heat = F.interpolate(outputs.center, size=scene.size, mode="bilinear")[0, 0]
    function = partial(nearest_in_one_tensor, offset, _find_centers(heat))
    return {"milliseconds": compare({"it": function}, 1)["it"], "peak_mb": peak_mb(function)}


def _argmax_pass(outputs: Outputs, size: Size) -> Callable[[], object]:
    from panoptic_deeplab import kernels
    from panoptic_deeplab.interpolation import make_axis

    logits = outputs.semantic[0].numpy()
    rows = make_axis(logits.shape[1], size[0], align_corners=False)
    columns = make_axis(logits.shape[2], size[1], align_corners=False)
    return lambda: kernels.classify(logits, rows, columns)
