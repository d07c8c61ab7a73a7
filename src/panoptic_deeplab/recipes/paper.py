"""The experiments of the paper and its supplement: which network, on what data, how trained.

Networks and published results are those of `family.py`; what differs between data sets is here.
The paper (arXiv:1911.10194, section 4) trains with Adam at 1e-3, poly decay with power 0.9, no
weight decay, random scales from 0.5 to 2.0 in steps of 0.1, left-right flips; HRNets at 7.5e-4
(supplement). Those are the defaults of `config.py`. Batches, iterations and crops: the authors'
configurations in deeplab2 and arXiv:2003.07853, which trains in the same way; the longer side of
2177 on Mapillary Vistas: the authors' answer in deeplab2's issue 26.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    GroupingConfig,
    ScheduleConfig,
    Size,
)
from panoptic_deeplab.family import (
    CITYSCAPES,
    COCO,
    FAMILY,
    MAPILLARY,
    MAPILLARY_2019,
    Entry,
    Published,
    Setting,
)
from panoptic_deeplab.recipes.record import Recipe

HARDWARE = "32 TPU cores (paper); time not published"

HRNET_RATE = 7.5e-4
"""Supplement."""


@dataclass(frozen=True)
class Task:
    """How the paper trains on a data set.

    Attributes:
        title: its name.
        settings: of the family's entries, best first.
        crop: of training images.
        batch_size: images per step.
        iterations: steps.
        max_scale: of the random scales.
        long_side: see `DataConfig`.
        stuff_area_px: see `GroupingConfig`.
        splits: names of the training and the validation split.
    """

    title: str
    settings: tuple[Setting, ...]
    crop: Size
    batch_size: int
    iterations: int
    max_scale: float = 2.0
    long_side: int = 0
    stuff_area_px: int = 2048
    splits: tuple[str, str] = ("train", "val")


TASKS: dict[str, Task] = {
    "cityscapes": Task("Cityscapes", (CITYSCAPES,), (1025, 2049), 32, 60_000),
    "mapillary": Task(
        "Mapillary Vistas",
        (MAPILLARY, MAPILLARY_2019),
        (1025, 1025),
        64,
        150_000,
        long_side=2177,
        stuff_area_px=4096,
    ),
    "coco": Task(
        "COCO",
        (COCO,),
        (1025, 1025),
        64,
        200_000,
        max_scale=1.5,
        long_side=1025,
        stuff_area_px=4096,
        splits=("train2017", "val2017"),
    ),
}

NETWORKS: dict[str, str] = {
    "xception71": "panoptic_deeplab_xception71",
    "xception71-deeplabv3plus": "deeplabv3plus_decoder_xception71",
    "xception65": "panoptic_deeplab_xception65",
    "resnet50": "panoptic_deeplab_resnet50_beta",
    "mobilenetv3": "panoptic_deeplab_mobilenetv3_large",
    "hrnet-w48": "hrnet_w48_fuse720_dual_aspp",
    "hrnet-w48-plus": "hrnet_w48_plus",
    "hrnet-w48-plus-atrous": "hrnet_w48_plus_atrous",
    "hrnet-wider-plus": "hrnet_wider_plus_closest",
    "hrnet-wider-plus-atrous": "hrnet_wider_plus_closest_atrous",
    "auto-deeplab-l-plus": "auto_deeplab_l_plus",
    "auto-deeplab-xl-plus": "auto_deeplab_xl_plusplus",
}
"""Short name of a network -> its name in `FAMILY`."""

TRAINED_ON: dict[str, tuple[str, ...]] = {
    "cityscapes": tuple(n for n in NETWORKS if n != "xception65"),
    "mapillary": tuple(n for n in NETWORKS if n != "xception71-deeplabv3plus"),
    "coco": ("xception71", "resnet50"),
}
"""Task -> networks."""


def entry(task: Task, network: str) -> Entry:
    """The family's entry of a network in a task's setting, or in the next best one."""
    name = NETWORKS[network]
    found = {e.setting.size: e for e in FAMILY if e.short_name == name and not e.is_classifier}
    for setting in task.settings:
        if setting.size in found:
            return found[setting.size]
    raise KeyError(f"{name} is not counted in any setting of {task.title}")


def expected(task: Task, network: str) -> Published:
    """What was published about a network on a data set: at one scale if it was, else at several."""
    name = NETWORKS[network]
    sizes = [setting.size for setting in task.settings]
    figures = [
        e.published
        for size in sizes
        for e in FAMILY
        if e.short_name == name and e.setting.size == size and e.published.pq is not None
    ]
    return figures[0] if figures else Published()


def experiment(task_name: str, network: str) -> Experiment:
    """The settings of one of the paper's experiments."""
    task = TASKS[task_name]
    model = entry(task, network).config
    window = None if network == "hrnet-w48" else task.crop  # see `family._hrnet`
    rate = HRNET_RATE if network.startswith("hrnet") else 1e-3
    return Experiment(
        name=f"{task_name}-{network}",
        # Statistics over all processes: a batch of 32 lies on many of them.
        model=model.model_copy(update={"aspp_pooling_size": window, "norm": "sync"}),
        data=DataConfig(
            format="auto",
            train_split=task.splits[0],
            val_split=task.splits[1],
            long_side=task.long_side,
            workers=4,
        ),
        augment=AugmentConfig(crop_size=task.crop, min_scale=0.5, max_scale=task.max_scale),
        grouping=GroupingConfig(stuff_area_px=task.stuff_area_px),
        schedule=ScheduleConfig(
            batch_size=task.batch_size, iterations=task.iterations, learning_rate=rate
        ),
    )


def _recipes() -> Iterator[tuple[str, Recipe]]:
    for task_name, networks in TRAINED_ON.items():
        task = TASKS[task_name]
        for network in networks:
            made = Recipe(
                partial(experiment, task_name, network),
                f"{NETWORKS[network]} on {task.title}, from ImageNet weights (--run.start-from)",
                HARDWARE,
                expected(task, network),
                "paper, section 4, and supplement; deeplab2's configurations; arXiv:2003.07853",
            )
            yield f"{task_name}-{network}", made


RECIPES: dict[str, Recipe] = dict(_recipes())
"""Name to recipe."""
