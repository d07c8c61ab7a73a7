"""Recipes of the models that come with this package: one compact network, on a CPU.

Time, machine and result of each stand in `docs/models.md` and `docs/results.md`. A variant calls
another recipe and changes fields with `model_copy`.
"""

from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    GroupingConfig,
    InferenceConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    ScheduleConfig,
    TargetConfig,
)
from panoptic_deeplab.family import Published
from panoptic_deeplab.recipes.record import Recipe


def compact_model() -> ModelConfig:
    """A network of 4.5 million weights that trains on a CPU: the paper's form, narrower.

    Output stride 32 instead of the paper's 16 saves a third of the time and widens the view; a
    decoder of a quarter of the paper's width saves another sixth (measured on one core).
    """
    return ModelConfig(
        backbone="mobilenet_v3_large",
        output_stride=32,
        aspp_channels=128,
        semantic_channels=64,
        semantic_projections=(32, 16),
        semantic_head_channels=48,
        instance_channels=64,
        instance_projections=(32, 16),
        instance_head_channels=32,
    )


def synthetic() -> Experiment:
    """The embedded default: street scenes drawn on the fly.

    panoptic-deeplab train --recipe synthetic --out runs/synthetic

    Scenes are doubled, since people are ten pixels wide and heads lie at stride 4. Threshold and
    stuff area were chosen on 100 further scenes, of neither split (`docs/models.md`). What is kept
    is the average of the weights, as in the last round of the embedded ones.
    """
    return Experiment(
        name="synthetic",
        model=compact_model(),
        data=DataConfig(format="synthetic", size=(192, 384), val_images=100),
        augment=AugmentConfig(
            crop_size=(193, 385),
            min_scale=1.4,
            max_scale=2.4,
            brightness=0.1,
            contrast=0.1,
            saturation=0.1,
        ),
        targets=TargetConfig(sigma_px=8.0, small_instance_weight=1.0),
        loss=LossConfig(center_weight=100.0, offset_weight=0.02, hardest_fraction=0.2),
        grouping=GroupingConfig(threshold=0.3, stuff_area_px=256),
        inference=InferenceConfig(scale=2.0),
        schedule=ScheduleConfig(
            iterations=1500,
            batch_size=8,
            learning_rate=2e-3,
            warmup_iterations=100,
            ema_decay=0.999,
        ),
        run=RunConfig(validate_every=500, validate_images=40, checkpoint_every=200),
    )


def nuclei() -> Experiment:
    """Cell nuclei under the microscope: one thing class, many small touching instances.

    panoptic-deeplab train --recipe nuclei --data nuclei --out runs/nuclei

    Pictures are enlarged, since the median nucleus is 20 pixels across and heads lie at stride 4;
    factor and threshold were chosen on training pictures (`docs/results.md`).
    Small instances get no extra weight: nearly all are small, and it would swell every mask.
    Rare kinds of pictures come up more often (`data.balance`). What is kept is the average of the
    weights, as in the last round of the embedded ones.
    """
    return Experiment(
        name="nuclei",
        model=compact_model(),
        data=DataConfig(format="coco_panoptic", balance="image_type"),
        augment=AugmentConfig(
            crop_size=(257, 257),
            min_scale=1.3,
            max_scale=2.8,
            quarter_turns=True,
            brightness=0.15,
            contrast=0.3,
            saturation=0.5,
            hue=0.1,
            invert=0.1,
        ),
        targets=TargetConfig(sigma_px=6.0, small_instance_weight=1.0),
        loss=LossConfig(center_weight=100.0, offset_weight=0.05, hardest_fraction=0.3),
        grouping=GroupingConfig(threshold=0.2, nms_kernel=7, top_k=2000, stuff_area_px=64),
        inference=InferenceConfig(scale=2.5, flip=True),
        schedule=ScheduleConfig(
            iterations=4000,
            batch_size=8,
            learning_rate=2e-3,
            warmup_iterations=100,
            ema_decay=0.999,
        ),
        run=RunConfig(validate_every=1000, validate_images=22, checkpoint_every=200),
    )


def facades() -> Experiment:
    """House fronts in the street: four thing and six stuff classes, 512 x 512.

    panoptic-deeplab train --recipe facades --data facades --out runs/facades

    Grouping was chosen on training pictures (`docs/results.md`). What is kept is the average of the
    weights, as in the last round of the embedded ones.
    """
    return Experiment(
        name="facades",
        model=compact_model(),
        data=DataConfig(format="coco_panoptic"),
        augment=AugmentConfig(
            crop_size=(257, 257),
            min_scale=0.4,
            max_scale=1.0,
            brightness=0.2,
            contrast=0.3,
            saturation=0.3,
            hue=0.05,
        ),
        targets=TargetConfig(sigma_px=6.0, small_instance_weight=1.0),
        loss=LossConfig(center_weight=100.0, offset_weight=0.03, hardest_fraction=0.3),
        grouping=GroupingConfig(threshold=0.2, nms_kernel=11, top_k=400, stuff_area_px=4096),
        inference=InferenceConfig(scale=0.75, flip=True),
        schedule=ScheduleConfig(
            iterations=3500,
            batch_size=8,
            learning_rate=2e-3,
            warmup_iterations=200,
            ema_decay=0.999,
        ),
        run=RunConfig(validate_every=700, validate_images=30, checkpoint_every=200),
    )


_HARDWARE = "one or two cores of an AMD EPYC"
_LAST = "a last round of six minutes on an NVIDIA H100"

RECIPES: dict[str, Recipe] = {
    "synthetic": Recipe(
        synthetic,
        "the compact network on street scenes drawn on the fly",
        f"{_HARDWARE}, an hour; {_LAST}",
        Published(pq=89.8, ap=77.8, miou=92.2, source="docs/models.md"),
        "docs/models.md",
    ),
    "nuclei": Recipe(
        nuclei,
        "the compact network on cell nuclei under the microscope",
        f"{_HARDWARE}, eleven hours; {_LAST}",
        Published(pq=74.3, ap=51.7, source="docs/results.md", note="of the nuclei"),
        "docs/results.md",
    ),
    "facades": Recipe(
        facades,
        "the compact network on house fronts in the street",
        f"{_HARDWARE}, six hours; {_LAST}",
        Published(
            pq=38.8, ap=13.5, miou=50.7, source="docs/results.md", note="on EfficientNet-Lite0"
        ),
        "docs/results.md",
    ),
}
"""Name to recipe."""
