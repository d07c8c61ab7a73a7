"""Rows of image, panoptic and instance predictions, as in the paper's Figs. 5, 6 and 7.

In: images with their maps. Out: a page for print: PDF or SVG, where segments are outlines with the
exact corners of their pixels and text stays text, or PNG. Classes have the data set's colours; the
instances of the last column have one each, so that touching ones are told apart.

Paper: arXiv:1911.10194, figures 5 (Mapillary Vistas), 6 (Cityscapes) and 7 (COCO).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from panoptic_deeplab import render
from panoptic_deeplab.captions import Color, Picture
from panoptic_deeplab.data.coco_writer import measure_boxes
from panoptic_deeplab.data.polygons import outline
from panoptic_deeplab.labels import LabelSpace, distinct_colors, near_names
from panoptic_deeplab.structures import PanopticMap, Segment, count_ids

COLUMNS = {
    "image": "image",
    "truth": "truth",
    "panoptic": "panoptic prediction",
    "instance": "instance prediction",
}
"""What a row can show, and what stands above it."""

DEFAULT_COLUMNS = ("image", "panoptic", "instance")
FORMATS = (".pdf", ".svg", ".png")
CM_PER_INCH = 2.54
GAP_CM, TEXT_PT = 0.12, 7.0  # by eye, at the width of a page of two columns
LEGEND_ENTRY_CM, LEGEND_ROW_CM = 2.9, 0.34


@dataclass(frozen=True)
class Row:
    """One image of the figure.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        prediction: (H, W).
        truth: (H, W), for that column.
    """

    image: Picture
    prediction: PanopticMap
    truth: PanopticMap | None = None


def draw_figure(
    rows: Sequence[Row],
    labels: LabelSpace,
    *,
    ending: str = ".pdf",
    columns: Sequence[str] = DEFAULT_COLUMNS,
    width_cm: float = 17.5,
    dpi: int = 300,
    legend: bool = True,
) -> bytes:
    """Draw a figure.

    Args:
        rows: from top to bottom.
        labels: classes of the maps.
        ending: ".pdf", ".svg" or ".png".
        columns: names in `COLUMNS`, from left to right.
        width_cm: of the figure; CVPR's two columns together are 17.5 cm wide.
        dpi: pixels per inch of a PNG.
        legend: list the classes that occur below.

    Returns:
        The file.

    Raises:
        ValueError: if there is no row, a column or an ending is unknown, or a truth is missing.
    """
    _check(rows, columns, ending)
    panel_cm = (width_cm - GAP_CM * (len(columns) - 1)) / len(columns)
    heights = [panel_cm * row.image.shape[0] / row.image.shape[1] for row in rows]
    entries = _legend_entries(rows, labels, columns) if legend else []
    per_line = max(1, int(width_cm / LEGEND_ENTRY_CM))
    legend_cm = LEGEND_ROW_CM * -(-len(entries) // per_line) + (0.1 if entries else 0)
    title_cm = 0.45
    height_cm = title_cm + sum(heights) + GAP_CM * (len(rows) - 1) + legend_cm
    with mpl.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):  # text stays text
        figure = Figure(figsize=(width_cm / CM_PER_INCH, height_cm / CM_PER_INCH))
        FigureCanvasAgg(figure)
        top = height_cm - title_cm
        for number, (row, panel_height) in enumerate(zip(rows, heights, strict=True)):
            for place, column in enumerate(columns):
                left = place * (panel_cm + GAP_CM)
                box = (left, top - panel_height, panel_cm, panel_height)
                scaled = (box[0] / width_cm, box[1] / height_cm)
                size = (box[2] / width_cm, box[3] / height_cm)
                axes = figure.add_axes((*scaled, *size))
                _draw_panel(axes, row, column, labels)
                if number == 0:
                    axes.set_title(COLUMNS[column], fontsize=TEXT_PT + 1, pad=3)
            top -= panel_height + GAP_CM
        if entries:
            _draw_legend(figure, entries, per_line)
        buffer = BytesIO()
        plain: dict[str, Any] = {"CreationDate": None} if ending == ".pdf" else {}
        plain |= {"Date": None} if ending == ".svg" else {}
        figure.savefig(buffer, format=ending[1:], dpi=dpi, metadata=plain)
    return buffer.getvalue()


def check_ending(ending: str) -> None:
    """Make sure that figures come in files of this kind.

    Raises:
        ValueError: if not.
    """
    if ending not in FORMATS:
        raise ValueError(f"A figure is a file ending in {', '.join(FORMATS)}, got {ending!r}.")


def _check(rows: Sequence[Row], columns: Sequence[str], ending: str) -> None:
    if not rows:
        raise ValueError("A figure needs at least one image, got none.")
    if not columns:
        raise ValueError(f"A figure needs at least one column of {', '.join(COLUMNS)}.")
    for column in columns:
        if column not in COLUMNS:
            raise ValueError(f"Unknown column {column!r}. {near_names(column, list(COLUMNS))}")
    check_ending(ending)
    if "truth" in columns and any(row.truth is None for row in rows):
        raise ValueError(
            "The column 'truth' needs images with labels. Leave it out, or use --data."
        )


def _draw_panel(axes: Any, row: Row, column: str, labels: LabelSpace) -> None:
    height, width = row.image.shape[:2]
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], facecolor="black")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if column in ("image", "instance"):
        shown = row.image
        if column == "instance":  # pale and grey, so that colours are the instances' alone
            grey = row.image.mean(axis=2, keepdims=True).repeat(3, 2)
            shown = np.asarray(0.55 * grey + 0.35 * 255, np.uint8)
        axes.imshow(shown, extent=(0, width, height, 0), interpolation="antialiased")
    if column == "image":
        return
    panoptic = row.truth if column == "truth" else row.prediction
    assert panoptic is not None, "was checked"
    colors = render.segment_colors(panoptic, labels)
    segments: Sequence[Segment] = panoptic.segments
    if column == "instance":
        segments = [s for s in segments if labels.is_thing(s.class_id)]
        colors = dict(zip((s.id for s in segments), distinct_colors(len(segments)), strict=True))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    _draw_segments(axes, panoptic, segments, colors, labels)


def _draw_segments(
    axes: Any,
    panoptic: PanopticMap,
    segments: Sequence[Segment],
    colors: dict[int, Color],
    labels: LabelSpace,
) -> None:
    areas = count_ids(panoptic.segment_map)
    counted = tuple(Segment(s.id, s.class_id, areas[s.id]) for s in panoptic.segments)
    boxes = measure_boxes(PanopticMap(panoptic.segment_map, counted))
    for segment in sorted(segments, key=lambda s: labels.is_thing(s.class_id)):
        x, y, w, h = boxes[segment.id]
        mask = panoptic.segment_map[y : y + h, x : x + w] == segment.id
        color = tuple(c / 255 for c in colors[segment.id])
        is_thing = labels.is_thing(segment.class_id)
        # A border of its own colour closes the hairlines that viewers leave between shapes.
        edge, line_pt = ("white", 0.35) if is_thing else (color, 0.15)
        shape = PathPatch(
            _path_of(mask, (x, y)), facecolor=color, edgecolor=edge, linewidth=line_pt
        )
        axes.add_patch(shape)


def _path_of(mask: NDArray[np.bool_], corner: tuple[int, int]) -> Outline:
    """A mask's outline, holes included, moved to its place (x, y)."""
    vertices, codes = [], []
    for ring in outline(mask):
        points = np.asarray(ring, float) + corner
        vertices.append(np.concatenate([points, points[:1]]))
        codes += [Outline.MOVETO, *[Outline.LINETO] * (len(points) - 1), Outline.CLOSEPOLY]
    return Outline(np.concatenate(vertices), codes)


def _legend_entries(
    rows: Sequence[Row], labels: LabelSpace, columns: Sequence[str]
) -> list[tuple[str, Color]]:
    maps = [row.prediction for row in rows]
    if "truth" in columns:
        maps += [row.truth for row in rows if row.truth is not None]
    present = sorted({s.class_id for panoptic in maps for s in panoptic.segments})
    return [(labels.classes[i].name, labels.classes[i].color) for i in present]


def _draw_legend(figure: Figure, entries: Sequence[tuple[str, Color]], per_line: int) -> None:
    patches = [
        Patch(facecolor=(red / 255, green / 255, blue / 255), label=name)
        for name, (red, green, blue) in entries
    ]
    figure.legend(
        handles=patches,
        loc="lower center",
        ncols=min(per_line, len(entries)),
        fontsize=TEXT_PT,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        handleheight=0.9,
        columnspacing=1.0,
        labelspacing=0.25,
    )
