"""Every network the paper and its supplement name, at the sizes they are used at.

In: nothing. Out: `FAMILY`, one entry for each network, image size and number of classes, with
what was published about it. `counting.py` counts them. Sources: the supplement of
arXiv:1911.10194 (Table 1); the paper's ablation and runtime tables; arXiv:1910.04751, a report
by the same authors on the same networks in 2019; Auto-DeepLab (arXiv:1901.02985, table 2);
Axial-DeepLab (arXiv:2003.07853), which cites some of these figures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from panoptic_deeplab.config import ModelConfig, Size

Status = Literal[
    "confirmed",  # all published figures come out to the last digit
    "confirmed by count",  # nearly the same; the publication itself was not at hand
    "reconstructed",  # nothing published to compare with
    "reconstructed, differs from the publication",
]


@dataclass(frozen=True)
class Setting:
    """What a network is used on.

    Attributes:
        size: (H, W) of the image.
        num_classes: K.
        data: name of the data set.
        crop: (H, W) of the training crop if it is smaller than the image. The published
            multiply-adds were counted with this pooling window in the ASPP.
    """

    size: Size
    num_classes: int
    data: str
    crop: Size | None = None


CITYSCAPES = Setting((1025, 2049), 19, "Cityscapes")
CITYSCAPES_SMALL_CROP = Setting((1025, 2049), 19, "Cityscapes", (513, 1025))
CITYSCAPES_SQUARE_CROP = Setting((1025, 2049), 19, "Cityscapes", (769, 769))
MAPILLARY_2019 = Setting((2161, 2161), 65, "Mapillary Vistas", (1025, 1025))
"""Of the report of 2019; the size follows from its counts."""
MAPILLARY = Setting((2177, 2177), 65, "Mapillary Vistas", (1025, 1025))
COCO = Setting((1025, 1025), 133, "COCO")
IMAGENET = Setting((224, 224), 1000, "ImageNet")


@dataclass(frozen=True)
class Published:
    """What was published about a network in one setting; None where nothing was.

    Attributes:
        parameters: in millions.
        multiply_adds: in billions, for one image.
        pq: panoptic quality, in percent.
        ap: average precision of the instances, in percent.
        miou: mean IoU, in percent.
        source: of the figures.
        note: how they were measured, if not on the validation set at one scale.
    """

    parameters: float | None = None
    multiply_adds: float | None = None
    pq: float | None = None
    ap: float | None = None
    miou: float | None = None
    source: str = ""
    note: str = ""

    @property
    def reference(self) -> str:
        """Source and note, as far as there are any."""
        return "; ".join(s for s in (self.source, self.note) if s)


@dataclass(frozen=True)
class Entry:
    """A network in a setting.

    Attributes:
        name: of the network; several settings share it.
        setting: see `Setting`.
        config: builds the network.
        status: how far our count and the published one agree.
        published: see `Published`.
        is_classifier: the backbone with its ImageNet head instead of the segmentation network.
        counts_norms: the published multiply-adds include norms and what happens at full
            resolution; Auto-DeepLab's do not.
    """

    name: str
    setting: Setting
    config: ModelConfig
    status: Status = "reconstructed"
    published: Published = Published()
    is_classifier: bool = False
    counts_norms: bool = True

    @property
    def short_name(self) -> str:
        """The name without what stands in brackets."""
        return self.name.partition(" (")[0]


Known = Mapping[Setting, tuple[Status, Published]]

OTHER_FIGURES: Status = "reconstructed, differs from the publication"

SUPPLEMENT = "supplement, table 1"
ABLATION = "paper, ablation table"
RUNTIME = "paper, runtime table"
REPORT = "arXiv:1910.04751"
AXIAL = "arXiv:2003.07853"
AUTO_DEEPLAB = "arXiv:1901.02985, table 2"

MULTI_SCALE = "multi-scale inference"
ALL_SETTINGS = (CITYSCAPES, MAPILLARY_2019, MAPILLARY, COCO)


def _entries(
    name: str,
    settings: tuple[Setting, ...],
    known: Known | None = None,
    *,
    counts_norms: bool = True,
    is_classifier: bool = False,
    **options: Any,
) -> Iterator[Entry]:
    config = ModelConfig(**options)
    for setting in settings:
        status, published = (known or {}).get(setting, ("reconstructed", Published()))
        yield Entry(
            name,
            setting,
            config,
            status,
            published,
            is_classifier=is_classifier,
            counts_norms=counts_norms,
        )


def _confirmed(
    setting: Setting, published: Published, status: Status = "confirmed by count"
) -> dict[Setting, tuple[Status, Published]]:
    return {setting: (status, published)}


def _xception() -> Iterator[Entry]:
    name = "panoptic_deeplab_xception71"
    config: dict[str, Any] = {"backbone": "xception71"}
    table1 = Published(46.72, 547.49, 63.0, 35.3, 80.5, SUPPLEMENT)
    yield from _entries(name, (CITYSCAPES,), _confirmed(CITYSCAPES, table1, "confirmed"), **config)
    figures = Published(46.73, 1264.32, 40.3, 17.2, 56.8, f"{REPORT}, {AXIAL}", MULTI_SCALE)
    yield from _entries(name, (MAPILLARY_2019,), _confirmed(MAPILLARY_2019, figures), **config)
    known: Known = {
        MAPILLARY: ("reconstructed", Published(46.7, None, 37.7, 14.9, 55.4, f"{AXIAL}, table 4")),
        COCO: ("reconstructed", Published(46.7, None, 39.7, source=f"{AXIAL}, table 2")),
    }
    yield from _entries(name, (MAPILLARY, COCO), known, **config)

    table1 = Published(46.61, 553.41, 62.5, 34.5, 80.2, SUPPLEMENT)
    yield from _entries(
        "deeplabv3plus_decoder_xception71",
        ALL_SETTINGS,
        _confirmed(CITYSCAPES, table1, "confirmed"),
        decoder="deeplabv3plus",
        semantic_projections=(32,),
        instance_projections=(16,),
        **config,
    )


def _ablation() -> Iterator[Entry]:
    narrow: dict[str, Any] = {
        "backbone": "xception71",
        "aspp_channels": 128,
        "semantic_channels": 128,
        "semantic_projections": (32, 16),
        "semantic_head_channels": 128,
    }
    small_crop: tuple[tuple[str, Published, dict[str, Any]], ...] = (
        (
            "ablation_single_aspp_single_decoder_128",
            Published(41.85, 496.84, 61.8, 33.8, 78.6, ABLATION, "best of three trainings"),
            {**narrow, "instance_branch": "shared"},
        ),
        (
            "ablation_dual_decoder_128",
            Published(41.93, 501.88, 60.8, 32.7, 79.0, ABLATION),
            {**narrow, "instance_branch": "shared_aspp"},
        ),
        (
            "ablation_dual_aspp_128",
            Published(43.37, 517.17, 62.5, 33.9, 78.7, ABLATION),
            narrow,
        ),
        (
            "ablation_instance_256",
            Published(46.88, 573.86, 62.1, 35.1, 80.3, ABLATION),
            {
                "backbone": "xception71",
                "instance_channels": 256,
                "instance_projections": (64, 32),
                "instance_head_channels": 64,
            },
        ),
    )
    for name, figures, options in small_crop:
        setting = CITYSCAPES_SMALL_CROP
        yield from _entries(name, (setting,), _confirmed(setting, figures), **options)
    figures = Published(43.60, 518.84, miou=80.3, source=ABLATION)
    yield from _entries(
        "ablation_semantic_only",
        (CITYSCAPES,),
        _confirmed(CITYSCAPES, figures),
        backbone="xception71",
        instance_branch="none",
    )


def _other_backbones() -> Iterator[Entry]:
    known: dict[Setting, tuple[Status, Published]] = {
        CITYSCAPES: ("confirmed by count", Published(None, 381.39, 59.8, source=RUNTIME)),
        MAPILLARY: ("confirmed by count", Published(None, 910.47, source=RUNTIME)),
    }
    name = "panoptic_deeplab_resnet50_beta"
    yield from _entries(name, ALL_SETTINGS, known, backbone="resnet50_beta")
    known = {
        CITYSCAPES: (
            "confirmed by count",
            Published(None, 54.17, 54.1, source=f"{RUNTIME}, abstract", note="PQ on the test set"),
        ),
        MAPILLARY: ("confirmed by count", Published(None, 138.12, source=RUNTIME)),
    }
    yield from _entries(
        "panoptic_deeplab_mobilenetv3_large",
        (CITYSCAPES, MAPILLARY),
        known,
        backbone="mobilenet_v3_large_reduced",
    )
    figures = Published(44.31, 1054.05, 39.2, 16.4, 56.9, REPORT, MULTI_SCALE)
    yield from _entries(
        "panoptic_deeplab_xception65",
        (MAPILLARY_2019,),
        _confirmed(MAPILLARY_2019, figures),
        backbone="xception65",
    )


def _auto_deeplab() -> Iterator[Entry]:
    published = {
        "s": Published(10.15, 333.25, miou=79.74, source=AUTO_DEEPLAB),
        "m": Published(21.62, 460.93, miou=80.04, source=AUTO_DEEPLAB),
        "l": Published(44.42, 695.03, miou=80.33, source=AUTO_DEEPLAB),
    }
    for size, figures in published.items():
        yield from _entries(
            f"auto_deeplab_{size}_semantic (original paper)",
            (CITYSCAPES_SQUARE_CROP,),
            _confirmed(CITYSCAPES_SQUARE_CROP, figures),
            counts_norms=False,
            backbone=f"auto_deeplab_{size}",
            output_stride=8,
            decoder="deeplabv3plus",
            decoder_separable=False,
            aspp_separable=False,
            instance_branch="none",
            semantic_projections=(48,),
            semantic_head_channels=None,
        )
    for size, pluses, figures in (
        ("l", "plus", Published(41.54, 1493.78, 39.3, 15.8, 56.9, REPORT, MULTI_SCALE)),
        (
            "xl",
            "plusplus",
            Published(72.16, 2386.81, 40.3, 16.9, 57.6, f"{REPORT}, {AXIAL}", MULTI_SCALE),
        ),
    ):
        plus: dict[str, Any] = {"backbone": f"auto_deeplab_{size}_plus", "output_stride": 8}
        known = _confirmed(MAPILLARY_2019, figures)
        name = f"auto_deeplab_{size}_{pluses}"
        yield from _entries(f"{name} (two low-level features)", (MAPILLARY_2019,), known, **plus)
        yield from _entries(name, (CITYSCAPES, MAPILLARY, COCO), **plus)
        if size == "xl":
            figures = Published(71.98, 2378.17, 40.3, 16.3, 57.1, REPORT, MULTI_SCALE)
            yield from _entries(
                "auto_deeplab_xl_plus (stride-4 feature only)",
                (MAPILLARY_2019,),
                _confirmed(MAPILLARY_2019, figures),
                semantic_projections=(32,),
                instance_projections=(16,),
                **plus,
            )
        yield from _entries(
            f"auto_deeplab_{size}_strided",
            ALL_SETTINGS,
            backbone=f"auto_deeplab_{size}",
            backbone_options={"exact_grids": False},
            output_stride=8,
        )


def _hrnet() -> Iterator[Entry]:
    figures = Published(71.66, 2304.87, 39.3, 17.2, 55.4, f"{REPORT}, {AXIAL}", MULTI_SCALE)
    # No training crop is known, and with these a window on the map at stride 4 would cost more
    # than twice the network.
    settings = tuple(replace(setting, crop=None) for setting in ALL_SETTINGS)
    known: Known = {settings[1]: (OTHER_FIGURES, figures)}
    mixed: dict[str, Any] = {"backbone": "hrnet_w48", "output_stride": 32}
    joined = {**mixed, "backbone_options": {"head": "concatenated"}}
    mixed["backbone_options"] = {"head": "segmentation"}
    no_decoder: dict[str, Any] = {"semantic_projections": (), "instance_projections": ()}
    bare = {**no_decoder, "context": "none", "semantic_channels": 720}
    two_aspps = {**no_decoder, "instance_channels": 256}
    yield from _entries(
        "hrnet_w48_semantic_only",
        settings,
        instance_branch="none",
        semantic_head_channels=None,
        **mixed,
        **bare,
    )
    yield from _entries(
        "hrnet_w48_fuse720_heads", settings, instance_branch="shared", **mixed, **bare
    )
    yield from _entries("hrnet_w48_fuse720_dual_aspp", settings, known, **mixed, **two_aspps)
    yield from _entries("hrnet_w48_concat720_dual_aspp", settings, known, **joined, **two_aspps)
    yield from _entries(
        "hrnet_w48_dual_fuse_heads", settings, context="projection", **joined, **no_decoder
    )


def _hrnet_plus() -> Iterator[Entry]:
    plus: dict[str, Any] = {
        "backbone": "hrnet_w48_plus",
        "output_stride": 32,
        "semantic_projections": (96, 64, 32),
        "instance_projections": (48, 32, 16),
    }
    wider = {**plus, "backbone": "hrnet_wider_plus"}
    closest = {**wider, "backbone_options": {"blocks": 3, "separable_transition": True}}
    figures = Published(88.87, 2208.04, 40.6, 17.8, 57.6, REPORT, MULTI_SCALE)
    atrous_figures = Published(88.87, 2972.02, 40.5, 17.7, 57.4, REPORT, MULTI_SCALE)
    wider_figures = Published(60.05, 1315.70, 40.0, 17.0, 57.0, REPORT, MULTI_SCALE)
    wider_atrous_figures = Published(60.05, 1711.69, 39.7, 16.8, 56.5, REPORT, MULTI_SCALE)
    for name, published, options in (
        ("hrnet_w48_plus", figures, plus),
        (
            "hrnet_w48_plus_branch_taps",
            None,
            {**plus, "backbone_options": {"taps": "branches"}},
        ),
        ("hrnet_w48_plus_atrous", atrous_figures, {**plus, "output_stride": 16}),
        ("hrnet_wider_plus_literal", wider_figures, wider),
        ("hrnet_wider_plus_closest", wider_figures, closest),
        (
            "hrnet_wider_plus_closest_atrous",
            wider_atrous_figures,
            {**closest, "output_stride": 16},
        ),
    ):
        known: Known = {MAPILLARY_2019: (OTHER_FIGURES, published)} if published else {}
        yield from _entries(name, ALL_SETTINGS, known, **options)
    yield from _entries(
        "hrnet_w48_imagenet_classifier",
        (IMAGENET,),
        _confirmed(
            IMAGENET, Published(77.5, source="HRNet's code for image classification"), "confirmed"
        ),
        is_classifier=True,
        backbone="hrnet_w48_plus",
        output_stride=32,
    )


FAMILY: tuple[Entry, ...] = (
    *_xception(),
    *_ablation(),
    *_other_backbones(),
    *_auto_deeplab(),
    *_hrnet(),
    *_hrnet_plus(),
)
"""All entries; neighbours share their backbone where they can, which saves time in counting."""
