"""Two evaluations side by side: differences with intervals, as a table and as a page.

In: counts of the same images by two models. Out: tables of rich, or one HTML file.
"""

from collections.abc import Mapping, Sequence

from rich.table import Table

from panoptic_deeplab.assessment import percent
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.bootstrap import Difference
from panoptic_deeplab.metrics.counts import ImageCounts
from panoptic_deeplab.metrics.matching import match_image
from panoptic_deeplab.metrics.panoptic import rate_image
from panoptic_deeplab.page import Cell, Column, Section, SortableTable, Text, render_page

NOTE = (
    "Intervals: 95 %, paired bootstrap over the images. An interval without 0 in it means that "
    "another set of such images would most likely rank the two alike."
)


def comparison_table(
    differences: Mapping[str, Difference], names: tuple[str, str], *, num_images: int
) -> Table:
    """For a terminal, in percent."""
    table = Table(title=f"{num_images} images; B - A with its 95 % interval", title_justify="left")
    table.add_column("")
    for head in ("A", "B", "B - A", "from", "to", "B better"):
        table.add_column(head, justify="right")
    for name, d in differences.items():
        share = "-" if d.share_better is None else f"{100 * d.share_better:.0f} %"
        values = map(percent, (d.first, d.second, d.change, d.low, d.high))
        table.add_row(name, *values, share)
    table.caption = f"A: {names[0]}\nB: {names[1]}"
    table.caption_justify = "left"
    return table


def comparison_page(
    differences: Mapping[str, Difference],
    counts: tuple[Sequence[ImageCounts], Sequence[ImageCounts]],
    labels: LabelSpace,
    names: tuple[str, str],
) -> bytes:
    """The page: measures, classes, and every image's PQ under both models."""
    heads = (
        "measure",
        "A",
        "B",
        Column("B - A", "in points of percent"),
        Column("from", "lower end of the interval of B - A"),
        Column("to", "upper end"),
        Column("B better", "share of the draws, in percent"),
    )
    classes = {f"PQ {name}": name for name in labels.names}
    overall = {n: d for n, d in differences.items() if n not in classes}
    by_class = {classes[n]: d for n, d in differences.items() if n in classes}
    tables = [
        SortableTable(heads, [_row(name, d) for name, d in part.items()], key=key)
        for key, part in (("overall", overall), ("classes", by_class))
    ]
    sections = [
        Section("Measures", (tables[0], Text(NOTE, True))),
        Section("PQ by class", (tables[1],)),
        Section("Images", (_images(counts),)),
    ]
    return render_page("Comparison", sections, subtitle=f"A: {names[0]}, B: {names[1]}; in percent")


def _row(name: str, d: Difference) -> list[Cell]:
    values = (d.first, d.second, d.change, d.low, d.high, d.share_better)
    return [name, *(None if value is None else 100 * value for value in values)]


def _images(counts: tuple[Sequence[ImageCounts], Sequence[ImageCounts]]) -> SortableTable:
    first, second = ({c.image_id: rate_image(match_image(c)) for c in part} for part in counts)
    rows: list[list[Cell]] = []
    for name, a in sorted(first.items()):
        b = second[name]
        if a is not None and b is not None:
            rows.append([name, 100 * a, 100 * b, 100 * (b - a)])
    rows.sort(key=lambda row: float(row[3] or 0))
    return SortableTable(("image", "A", "B", "B - A"), rows, "PQ of each image alone", "images")
