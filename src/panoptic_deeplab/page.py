"""Pages to look at: one HTML file with tables, pictures and nothing it would have to fetch.

Comes in: sections of blocks (text, tables, pictures, matrices, bars). Goes out: the bytes of a page
that works from a disk, offline: pictures are embedded, tables sort at a click, pictures of one
scene are flipped through in their place. All text is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template

Cell = str | int | float | bool | None
"""What a table's field holds; None shows as a dash and sorts last."""

SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"<svg": "svg+xml"}
"""Kinds of pictures, by how their files begin."""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        content: plain text.
        is_note: small and grey.
    """

    content: str
    is_note: bool = False
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its head.
        hint: what it means, shown where the pointer rests on the head.
        digits: after the point, of floats.
    """

    name: str
    hint: str = ""
    digits: int = 2


@dataclass(frozen=True)
class SortableTable:
    """A table whose rows are ordered by the column that is clicked.

    Attributes:
        columns: heads, or plain names.
        rows: one field per column each.
        caption: above it.
        key: a name for it, for links and tests.

    Raises:
        ValueError: if a row has another number of fields.
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    key: str = ""
    kind: str = field(default="table", init=False)

    def __post_init__(self) -> None:
        """Check the number of fields."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Table {self.caption!r} has {len(self.columns)} columns, got a row of "
                    f"{len(row)} fields: {list(row)[:3]}. Give one field per column."
                )

    @property
    def heads(self) -> list[Column]:
        """The columns, all with their hints."""
        return [Column(c) if isinstance(c, str) else c for c in self.columns]


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size in one place, flipped through by buttons, a click or the arrow keys.

    Attributes:
        layers: name -> PNG, JPEG or SVG file.
        caption: below them.
    """

    layers: Mapping[str, bytes]
    caption: str = ""
    kind: str = field(default="pictures", init=False)

    @property
    def sources(self) -> list[tuple[str, str]]:
        """(name, data address) of each."""
        return [(name, data_address(content)) for name, content in self.layers.items()]


@dataclass(frozen=True)
class Matrix:
    """Counts by row and column, each field shaded by its share of the row.

    Attributes:
        row_names: such as the true classes.
        column_names: such as the predicted ones.
        counts: one list per row.
        row_title: what rows are.
        column_title: what columns are.
        caption: above it.
    """

    row_names: Sequence[str]
    column_names: Sequence[str]
    counts: Sequence[Sequence[int]]
    row_title: str = ""
    column_title: str = ""
    caption: str = ""
    kind: str = field(default="matrix", init=False)

    @property
    def shares(self) -> list[list[float]]:
        """Each count over the sum of its row, 0 to 1."""
        return [[n / max(sum(row), 1) for n in row] for row in self.counts]


@dataclass(frozen=True)
class Bars:
    """One bar per row, made of parts.

    Attributes:
        parts: name -> colour as #rrggbb, in order.
        rows: name -> a value per part.
        caption: above it.
        digits: after the point, of floats.
    """

    parts: Mapping[str, str]
    rows: Mapping[str, Sequence[float]]
    caption: str = ""
    digits: int = 0
    kind: str = field(default="bars", init=False)

    @property
    def longest(self) -> float:
        """The largest sum."""
        return max((sum(values) for values in self.rows.values()), default=0) or 1


Block = Text | SortableTable | Pictures | Matrix | Bars


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: its heading, and its entry in the list at the top.
        blocks: in order.
        is_grid: put the blocks side by side where there is room.
        note: a line below the heading.
    """

    title: str
    blocks: Sequence[Block]
    is_grid: bool = False
    note: str = ""


def render_page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> bytes:
    """Make the page.

    Args:
        title: of the page.
        sections: in order.
        subtitle: one line below the title.

    Returns:
        A UTF-8 HTML file.
    """
    page = _template().render(title=title, subtitle=subtitle, sections=list(sections))
    return page.encode()


def data_address(content: bytes) -> str:
    """A picture as an address that holds it.

    Raises:
        ValueError: if it is no PNG, JPEG or SVG.
    """
    for start, kind in SIGNATURES.items():
        if content.lstrip().startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    raise ValueError(
        f"Pages hold PNG, JPEG and SVG pictures, got a file that begins with {content[:8]!r}. "
        "Encode it first."
    )


def show_cell(value: Cell, digits: int) -> str:
    """A field as it is read.

    Example:
        >>> show_cell(12.345, 1), show_cell(None, 2), show_cell(12345, 2), show_cell(True, 0)
        ('12.3', '–', '12,345', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else value


def sort_key(value: Cell) -> str:
    """A field as the page's sorting reads it: numbers with all their digits, text as it is."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Any] = {"show": show_cell, "key": sort_key, "is_number": _is_number}
    environment.filters.update(filters)
    text = (files("panoptic_deeplab") / "page.html").read_text("utf-8")
    return environment.from_string(text)


def _is_number(value: Cell) -> bool:
    return value is None or isinstance(value, int | float)
