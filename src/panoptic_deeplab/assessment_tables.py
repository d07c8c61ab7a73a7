"""A report for a terminal, in percent.

In: a `Report`. Out: tables of rich: an overview, then the ways of rating, sizes, kinds of image,
classes, errors.
"""

from collections.abc import Sequence

from rich.table import Table

from panoptic_deeplab.assessment import Report, percent
from panoptic_deeplab.metrics.errors import KINDS
from panoptic_deeplab.metrics.instance import SIZES_PX


def tables(report: Report) -> list[Table]:
    """The report for a terminal; see the head of this file."""
    overview = _table(
        f"{report.num_images} images", "", ("PQ", "SQ", "RQ", "AP", "AP50", "mIoU", "iIoU")
    )
    quality = report.panoptic
    parts = (("all", quality.all), ("things", quality.things), ("stuff", quality.stuff))
    for name, mean in parts:
        cells = [percent(mean.pq), percent(mean.sq), percent(mean.rq), "", "", "", ""]
        if name == "all":
            cells[5] = percent(report.semantic.mean)
        if name == "things":
            cells[3:5] = percent(report.instance.ap), percent(report.instance.ap50)
            cells[6] = percent(report.semantic.instance_mean)
        overview.add_row(name, *cells)
    if report.boundary is not None:
        mean = report.boundary.all
        cells = [percent(mean.pq), percent(mean.sq), percent(mean.rq)]
        overview.add_row("boundaries", *cells, "", "", "", "")
    scores = [score_table(report)] if report.by_score else []
    kinds = [_kind_table(report)] if report.by_kind else []
    return [overview, *scores, *kinds, _size_table(report), _class_table(report), _errors(report)]


def score_table(report: Report) -> Table:
    """The three ways of rating instances, as in Table 2 of the supplement."""
    title = "instances rated by (AP differs, PQ and mIoU do not depend on it)"
    table = Table(title=title, title_justify="left")
    for name in ("objectness", "class"):
        table.add_column(name, justify="center")
    for name in ("PQ", "AP", "AP50", "mIoU"):
        table.add_column(name, justify="right")
    for name, precision in report.by_score.items():
        marks = ("x" if name in (part, "product") else "" for part in ("objectness", "class"))
        cells = (report.panoptic.all.pq, precision.ap, precision.ap50, report.semantic.mean)
        table.add_row(*marks, *map(percent, cells))
    return table


def _size_table(report: Report) -> Table:
    table = _table(
        "things by size", "area in pixels", ("PQ", "SQ", "RQ", "AP", "found", "false", "missed")
    )
    if report.by_size is None:
        return table
    for size, mean in report.by_size.means.items():
        low, high = SIZES_PX[size]
        limits = f"from {low:.0f}" if high > 1e9 else f"{low:.0f} to {high:.0f}"
        classes = [by_size[size] for by_size in report.by_size.per_class.values()]
        numbers = (sum(c.tp for c in classes), sum(c.fp for c in classes))
        table.add_row(
            f"{size}, {limits}",
            *map(percent, (mean.pq, mean.sq, mean.rq, report.instance.by_size.get(size))),
            *map(str, (*numbers, sum(c.fn for c in classes))),
        )
    return table


def _errors(report: Report) -> Table:
    """Missed and false segments of each class by what went wrong."""
    table = _table("what went wrong: segments missed + false", "class", KINDS)
    for name, count in report.errors.items():
        pairs = ((count.missed.get(kind, 0), count.false.get(kind, 0)) for kind in KINDS)
        table.add_row(name, *(f"{m} + {f}" if m or f else "" for m, f in pairs))
    return table


def _kind_table(report: Report) -> Table:
    table = _table(
        "by kind of image", "kind", ("images", "PQ", "PQ things", "PQ stuff", "AP", "AP50", "mIoU")
    )
    for kind, part in report.by_kind.items():
        quality, instance = part.panoptic, part.instance
        values = (quality.all.pq, quality.things.pq, quality.stuff.pq, instance.ap, instance.ap50)
        cells = [percent(value) for value in (*values, part.semantic.mean)]
        table.add_row(kind, str(part.num_images), *cells)
    return table


def _class_table(report: Report) -> Table:
    table = _table("by class", "class", ("PQ", "SQ", "RQ", "found", "false", "missed", "AP", "IoU"))
    things = report.instance.per_class
    for name, quality in report.panoptic.per_class.items():
        table.add_row(
            name,
            *(percent(x) for x in (quality.pq, quality.sq, quality.rq)),
            *(str(n) for n in (quality.tp, quality.fp, quality.fn)),
            percent(things[name].ap if name in things else None),
            percent(report.semantic.per_class.get(name)),
        )
    return table


def _table(title: str, first: str, numbers: Sequence[str]) -> Table:
    """An empty table: names in the first column, numbers in the others."""
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table
