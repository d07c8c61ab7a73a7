"""How fast training images are made: by stage on one core, and by the loader as a whole.

Stages are decoding (picture and labels), crop and resize (the window alone, with flip), targets,
and collating a batch, in CPU time of one core. The loader runs as in training; then it feeds a
stand-in for a network, which sleeps, and what that has to wait for images is told.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from rich.progress import Progress
from torch.utils.data import default_collate

from panoptic_deeplab.bench.base import Result, threads
from panoptic_deeplab.config import AugmentConfig, DataConfig, Experiment, ScheduleConfig
from panoptic_deeplab.data import PanopticDataset, build_dataset
from panoptic_deeplab.data.ahead import fetched_ahead
from panoptic_deeplab.data.coco_format import CocoSplitWriter
from panoptic_deeplab.data.loading import build_loader
from panoptic_deeplab.data.pictures import PictureFile, encode_picture
from panoptic_deeplab.data.synthetic import SyntheticStreets
from panoptic_deeplab.structures import Batch
from panoptic_deeplab.targets import make_targets
from panoptic_deeplab.transforms import augment

STAGES = ("decode", "crop and resize", "targets", "collate")

COLUMNS = ("stage", "ms of a core per image", "images per second and core")

_DRAWN = 8  # scenes; they come up again and again, but are decoded each time
_QUALITY = 92  # of drawn JPEGs


def bench_data(
    *,
    data: str = "",
    pictures: Literal["png", "jpg"] = "png",
    size: tuple[int, int] = (1024, 2048),
    crop: tuple[int, int] = (512, 1024),
    images: int = 64,
    batch: int = 4,
    workers: int = 0,
    cache_mb: int = 0,
    network_ms: float = 50.0,
    progress: Progress | None = None,
) -> Result:
    """Time the stages and the loader.

    Args:
        data: folder of a data set, of which the training split is read; empty: drawn scenes,
            written to a temporary folder as COCO panoptic.
        pictures: kind of file of the drawn scenes.
        size: (H, W) of the drawn scenes.
        crop: (H, W) of training images; scales are 0.5 to 2 as in the paper.
        images: read for each measurement.
        batch: images per step.
        workers: processes of the loader; 0: one per core.
        cache_mb: of decoded images that the loader keeps; filled before the clock starts.
        network_ms: milliseconds that the stand-in takes for each image.
        progress: shows the images.

    Raises:
        ValueError: if a number is out of range, or as the data set.
    """
    if images < 2 * batch or batch < 1:
        raise ValueError(
            f"images must be at least two batches, got {images} for a batch of {batch}. Use "
            f"{max(1, batch) * 16}."
        )
    if min(workers, network_ms, cache_mb) < 0:
        raise ValueError(
            f"workers, network_ms and cache_mb must not be negative, got {workers}, {network_ms} "
            f"and {cache_mb}. Use 0 for as many workers as cores, no work, no cache."
        )
    workers = workers or len(os.sched_getaffinity(0))
    with drawn_folder(data, pictures, size, progress) as config, threads(1):
        experiment = Experiment(
            data=config.model_copy(update={"workers": workers, "cache_mb": cache_mb}),
            augment=AugmentConfig(crop_size=crop),
            schedule=ScheduleConfig(batch_size=batch, iterations=images // batch),
        )
        dataset = build_dataset(experiment.data, "train")
        seconds = _time_stages(dataset, experiment, images, progress)
        free, _ = _time_loader(dataset, experiment, 0.0, progress, "loader alone")
        fed, waited = _time_loader(dataset, experiment, network_ms / 1e3, progress, "loader, fed")
    return _result(seconds, free, fed, waited, experiment, data or f"drawn {pictures}", network_ms)


@contextmanager
def drawn_folder(
    data: str, pictures: str, size: tuple[int, int], progress: Progress | None
) -> Iterator[DataConfig]:
    """The data set in a folder; without one, drawn scenes in a temporary folder."""
    if data:
        yield DataConfig(format="auto", root=data)
        return
    with tempfile.TemporaryDirectory() as folder:
        scenes = SyntheticStreets(size, _DRAWN, seed=0)
        writer = CocoSplitWriter(Path(folder), "train", scenes.labels)
        places = range(_DRAWN)
        for i in places if progress is None else progress.track(places, description="drawing"):
            sample = scenes[i]
            content, ending = encode_picture(sample.image), ".png"
            if pictures == "jpg":
                bgr = cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)
                ok, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                assert ok, "OpenCV writes any uint8 RGB array"
                content, ending = encoded.tobytes(), ".jpg"
            writer.add(sample, PictureFile(content, ending))
        writer.close()
        yield DataConfig(format="coco_panoptic", root=folder)


def _time_stages(
    dataset: PanopticDataset, experiment: Experiment, images: int, progress: Progress | None
) -> dict[str, float]:
    """CPU seconds per image of each of `STAGES`, as the stream of training goes through them."""
    settings = experiment.augment.model_dump(exclude={"focus", "focus_on"})
    targets = experiment.targets.model_dump()
    order = np.random.default_rng(0).permutation(images) % len(dataset)
    spent = dict.fromkeys(STAGES, 0.0)
    made: list[Batch] = []
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    task = progress.add_task("stages", total=images) if progress is not None else None
    for position, index in enumerate([int(order[0]), *order.tolist()]):  # the first warms up
        marks = [time.process_time()]
        sample = dataset[index]
        marks.append(time.process_time())
        sample = augment(sample, np.random.default_rng(position), **settings)
        marks.append(time.process_time())
        assert sample.panoptic is not None, "training splits have labels"
        truth = make_targets(sample.panoptic, dataset.labels, **targets)
        picture = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))
        made.append(Batch(picture, truth))
        marks.append(time.process_time())
        if len(made) == experiment.schedule.batch_size:
            default_collate(made)
            made = []
        marks.append(time.process_time())
        if position:
            for stage, a, b in zip(STAGES, marks, marks[1:], strict=False):
                spent[stage] += b - a
            if progress is not None and task is not None:
                progress.advance(task)
    cv2.setNumThreads(opencv_threads)
    return {stage: seconds / images for stage, seconds in spent.items()}


def _time_loader(
    dataset: PanopticDataset,
    experiment: Experiment,
    network_seconds: float,
    progress: Progress | None,
    name: str,
) -> tuple[float, float]:
    """Images per second, and seconds waited per image, from the first batch on."""
    batch, steps = experiment.schedule.batch_size, experiment.schedule.iterations
    # An epoch fills the cache, of which each worker has a part of its own.
    first = -(-len(dataset) * experiment.data.workers // batch) if experiment.data.cache_mb else 0
    schedule = experiment.schedule.model_copy(update={"iterations": first + steps})
    loader = build_loader(dataset, experiment.model_copy(update={"schedule": schedule}))
    stream = fetched_ahead(loader)
    task = progress.add_task(name, total=steps) if progress is not None else None
    for _ in range(first + 1):
        next(stream)
    start, waited = time.perf_counter(), 0.0
    for _ in range(steps - 1):
        time.sleep(network_seconds * batch)
        begin = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - begin
        if progress is not None and task is not None:
            progress.advance(task)
    images = (steps - 1) * batch
    return images / (time.perf_counter() - start), waited / images


def _result(
    seconds: dict[str, float],
    free: float,
    fed: float,
    waited: float,
    experiment: Experiment,
    data: str,
    network_ms: float,
) -> Result:
    whole = {**seconds, "all": sum(seconds.values())}
    cores = math.ceil(1e3 * whole["all"] / network_ms) if network_ms else 0
    rows: list[Sequence[str]] = [
        (stage, f"{1e3 * s:.1f}", f"{1 / s:.0f}" if s else "-") for stage, s in whole.items()
    ]
    workers = experiment.data.workers
    rows.append((f"loader, {workers} workers", "", f"{free / workers:.1f}, {free:.1f} in all"))
    rows.append(
        (f"network of {network_ms:g} ms", f"waits {1e3 * waited:.1f}", f"sees {fed:.1f} in all")
    )
    if cores:
        rows.append(("cores that keep it fed, by the stages", "", str(cores)))
    crop = experiment.augment.crop_size
    return Result(
        title=f"training images of {crop[0]}x{crop[1]} from {data}",
        columns=COLUMNS,
        rows=rows,
        plain={
            "data": data,
            "crop": list(crop),
            "batch": experiment.schedule.batch_size,
            "workers": workers,
            "stages": [{"name": n, "ms": 1e3 * s} for n, s in whole.items()],
            "loader_images_per_second": free,
            "cache_mb": experiment.data.cache_mb,
            "network_ms": network_ms,
            "cores_that_keep_it_fed": cores,
            "network_images_per_second": fed,
            "network_waits_ms_per_image": 1e3 * waited,
        },
    )
