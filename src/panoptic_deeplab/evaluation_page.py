"""The page of an evaluation: numbers, confusion, what went wrong, and the images to look at.

In: a `Report`, the data set, and a function that gives the prediction of a sample again. Out: one
HTML file. Pictures are drawn for the worst and best images only, and made no larger than needed.
"""

from collections.abc import Callable, Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from rich.progress import Progress

from panoptic_deeplab import render
from panoptic_deeplab.assessment import Report
from panoptic_deeplab.captions import Picture
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.errors import KINDS
from panoptic_deeplab.metrics.instance import SIZES_PX
from panoptic_deeplab.page import (
    Bars,
    Block,
    Cell,
    Column,
    Matrix,
    Pictures,
    Section,
    SortableTable,
    Text,
    render_page,
)
from panoptic_deeplab.structures import PanopticMap, Sample

Source = Callable[[Sample], PanopticMap]
"""Gives the prediction of a sample."""

KIND_COLORS = dict(
    zip(KINDS, ("#b3361d", "#d98324", "#7a4fa3", "#3f7fbf", "#4d9a57", "#8a8f99"), strict=True)
)
"""Chosen by eye: apart on white and in grey print."""

PICTURE_PX = 640
"""Longer side of a picture on the page."""

MOST_CLASSES = 40
"""Confusion is shown for that many classes, those with most pixels."""


def evaluation_page(
    report: Report,
    dataset: PanopticDataset,
    source: Source,
    *,
    title: str,
    images: int = 6,
    progress: Progress | None = None,
) -> bytes:
    """Make the page.

    Args:
        report: of the whole set.
        dataset: that was evaluated.
        source: gives predictions again, for the pictures.
        title: of the page.
        images: that are shown as the worst, and as the best.
        progress: shows how far drawing is.

    Returns:
        A UTF-8 HTML file.
    """
    sections = [
        Section("Overview", _overview(report), is_grid=True),
        Section("Classes", (_classes(report),)),
        Section("What went wrong", _errors(report)),
        Section("Object size", (_sizes(report),)),
        Section("Confusion", _confusion(report)),
    ]
    ordered = sorted(report.by_image.items(), key=lambda pair: (pair[1], pair[0]))
    worst = ordered[:images]
    best = [pair for pair in reversed(ordered[-images:]) if pair not in worst]
    numbers = {dataset.image_id(i): i for i in range(len(dataset))} if ordered else {}
    chosen = [*worst, *best]
    steps = chosen if progress is None else progress.track(chosen, description="drawing the images")
    drawn = [
        _image(dataset[numbers[name]], dataset.labels, source, quality) for name, quality in steps
    ]
    note = "Click a picture, or use the arrow keys, to flip between truth, prediction and image."
    if worst:
        sections.append(Section("Worst images", drawn[: len(worst)], True, note))
    if best:
        sections.append(Section("Best images", drawn[len(worst) :], True, note))
    sections.append(Section("All images", (_image_table(ordered),)))
    return render_page(title, sections, subtitle=f"{report.num_images} images; in percent")


def encode_picture(picture: Picture, *, longest_px: int = PICTURE_PX) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG that is no larger than needed."""
    scale = longest_px / max(picture.shape[:2])
    if scale < 1:
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def flip_layers(
    image: Picture, maps: dict[str, PanopticMap], labels: LabelSpace
) -> dict[str, bytes]:
    """Pictures to flip between: an overlay of each map, and the image itself."""
    scale = min(4, render.readable_scale((image.shape[0], image.shape[1]), PICTURE_PX))
    layers = {
        name: encode_picture(render.overlay(image, panoptic, labels, scale=scale))
        for name, panoptic in maps.items()
    }
    large = image.repeat(scale, 0).repeat(scale, 1)
    return {**layers, "image": encode_picture(large)}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _overview(report: Report) -> list[Block]:
    quality, semantic, instance = report.panoptic, report.semantic, report.instance
    rows: list[list[Cell]] = [
        [name, *map(_percent, (m.pq, m.sq, m.rq)), m.num_classes]
        for name, m in (("all", quality.all), ("things", quality.things), ("stuff", quality.stuff))
    ]
    if report.boundary is not None:
        m = report.boundary.all
        rows.append(["boundaries", *map(_percent, (m.pq, m.sq, m.rq)), m.num_classes])
    others: list[list[Cell]] = [
        ["AP", _percent(instance.ap)],
        ["AP at IoU 0.50", _percent(instance.ap50)],
        *([[f"AP, {size}", _percent(ap)] for size, ap in instance.by_size.items()]),
        ["mIoU", _percent(semantic.mean)],
        ["iIoU", _percent(semantic.instance_mean)],
        ["pixel accuracy", _percent(semantic.pixel_accuracy)],
    ]
    blocks: list[Block] = [
        SortableTable(("", "PQ", "SQ", "RQ", "classes"), rows, key="overview"),
        SortableTable(("measure", "percent"), others, key="measures"),
    ]
    if report.by_score:
        scores: list[list[Cell]] = [
            [
                name,
                _percent(quality.all.pq),
                *map(_percent, (ap.ap, ap.ap50)),
                _percent(semantic.mean),
            ]
            for name, ap in report.by_score.items()
        ]
        heads = ("instances rated by", "PQ", "AP", "AP50", "mIoU")
        blocks.append(SortableTable(heads, scores, "Instance scores", "scores"))
    if report.by_kind:
        kinds: list[list[Cell]] = [
            [k, r.num_images, *map(_percent, (r.panoptic.all.pq, r.instance.ap, r.semantic.mean))]
            for k, r in report.by_kind.items()
        ]
        heads = ("kind of image", "images", "PQ", "AP", "mIoU")
        blocks.append(SortableTable(heads, kinds, "By kind of image", "kinds"))
    definition = "COCO's" if instance.definition == "coco" else "Cityscapes'"
    blocks.append(Text(f"AP after {definition} definition, from the panoptic map.", True))
    return blocks


def _classes(report: Report) -> SortableTable:
    heads = (
        "class",
        Column("PQ", "panoptic quality: SQ times RQ"),
        Column("SQ", "mean IoU of the matched segments"),
        Column("RQ", "F1 of the matches"),
        "found",
        Column("false", "predicted segments without a match"),
        Column("missed", "true segments without a match"),
        "AP",
        "IoU",
        Column("iIoU", "IoU with each instance of the same weight"),
    )
    rows: list[list[Cell]] = []
    for name, q in report.panoptic.per_class.items():
        ap = report.instance.per_class[name].ap if name in report.instance.per_class else None
        ious = report.semantic.per_class[name], report.semantic.instance_per_class.get(name)
        counts = q.tp, q.fp, q.fn
        rows.append(
            [name, *map(_percent, (q.pq, q.sq, q.rq)), *counts, *map(_percent, (ap, *ious))]
        )
    return SortableTable(heads, rows, key="classes")


def _errors(report: Report) -> list[Block]:
    present = {n: c for n, c in report.errors.items() if any(c.of(kind) for kind in KINDS)}
    bars = {name: [count.of(kind) for kind in KINDS] for name, count in present.items()}
    rows: list[list[Cell]] = []
    for name, count in present.items():
        taken = ", ".join(f"{other} ({n})" for other, n in list(count.taken_for.items())[:3])
        rows.append([name, "missed", *(count.missed.get(kind, 0) for kind in KINDS), ""])
        rows.append([name, "false", *(count.false.get(kind, 0) for kind in KINDS), taken])
    costs: list[list[Cell]] = [
        [n, *(100 * c.cost.get(kind, 0.0) for kind in KINDS)] for n, c in present.items()
    ]
    return [
        Bars(KIND_COLORS, bars, "Segments missed and false, by what went wrong"),
        SortableTable(("class", "segments", *KINDS, "was taken for it"), rows, key="errors"),
        SortableTable(
            ("class", *KINDS),
            costs,
            "PQ of the class without these errors: rise in points",
            "costs",
        ),
        Text(
            "Each missed or false segment counts once: wrong class (another class's segment lies "
            "on it with an IoU above 0.5), merged (a prediction covers most of several true "
            "segments), split (several predictions lie in one), poor mask (IoU 0.1 to 0.5), else "
            "missed or invented.",
            True,
        ),
    ]


def _sizes(report: Report) -> SortableTable:
    heads = ("class", "size", "PQ", "SQ", "RQ", "found", "false", "missed", "AP")
    rows: list[list[Cell]] = []
    if report.by_size is None:
        return SortableTable(heads, rows, key="sizes")
    for name, by_size in report.by_size.per_class.items():
        precision = report.instance.per_class[name].by_size
        for size in SIZES_PX:
            q = by_size[size]
            numbers = map(_percent, (q.pq, q.sq, q.rq))
            ap = _percent(precision.get(size))
            rows.append([name, size, *numbers, q.tp, q.fp, q.fn, ap])
    caption = "small: up to 32 x 32 pixels, medium: up to 96 x 96, large: above"
    return SortableTable(heads, rows, caption, "sizes")


def _confusion(report: Report) -> list[Block]:
    confusion = np.asarray(report.confusion, np.int64)
    names = list(report.panoptic.per_class)
    pixels = confusion.sum(axis=1)
    chosen = sorted(np.argsort(-pixels, kind="stable")[:MOST_CLASSES].tolist())
    columns = [*chosen, len(names)]
    counts = [[int(confusion[i, j]) for j in columns] for i in chosen]
    left = (
        []
        if len(chosen) == len(names)
        else [Text(f"{len(names) - len(chosen)} rarer classes are left out.", True)]
    )
    return [
        Matrix(
            [names[i] for i in chosen],
            [*(names[i] for i in chosen), "nothing"],
            counts,
            "truth",
            "prediction",
            "Pixels by true and predicted class, in percent of the true class",
        ),
        *left,
    ]


def _image(sample: Sample, labels: LabelSpace, source: Source, quality: float) -> Pictures:
    assert sample.panoptic is not None, "was evaluated"
    maps = {"truth": sample.panoptic, "prediction": source(sample)}
    layers = flip_layers(sample.image, maps, labels)
    return Pictures(layers, f"{sample.image_id}, PQ {100 * quality:.1f}")


def _image_table(ordered: Sequence[tuple[str, float]]) -> SortableTable:
    rows: list[list[Cell]] = [[name, 100 * quality] for name, quality in ordered]
    return SortableTable(
        ("image", Column("PQ", "over the classes of this image")), rows, key="images"
    )
