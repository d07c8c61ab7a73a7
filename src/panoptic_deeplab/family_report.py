"""The family of networks counted, next to what was published.

In: entries of `FAMILY`. Out: `Counted`, as plain values for JSON and as tables for a terminal.
No network is run and nothing is kept on disk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table
from torch import nn

from panoptic_deeplab.backbones import build_backbone
from panoptic_deeplab.backbones.classifier import ImageClassifier
from panoptic_deeplab.counting import (
    Part,
    build_on_meta,
    count,
    count_multiply_adds,
    count_parameters,
    count_parts,
)
from panoptic_deeplab.family import FAMILY, Entry
from panoptic_deeplab.labels import near_names
from panoptic_deeplab.meta import QuickMeta

GIGA = 1e9


@dataclass(frozen=True)
class Counted:
    """What an entry costs.

    Attributes:
        entry: the network in its setting.
        parameters: see `counting.Counts`.
        multiply_adds: of its convolutions, for one image.
        profiler: as the publications count them, for one image.
        parts: see `counting.count_parts`; empty if not asked for.
    """

    entry: Entry
    parameters: int
    multiply_adds: int
    profiler: float
    parts: tuple[Part, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values; G is for billions, M for millions."""
        published = self.entry.published
        plain: dict[str, Any] = {
            "name": self.entry.name,
            "input": list(self.entry.setting.size),
            "classes": self.entry.setting.num_classes,
            "params": self.parameters,
            "multiply_adds": self.multiply_adds,
            "multiply_adds_profiler": round(self.profiler / GIGA, 3),
            "status": self.entry.status,
            "published": {
                "params_M": published.parameters,
                "multiply_adds_G": published.multiply_adds,
                "pq": published.pq,
                "ap": published.ap,
                "miou": published.miou,
                "source": published.source,
                "note": published.note,
            },
        }
        if self.parts:
            plain["parts"] = [
                {"name": p.name, "params": p.parameters, "multiply_adds": p.multiply_adds}
                for p in self.parts
            ]
        return plain


def find_entries(name: str) -> list[Entry]:
    """All settings of a network.

    Args:
        name: as in `FAMILY`, with or without what stands in brackets.

    Raises:
        ValueError: if there is none; the message has near names.
    """
    found = [e for e in FAMILY if name in (e.name, e.short_name)]
    if not found:
        names = sorted({e.short_name for e in FAMILY})
        raise ValueError(f"Unknown network {name!r}. {near_names(name, names)}")
    return found


def count_entry(entry: Entry, *, with_parts: bool = False) -> Counted:
    """Count one network in its setting."""
    counted = _count_classifier(entry) if entry.is_classifier else _count_network(entry)
    if not with_parts:
        return counted
    parts = count_parts(_build(entry), entry.setting.size)
    return replace(counted, parts=tuple(parts))


def _count_network(entry: Entry) -> Counted:
    size, num_classes = entry.setting.size, entry.setting.num_classes
    plain = windowed = count(entry.config, num_classes, size)
    if entry.setting.crop is not None:
        # With a window the pooled branch is computed at many places, so it has its own count.
        config = entry.config.model_copy(update={"aspp_pooling_size": entry.setting.crop})
        windowed = count(config, num_classes, size)
    profiler = windowed.published
    if not entry.counts_norms:
        terms = windowed.multiply_adds
        profiler = terms.profiler - terms.normalization - terms.full_resolution
    return Counted(entry, plain.parameters, plain.multiply_adds.convolution, profiler)


def _count_classifier(entry: Entry) -> Counted:
    model = _build(entry)
    multiply_adds = count_multiply_adds(model, entry.setting.size)
    parameters = count_parameters(model)
    return Counted(entry, parameters, multiply_adds.convolution, multiply_adds.profiler)


def _build(entry: Entry) -> nn.Module:
    """On the meta device."""
    if not entry.is_classifier:
        return build_on_meta(entry.config, entry.setting.num_classes)
    with torch.device("meta"), QuickMeta():
        backbone = build_backbone(entry.config.backbone, output_stride=entry.config.output_stride)
        return ImageClassifier(backbone, entry.setting.num_classes)


def family_table(family: Iterable[Counted]) -> Table:
    """For a terminal: ours, and the published value next to it."""
    table = Table(title="* as published", title_justify="left")
    table.add_column("network", overflow="fold")
    for name in ("image", "classes", "parameters", "* M", "multiply-adds", "profiler G", "* G"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("* PQ", "* AP", "* mIoU"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for counted in family:
        name, *cells = cells_of(counted)
        table.add_row("" if name == last else name, *cells)
        last = name
    return table


def cells_of(counted: Counted) -> list[str]:
    """Name, image, classes, parameters, multiply-adds and qualities; ours, then published."""
    setting, published = counted.entry.setting, counted.entry.published
    return [
        counted.entry.name,
        f"{setting.size[0]}x{setting.size[1]}",
        str(setting.num_classes),
        f"{counted.parameters:,}",
        _number(published.parameters),
        f"{counted.multiply_adds:,}",
        f"{counted.profiler / GIGA:.2f}",
        _number(published.multiply_adds, 2),
        *(_number(value) for value in (published.pq, published.ap, published.miou)),
    ]


def parts_table(counted: Counted) -> Table:
    """For a terminal: the main parts of one network."""
    setting = counted.entry.setting
    title = f"{counted.entry.name}, {setting.size[0]}x{setting.size[1]}, {setting.data}"
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("part", "all")
    columns = (
        ("parameters", counted.parameters, [p.parameters for p in counted.parts]),
        ("multiply-adds", counted.multiply_adds, [p.multiply_adds for p in counted.parts]),
    )
    for name, total, _ in columns:
        table.add_column(name, f"{total:,}", justify="right")
        table.add_column("%", justify="right")
    for i, part in enumerate(counted.parts):
        cells = []
        for _, total, values in columns:
            cells += [f"{values[i]:,}", f"{100 * values[i] / total:.1f}"]
        table.add_row(part.name, *cells)
    return table


def notes(family: Sequence[Counted]) -> list[str]:
    """Where the published figures of one network come from, one line each."""
    lines = []
    for counted in family:
        entry = counted.entry
        size = f"{entry.setting.size[0]}x{entry.setting.size[1]}"
        lines.append(f"{size}, {entry.setting.num_classes} classes: {entry.status}")
        if entry.published.reference:
            lines[-1] += f" ({entry.published.reference})"
    return lines


def _number(value: float | None, digits: int | None = None) -> str:
    """As published, nothing where nothing was."""
    if value is None:
        return ""
    return str(value) if digits is None else f"{value:.{digits}f}"
