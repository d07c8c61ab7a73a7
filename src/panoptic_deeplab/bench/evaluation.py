"""Evaluating saved predictions: many pairs of maps on disk, against the public tools' plain form.

The reference does in one process what panopticapi does for panoptic quality alone: Pillow decodes,
channels become ids, sorting all pairs of ids counts them. Ours counts for all metrics of a report.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from panoptic_deeplab.bench.base import Result
from panoptic_deeplab.bench.measure import REFERENCE, machine
from panoptic_deeplab.bench.scenes import Scene, disturb, draw_map, label_space
from panoptic_deeplab.data.coco import open_coco_panoptic
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter, encode_png
from panoptic_deeplab.data.predictions import Predictions
from panoptic_deeplab.evaluate import evaluate_saved
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import count_image
from panoptic_deeplab.structures import VOID

COLUMNS = ("", "seconds", "ms per pair", "speedup", "PQ")

_DRAWN = 10  # pairs; they come up again under other names, but are decoded each time


def bench_evaluation(
    scene: Scene,
    *,
    images: int = 100,
    workers: tuple[int, ...] = (1, 2, 4),
    progress: Progress | None = None,
) -> Result:
    """Time the evaluation of pairs of maps on disk by the wall clock.

    Args:
        scene: what is drawn.
        images: pairs.
        workers: numbers of processes to measure.
        progress: shows the pairs.

    Raises:
        ValueError: if there is nothing to measure.
        RuntimeError: if two ways find different qualities.
    """
    if images < 1 or not workers or min(workers) < 1:
        raise ValueError(
            f"images and workers must be at least 1, got {images} and {workers}. Use 100 and 1 2."
        )
    labels = label_space(scene.num_classes)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root, labels, images, scene, progress)
        dataset, predictions = open_coco_panoptic(root, "val"), Predictions(root / "found")
        first = dataset.image_id(0)
        count_image(predictions[first], dataset.truth(0), labels, first)  # compiles the loops
        ways: dict[str, Callable[[], float | None]] = {
            f"{n} process{'es' if n > 1 else ''}": partial(_ours, predictions, dataset, n, progress)
            for n in workers
        }
        ways[REFERENCE] = partial(plain_quality, root, progress)
        seconds: dict[str, float] = {}
        found: dict[str, float | None] = {}
        for name, way in ways.items():
            start = time.perf_counter()
            found[name] = way()
            seconds[name] = time.perf_counter() - start
    if len({None if pq is None else round(pq, 12) for pq in found.values()}) > 1:
        raise RuntimeError(f"Expected the same PQ from all, got {found}. Please report this.")
    return _result(seconds, found, scene, images)


def plain_quality(root: Path, progress: Progress | None = None) -> float | None:
    """Mean PQ of the classes, by the plain form.

    Args:
        root: with `annotations/panoptic_val.json` and `found/predictions.json`, without crowds.
        progress: shows the pairs.
    """
    true_list = root / "annotations" / "panoptic_val.json"
    found_list = root / "found" / "predictions.json"
    truths, predictions = (json.loads(path.read_bytes()) for path in (true_list, found_list))
    by_image = {entry["image_id"]: entry for entry in predictions["annotations"]}
    whole = defaultdict[int, float](float)  # by class: tp + fp / 2 + fn / 2
    iou_sum = defaultdict[int, float](float)
    entries = truths["annotations"]
    for entry in entries if progress is None else progress.track(entries, description="reference"):
        other = by_image[entry["image_id"]]
        truth = _plain_ids(true_list.with_suffix("") / entry["file_name"])
        prediction = _plain_ids(found_list.with_suffix("") / other["file_name"])
        _match(truth, prediction, _classes(entry), _classes(other), whole, iou_sum)
    rated = [iou_sum[i] / total for i, total in whole.items() if total]
    return sum(rated) / len(rated) if rated else None


def _match(
    truth: NDArray[np.uint64],
    prediction: NDArray[np.uint64],
    true: dict[int, int],
    predicted: dict[int, int],
    whole: dict[int, float],
    iou_sum: dict[int, float],
) -> None:
    """Add one image to the sums of each class."""
    true_areas, areas = _count(truth), _count(prediction)
    pairs = _count(truth << np.uint64(24) | prediction)
    excused, found = set(), set()
    for pair, pixels in pairs.items():
        t, p = pair >> 24, pair & (2**24 - 1)
        if t == VOID and pixels > areas[p] / 2:
            excused.add(p)
        if t == VOID or p == VOID or true[t] != predicted[p]:
            continue
        iou = pixels / (areas[p] + true_areas[t] - pixels - pairs.get(p, 0))
        if iou > 0.5:
            iou_sum[true[t]] += iou
            found.add(p)
    for number, class_id in predicted.items():
        whole[class_id] += 0 if number in excused and number not in found else 0.5
    for class_id in true.values():
        whole[class_id] += 0.5


def _count(values: NDArray[np.uint64]) -> dict[int, int]:
    numbers, counts = np.unique(values, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _plain_ids(path: Path) -> NDArray[np.uint64]:
    rgb = np.array(Image.open(path), np.uint32)
    return (rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]).astype(np.uint64)


def _classes(entry: dict[str, Any]) -> dict[int, int]:
    return {info["id"]: info["category_id"] for info in entry["segments_info"]}


def _write(
    root: Path, labels: LabelSpace, images: int, scene: Scene, progress: Progress | None
) -> None:
    """A data set whose pictures are blank, and predictions of it."""
    rng = np.random.default_rng(0)
    truths = [
        draw_map(scene.size, scene.num_things, labels, rng) for _ in range(min(images, _DRAWN))
    ]
    pairs = [(truth, disturb(truth, rng)) for truth in truths]
    blank = encode_png(np.zeros((1, 1, 3), np.uint8))  # is never read
    places = range(images)
    with (
        CocoPanopticWriter(root / "annotations", labels, name="panoptic_val") as true,
        CocoPanopticWriter(root / "found", labels, name="predictions") as found,
    ):
        for i in places if progress is None else progress.track(places, description="drawing"):
            name = f"{i:06d}"
            true.add(name, pairs[i % _DRAWN][0])
            found.add(name, pairs[i % _DRAWN][1])
            picture = root / "val" / f"{name}.png"
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(blank)


def _ours(
    predictions: Predictions, dataset: Any, workers: int, progress: Progress | None
) -> float | None:
    return evaluate_saved(predictions, dataset, workers=workers, progress=progress).panoptic.all.pq


def _result(
    seconds: dict[str, float], found: dict[str, float | None], scene: Scene, images: int
) -> Result:
    height, width = scene.size
    plain = {
        name: {
            "seconds": taken,
            "milliseconds": 1e3 * taken / images,
            "speedup": seconds[REFERENCE] / taken,
            "pq": found[name],
        }
        for name, taken in seconds.items()
    }
    rows = [
        (
            name,
            f"{row['seconds']:.1f}",
            f"{row['milliseconds']:.1f}",
            f"{row['speedup']:.1f}",
            "-" if row["pq"] is None else f"{100 * row['pq']:.3f}",
        )
        for name, row in plain.items()
    ]
    first = next(iter(plain))
    return Result(
        title=f"evaluation of {images} saved pairs of {height}x{width}; wall clock",
        columns=COLUMNS,
        rows=rows,
        plain={
            "measured": first,
            **plain[first],
            "images": images,
            **scene._asdict(),
            "machine": machine(),
            "results": [{"name": name, **row} for name, row in plain.items()],
        },
    )
