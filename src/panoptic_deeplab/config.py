"""Every setting of an experiment, as frozen pydantic models that refuse unknown keys.

One tree, `Experiment`. Modules never see it: builders (`build_model`, `build_dataset`, ...)
translate it into flat arguments. What belongs to the weights is `ModelConfig`; what belongs to a
use of them is `GroupingConfig`. The whole tree is stored as JSON in every checkpoint.

Sources named below: "paper" is arXiv:1911.10194, "supplement" its supplementary material.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = tuple[int, int]
"""(height, width) in pixels."""

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelConfig(Frozen):
    """The network: everything that a set of weights depends on.

    Attributes:
        backbone: name in the table `BACKBONES`.
        backbone_options: further arguments of that backbone's builder, checked against it.
        output_stride: input pixels per pixel of the encoder's output; paper: 16.
        atrous_rates: of the three dilated ASPP branches; None: (6, 12, 18) at stride 16, doubled
            at 8, halved at 32 (paper and DeepLabV3).
        context: what a branch first does with the last feature: an ASPP (paper), a 1x1 convolution
            to the branch's width ("projection"), or nothing ("none", as in HRNet's own network
            for semantic segmentation).
        aspp_channels: width of each ASPP; paper: 256.
        aspp_separable: depthwise-separable (paper) or plain dilated convolutions (bowenc0221).
        aspp_pooling: pooled branch with batch norm (paper), bias only (detectron2) or neither
            (bowenc0221).
        aspp_pooling_size: (H, W) in input pixels of the pooling window, stride 1; None: the
            whole map.
        aspp_dropout: after the ASPP's fusion; supplement's code base: 0.1.
        decoder: joins low-level features step by step with 5x5 convolutions (paper), or at once
            with one feature and two 3x3 ones ("deeplabv3plus"; supplement, Table 1).
        decoder_separable: depthwise-separable convolutions in decoder and heads (paper), or two
            plain 3x3 in place of each 5x5 (detectron2 without DSConv).
        center_head_separable: the same for the center head; None: as the others. False in
            detectron2's DSConv weights.
        instance_branch: an ASPP and a decoder of its own ("dual", paper), its own decoder on the
            semantic branch's ASPP ("shared_aspp"), no more than its heads ("shared"; all three:
            paper, ablation table), or "none": semantic segmentation alone, center and offset 0.
        semantic_channels: width of the semantic decoder; paper: 256.
        semantic_projections: widths of the low-level features, from coarse to fine (stride 8,
            then 4); paper: (64, 32).
        semantic_head_channels: width inside the semantic head; paper: 256; None: no convolution
            in front of the predictor (DeepLabV3+).
        instance_channels: width of the instance decoder; paper: 128.
        instance_projections: as above; paper: (32, 16).
        instance_head_channels: width inside the center and the offset head; paper: 32.
        depthwise_norm: batch norm and ReLU between the depthwise and the 1x1 part of separable
            convolutions of ASPP, decoder and heads; paper: no; published PyTorch weights: yes.
        align_corners: of every bilinear resize; paper and bowenc0221: yes, detectron2: no.
        norm: "batch" (paper), "sync" (batch norm over all processes), "group" (arXiv:1803.08494,
            for batches of one or two images) or "frozen" (batch norm with fixed statistics).
        backbone_norm: of the backbone; None: as `norm`.
        norm_epsilon: of the batch norms of ASPP, decoder and heads; paper's code base: 1e-5.
        backbone_norm_epsilon: of the backbone's; None: the backbone's own default.
        pixel_mean: per channel RGB, in 0-255 units; paper's code base: 127.5.
        pixel_std: the same.
    """

    backbone: str = "resnet50_beta"
    backbone_options: dict[str, bool | int | float | str | tuple[int, ...] | None] = {}
    output_stride: Literal[8, 16, 32] = 16
    atrous_rates: tuple[Positive, Positive, Positive] | None = None
    context: Literal["aspp", "projection", "none"] = "aspp"
    aspp_channels: Positive = 256
    aspp_separable: bool = True
    aspp_pooling: Literal["norm", "bias", "plain"] = "norm"
    aspp_pooling_size: Size | None = None
    aspp_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    decoder: Literal["panoptic_deeplab", "deeplabv3plus"] = "panoptic_deeplab"
    decoder_separable: bool = True
    center_head_separable: bool | None = None
    instance_branch: Literal["dual", "shared_aspp", "shared", "none"] = "dual"
    semantic_channels: Positive = 256
    semantic_projections: tuple[Positive, ...] = (64, 32)
    semantic_head_channels: Positive | None = 256
    instance_channels: Positive = 128
    instance_projections: tuple[Positive, ...] = (32, 16)
    instance_head_channels: Positive = 32
    depthwise_norm: bool = False
    align_corners: bool = True
    norm: Literal["batch", "sync", "group", "frozen"] = "batch"
    backbone_norm: Literal["batch", "sync", "group", "frozen"] | None = None
    norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    backbone_norm_epsilon: Annotated[float, Field(gt=0)] | None = None
    pixel_mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    pixel_std: tuple[float, float, float] = (127.5, 127.5, 127.5)


class DataConfig(Frozen):
    """Where the images come from.

    Attributes:
        format: name in the table `DATASETS`; "synthetic" for drawn scenes; "auto": whatever the
            folder is recognised as.
        root: folder of the data set; unused by "synthetic".
        train_split: name of the training split.
        val_split: name of the validation split.
        val_fraction: share of the images held out for validation where the data come without
            splits.
        split_seed: which images these are.
        overlap: where instances overlap, the "smaller" lies over the larger, or the later one of
            the "file" over the earlier; supplement, section 5, leaves it open.
        overlap_priority: classes that lie over others whatever their size, the first over all.
        size: (H, W) of drawn scenes; "synthetic" only.
        train_images: number of drawn scenes before they repeat; "synthetic" only.
        val_images: number of held-out scenes; "synthetic" only.
        balance: "classes": images that hold rare classes come up more often in training; or the
            name of a field of the list's images, such as "image_type": images of its rarer values
            do. Empty: all come up equally often.
        long_side: images are resized so that their longer side has this many pixels, before
            anything else, in training and validation; paper: 2177 on Mapillary Vistas. 0: never.
        skip_unreadable: an image of the training split that cannot be read is left out, with a
            warning, and another one takes its place; else the run ends.
        cache_mb: decoded training images kept in memory, up to this size in all, shared by the
            workers; 0: none.
        shuffle_window: images of tar shards are read shard by shard and shuffled among so many.
        workers: processes that decode and transform; 0: none, in the main process.
    """

    format: str = "synthetic"
    root: str = ""
    train_split: str = "train"
    val_split: str = "val"
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: int = 0
    overlap: Literal["smaller", "file"] = "smaller"
    overlap_priority: tuple[str, ...] = ()
    size: Size = (192, 384)
    train_images: Positive = 100_000
    val_images: Positive = 100
    balance: str = ""
    long_side: Annotated[int, Field(ge=0)] = 0
    skip_unreadable: bool = False
    cache_mb: Annotated[int, Field(ge=0)] = 0
    shuffle_window: Positive = 1000
    workers: Annotated[int, Field(ge=0)] = 1


class AugmentConfig(Frozen):
    """Random changes to training images.

    Attributes:
        crop_size: (H, W) of every training image after scaling, cropping and padding.
        min_scale: paper: 0.5.
        max_scale: paper: 2.0 (1.5 on COCO).
        scale_step: scales lie on min_scale + n * scale_step; paper's code base: 0.1.
        flip: mirror left to right with probability 0.5; paper.
        quarter_turns: also turn by a random multiple of 90 degrees and mirror top to bottom,
            for pictures without an up, as under a microscope.
        focus: share of crops that are placed on a chosen segment; the paper places all anywhere.
        focus_on: how that segment is chosen: a class by its rarity, then any of its segments
            ("rare_classes"), or a thing by its smallness ("small_things").
        brightness: largest change, as a share of 255.
        contrast: largest change of the factor around 1.
        saturation: largest change of the factor around 1.
        hue: largest turn of the colour circle, as a share of it.
        invert: probability of turning the picture into its negative (microscopy: bright on dark
            or dark on light).
    """

    crop_size: Size = (193, 385)
    min_scale: Annotated[float, Field(gt=0)] = 0.5
    max_scale: Annotated[float, Field(gt=0)] = 2.0
    scale_step: Annotated[float, Field(gt=0)] = 0.1
    flip: bool = True
    quarter_turns: bool = False
    focus: Annotated[float, Field(ge=0, le=1)] = 0.0
    focus_on: Literal["rare_classes", "small_things"] = "rare_classes"
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    invert: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _scales_in_order(self) -> "AugmentConfig":
        if self.min_scale > self.max_scale:
            raise ValueError(
                f"min_scale must not exceed max_scale, got {self.min_scale} and {self.max_scale}."
            )
        return self


class TargetConfig(Frozen):
    """How truth becomes targets; see `targets.py`.

    Attributes:
        sigma_px: of the Gaussian at each center; paper: 8.
        small_instance_area_px: things smaller than this get `small_instance_weight`; paper:
            64 x 64.
        small_instance_weight: in the semantic loss; paper: 3.
        ignore_stuff_in_offset: no offset loss on stuff; paper.
        ignore_crowd_in_semantic: no semantic loss on crowd regions; paper, on COCO.
        exclude_crowd_instances: crowd regions draw no center and no offsets; the public codes
            draw them with weight 0, so their Gaussians reach onto neighbours.
    """

    sigma_px: Annotated[float, Field(gt=0)] = 8.0
    small_instance_area_px: Annotated[int, Field(ge=0)] = 64 * 64
    small_instance_weight: Annotated[float, Field(gt=0)] = 3.0
    ignore_stuff_in_offset: bool = True
    ignore_crowd_in_semantic: bool = True
    exclude_crowd_instances: bool = False


class LossConfig(Frozen):
    """Weights of the three losses; see `losses.py`.

    Attributes:
        semantic_weight: paper: 1.
        center_weight: paper: 200.
        offset_weight: paper: 0.01.
        hardest_fraction: share of all pixels of the batch whose semantic loss counts; paper: 0.15.
    """

    semantic_weight: Annotated[float, Field(ge=0)] = 1.0
    center_weight: Annotated[float, Field(ge=0)] = 200.0
    offset_weight: Annotated[float, Field(ge=0)] = 0.01
    hardest_fraction: Fraction = 0.15


class GroupingConfig(Frozen):
    """From heads to segments; see `grouping.py`.

    Attributes:
        threshold: a center's heat must exceed it; paper: 0.1.
        nms_kernel: side of the window in which only the highest heat survives, odd, in pixels of
            the result; paper: 7.
        top_k: most centers kept, by heat; paper: 200.
        stuff_area_px: stuff regions of a class below this total area become void; paper: 2048 on
            Cityscapes, 4096 on COCO and Mapillary Vistas.
        merge_plateaus: of a plateau of equal heat keep its first pixel instead of all.
        orphans: where no center was found, thing pixels become "void" (paper), or each connected
            "component" of a class becomes an instance.
        score: of a thing: "objectness" (heat at its center), "class" (mean probability of its
            class over its mask), or their "product"; supplement, Table 2.
        objectness_at: read the heat at the detected "center" (paper's wording) or at the mask's
            "centroid" (public codes).
    """

    threshold: float = 0.1
    nms_kernel: Positive = 7
    top_k: Positive = 200
    stuff_area_px: Annotated[int, Field(ge=0)] = 2048
    merge_plateaus: bool = False
    orphans: Literal["void", "component"] = "void"
    score: Literal["product", "objectness", "class"] = "product"
    objectness_at: Literal["center", "centroid"] = "center"

    @model_validator(mode="after")
    def _odd_kernel(self) -> "GroupingConfig":
        if self.nms_kernel % 2 == 0:
            raise ValueError(
                f"nms_kernel must be odd so that the window has a middle, got {self.nms_kernel}. "
                f"Use {self.nms_kernel + 1}."
            )
        return self


class InferenceConfig(Frozen):
    """How an image meets the network when it is used; see `predict.py`.

    Attributes:
        long_side: the image is resized first so that its longer side has this many pixels; 640 in
            detectron2's weights for COCO. 0: never.
        scale: the image is resized by this factor, the result is at the image's own size all the
            same. Above 1 for objects of few pixels, below 1 to save time.
        scales: further factors; the network sees the image at each, and what its heads say is
            averaged on the grid of the largest. Paper: 0.5 to 2 in steps of 0.25 (COCO: to 1.5).
        flip: each of them is also seen mirrored, left to right; paper.
        tile: images whose scaled side is longer are seen in tiles of this side in pixels, whose
            heads are blended; 0: never.
        tile_overlap: of neighbouring tiles, in pixels; larger than what should not be cut.
    """

    long_side: Annotated[int, Field(ge=0)] = 0
    scale: Annotated[float, Field(gt=0, le=8)] = 1.0
    scales: Annotated[tuple[Annotated[float, Field(gt=0, le=8)], ...], Field(min_length=1)] = (1.0,)
    flip: bool = False
    tile: Annotated[int, Field(ge=0)] = 0
    tile_overlap: Positive = 256


class ScheduleConfig(Frozen):
    """Optimisation.

    Attributes:
        iterations: number of steps.
        batch_size: images per step.
        learning_rate: of Adam at the start; paper: 1e-3.
        poly_power: the rate falls as (1 - step / iterations) ** poly_power; paper: 0.9.
        warmup_iterations: linear rise from 0 to the schedule's value; the paper names none.
        weight_decay: paper: 0 (Adam without decay).
        accumulate: the batch is computed in so many parts, one after the other, which takes a part
            of the memory and changes nothing but batch norms' statistics and which pixels are the
            hardest; both are those of each part.
        clip_norm: gradients are scaled down to this norm where theirs is larger; 0: never. The
            paper does not.
        ema_decay: of the moving average of the weights, which is then what is validated and
            stored as the model; 0: none. The paper keeps the last weights.
        backbone_rate_factor: the backbone learns at this multiple of the rate; paper: 1.
        freeze_backbone: leave the backbone as it is, its batch norms' statistics too.
        precision: "float32", "bfloat16" or "float16" (autocast; the latter on GPUs alone, with a
            loss scale), or "auto": bfloat16 where the processor or GPU multiplies it natively.
        compile: let torch compile the network first, which takes a minute or more, and on CPUs
            needs a C++ compiler.
        activation_checkpointing: keep only the inputs of the backbone's blocks and compute the
            rest again on the way back: far less memory, about a third more time.
        shard_weights: with several processes, each holds a part of weights, gradients, optimizer
            and average (FSDP2), for networks that do not fit on one GPU with all of these. Not with
            `compile`.
    """

    iterations: Positive = 60_000
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    warmup_iterations: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    accumulate: Positive = 1
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    backbone_rate_factor: Annotated[float, Field(gt=0)] = 1.0
    freeze_backbone: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
    activation_checkpointing: bool = False
    shard_weights: bool = False

    @model_validator(mode="after")
    def _check_shards(self) -> "ScheduleConfig":
        if self.compile and self.shard_weights:
            raise ValueError(
                "schedule.compile and schedule.shard_weights cannot be joined. Choose one of them."
            )
        return self


class RunConfig(Frozen):
    """What a run does beside learning.

    Attributes:
        seed: of weights, order of images, augmentation and dropout.
        validate_every: steps between validations; the last step always validates.
        validate_images: at most this many validation images while training; 0: all.
        pictures: validation images drawn at each validation.
        checkpoint_every: steps between checkpoints; the last step always writes one.
        checkpoint_minutes: most minutes between checkpoints; 0: steps alone count.
        keep: so many of the newest checkpoints also stay as models, `step_N.safetensors`, to be
            averaged or compared.
        skip_bad_steps: so many steps in a row whose loss or gradient is not finite are left out,
            with a warning, before the run ends; 0: it ends at the first.
        log_every: steps between lines of the log.
        threads: of torch on the CPU; 0: its own choice.
        wandb: PROJECT or ENTITY/PROJECT of Weights & Biases to log to; empty: none. Needs the
            extra `wandb`.
        start_from: weights to start from instead of random ones: a name, a file, a web address or
            hf://ORG/REPO. With other classes the semantic head's last layer starts anew.
    """

    start_from: str = ""
    seed: int = 0
    validate_every: Positive = 1000
    validate_images: Annotated[int, Field(ge=0)] = 0
    pictures: Annotated[int, Field(ge=0)] = 4
    checkpoint_every: Positive = 500
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    keep: Annotated[int, Field(ge=0)] = 0
    skip_bad_steps: Annotated[int, Field(ge=0)] = 0
    log_every: Positive = 20
    threads: Annotated[int, Field(ge=0)] = 0
    wandb: str = ""


class Experiment(Frozen):
    """A whole experiment: data, network, learning, use.

    Attributes:
        name: of the recipe it came from.
    """

    name: str = "custom"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    targets: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    grouping: GroupingConfig = GroupingConfig()
    inference: InferenceConfig = InferenceConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    run: RunConfig = RunConfig()
