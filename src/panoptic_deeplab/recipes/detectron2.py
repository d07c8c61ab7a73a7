"""detectron2's recipes for Panoptic-DeepLab on ResNet-52, whose weights its model zoo publishes.

Facts: projects/Panoptic-DeepLab/configs of facebookresearch/detectron2, and its defaults: a linear
warm-up of 1,000 steps, the hardest fifth of the pixels, Gaussians of 10 pixels on Cityscapes.
"""

from functools import partial

from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    InferenceConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    ScheduleConfig,
    TargetConfig,
)
from panoptic_deeplab.family import Published
from panoptic_deeplab.published_settings import (
    COCO_CLASSES,
    DETECTRON2_CROP,
    IMAGENET_MEAN,
    IMAGENET_STD,
    detectron2_grouping,
    detectron2_inference,
)
from panoptic_deeplab.recipes.record import Recipe

SOURCE = "detectron2's model zoo of Panoptic-DeepLab"


def network(num_classes: int, *, separable: bool) -> ModelConfig:
    """ResNet-52 as detectron2 trains it."""
    return ModelConfig(
        backbone="resnet52",
        align_corners=False,
        aspp_separable=separable,
        aspp_pooling="bias",
        aspp_pooling_size=DETECTRON2_CROP[num_classes],
        decoder_separable=separable,
        center_head_separable=False,
        depthwise_norm=separable,
        instance_projections=(64, 32),
        norm="sync",
        pixel_mean=IMAGENET_MEAN,
        pixel_std=IMAGENET_STD,
    )


def cityscapes(*, separable: bool) -> Experiment:
    """Cityscapes, crops of 512 x 1024, 90,000 steps of 32."""
    name = "detectron2-cityscapes-r52" + ("-dsconv" if separable else "")
    return Experiment(
        name=name,
        model=network(19, separable=separable),
        data=DataConfig(format="auto", workers=4),
        augment=AugmentConfig(crop_size=DETECTRON2_CROP[19], min_scale=0.5, max_scale=2.0),
        targets=TargetConfig(sigma_px=10.0),
        loss=LossConfig(hardest_fraction=0.2),
        grouping=detectron2_grouping(19),
        schedule=ScheduleConfig(
            batch_size=32, iterations=90_000, learning_rate=1e-3, warmup_iterations=1000
        ),
        run=RunConfig(start_from="imagenet-r52"),
    )


def coco() -> Experiment:
    """COCO, crops of 640 x 640, 200,000 steps of 64."""
    number = COCO_CLASSES
    return Experiment(
        name="detectron2-coco-r52-dsconv",
        model=network(number, separable=True),
        data=DataConfig(
            format="auto",
            train_split="train2017",
            val_split="val2017",
            long_side=640,
            workers=4,
        ),
        augment=AugmentConfig(crop_size=DETECTRON2_CROP[number], min_scale=0.5, max_scale=1.5),
        loss=LossConfig(hardest_fraction=1.0),
        grouping=detectron2_grouping(number),
        inference=InferenceConfig(**detectron2_inference(number)),
        schedule=ScheduleConfig(
            batch_size=64, iterations=200_000, learning_rate=5e-4, warmup_iterations=1000
        ),
        run=RunConfig(start_from="imagenet-r52"),
    )


_HARDWARE = "8 or more GPUs with synchronised batch norm; time not published"

RECIPES: dict[str, Recipe] = {
    "detectron2-cityscapes-r52": Recipe(
        partial(cityscapes, separable=False),
        "ResNet-52 with plain convolutions on Cityscapes, as detectron2 trains it",
        _HARDWARE,
        Published(pq=60.3, ap=33.2, miou=78.2, source=SOURCE),
        "detectron2's configurations",
    ),
    "detectron2-cityscapes-r52-dsconv": Recipe(
        partial(cityscapes, separable=True),
        "ResNet-52 with separable convolutions on Cityscapes, as detectron2 trains it",
        _HARDWARE,
        Published(pq=60.3, ap=32.1, miou=78.7, source=SOURCE),
        "detectron2's configurations",
    ),
    "detectron2-coco-r52-dsconv": Recipe(
        coco,
        "ResNet-52 with separable convolutions on COCO, as detectron2 trains it",
        _HARDWARE,
        Published(pq=35.5, ap=19.7, source=SOURCE, note="AP of masks"),
        "detectron2's configurations",
    ),
}
"""Name to recipe."""
