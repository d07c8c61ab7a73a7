"""The report as one HTML page that needs nothing else: words, tables, bars and pictures."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from panoptic_deeplab.captions import Picture
from panoptic_deeplab.doctor.pictures import as_jpeg, draw_example, draw_finding
from panoptic_deeplab.doctor.report import Group, Report

PICTURES = 3
"""Drawn per kind of fault."""

EXAMPLES = 4
"""Images drawn per split, evenly spread, to look at the labels as they are."""

_PLACES = 50  # listed per kind of fault
_NUMBER = ' class="number"'
_SIZES = 8  # sizes of images listed per split

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{margin-bottom:0}h2{margin-top:2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.15em .7em;text-align:right}
td:first-child,th:first-child,td.bars{text-align:left}td.number{white-space:nowrap}tr:nth-child(even){background:#f6f6f6}
th{border-bottom:1px solid #999}img{max-width:100%;margin:.3em .4em .3em 0}
.bar{display:inline-block;height:.7em;background:#4a7fb5;vertical-align:middle}
.error{border-left:6px solid #c62828}.warning{border-left:6px solid #ef9a00}
.note{border-left:6px solid #78909c}.fault{padding:.2em 1em;margin:1em 0;background:#fafafa}
.fault h3{margin:.3em 0}.tag{font-size:.8em;text-transform:uppercase;color:#666}
dl{display:grid;grid-template-columns:6em 1fr;gap:.2em 1em;margin:.5em 0}dt{color:#666}
dd{margin:0}details{margin:.4em 0}code{background:#eee;padding:0 .2em;word-break:break-all}
"""


def write_page(report: Report) -> str:
    """The whole page."""
    body = [
        f"<h1>Data check</h1><p><code>{escape(report.root)}</code>, format "
        f"<code>{escape(report.format)}</code></p>",
        f"<p><strong>{escape(report.verdict)}</strong></p>",
        "<h2>Faults</h2>",
        *(_fault(report, group) for group in report.groups),
        "" if report.groups else "<p>None was found.</p>",
        "<h2>Splits</h2>",
        _splits(report),
        "<h2>Classes</h2>",
        _classes(report),
        "<h2>Sizes of things</h2>",
        *(_areas(report, split) for split in report.splits),
        "<h2>Examples</h2>",
        *(_examples(report, split) for split in report.splits),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Data check</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _fault(report: Report, group: Group) -> str:
    fault = group.fault
    rows = [("training", fault.training), ("PQ", fault.quality), ("do", fault.remedy)]
    if fault.repair:
        rows.append(("--fix", fault.repair))
    words = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows)
    places = [f"<li>{escape(f.what)}</li>" for f in group.findings[:_PLACES]]
    if len(group.findings) > _PLACES:
        places.append(f"<li>and {len(group.findings) - _PLACES} more; --json has all</li>")
    images = f" in {group.images} images" if group.images else ""
    return (
        f'<div class="fault {fault.severity}"><span class="tag">{fault.severity}</span>'
        f"<h3>{escape(fault.title)} ({group.count}{images})</h3><dl>{words}</dl>"
        f"<details{' open' if len(places) <= 5 else ''}><summary>where</summary>"
        f"<ul>{''.join(places)}</ul></details>{_pictures(report, group)}</div>"
    )


def _pictures(report: Report, group: Group) -> str:
    drawn: list[str] = []
    for finding in group.findings:
        if len(drawn) == PICTURES:
            break
        picture = draw_finding(report.splits, finding)
        if picture is not None:
            drawn.append(_image(picture, f"{group.fault.title}: {finding.image_id}"))
    return "".join(drawn)


def _splits(report: Report) -> str:
    rows = []
    for split in report.splits:
        numbers = report.summary(split)
        sizes = [f"{h}x{w} ({n})" for h, w, n in numbers["sizes"][:_SIZES]]
        more = ", ..." if len(numbers["sizes"]) > _SIZES else ""
        mean, most = numbers["things_per_image"]
        rows.append(
            (
                split, numbers["images"], numbers["readable"], numbers["things"],
                f"{mean} ({most})", numbers["in_parts"], numbers["median_thing_area_px"],
                numbers["stuff"], numbers["crowd"], f"{100 * numbers['void_share']:.1f} %",
                ", ".join(sizes) + more,
            )
        )  # fmt: skip
    columns = (
        "split", "images", "usable", "things", "per image (most)", "in several parts",
        "median px", "stuff", "crowd", "void", "height x width",
    )  # fmt: skip
    return _table(columns, rows)


def _classes(report: Report) -> str:
    columns = ["class", "kind"]
    for split in report.splits:
        columns += [f"{split}: images", "segments", "crowd", "pixels", ""]
    rows = []
    for row in report.classes():
        cells: list[Any] = [row["name"], "thing" if row["is_thing"] else "stuff"]
        for split in report.splits:
            found = row.get(split)
            if found is None:
                cells += ["", "", "", "", ""]
                continue
            share = 100 * found["pixel_share"]
            cells += [found["images"], found["segments"], found["crowd"], f"{share:.2f} %"]
            cells.append(
                _Markup(f'<span class="bar" style="width:{max(1, 2 * share):.0f}px"></span>')
            )
        rows.append(cells)
    return _table(columns, rows)


def _areas(report: Report, split: str) -> str:
    """How many things there are of each size, by powers of two of their area."""
    things = report.splits[split].labels.thing_ids
    rows = np.concatenate([f.segments for f in report.facts[split]] or [np.zeros((0, 4), np.int64)])
    areas = rows[np.isin(rows[:, 0], things) & (rows[:, 2] == 0), 1]
    if not areas.size:
        return f"<p>{escape(split)}: no things.</p>"
    steps = np.bincount(np.log2(areas).astype(int))
    cells = [
        (
            f"{2**i} to {2 ** (i + 1) - 1} px",
            int(count),
            _Markup(f'<span class="bar" style="width:{400 * count / steps.max():.0f}px"></span>'),
        )
        for i, count in enumerate(steps.tolist())
        if count
    ]
    return _table((f"{split}: area", "things", ""), cells)


def _examples(report: Report, split: str) -> str:
    count = len(report.splits[split])
    places = np.unique(np.linspace(0, count - 1, min(count, EXAMPLES)).astype(int)).tolist()
    drawn = ((i, draw_example(report.splits[split], i)) for i in places)
    return "".join(_image(p, f"{split} {i}") for i, p in drawn if p is not None)


class _Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _table(columns: Iterable[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(c)}</th>" for c in columns)
    lines = (
        "<tr>"
        + "".join(
            f'<td class="bars">{c}</td>'
            if isinstance(c, _Markup)
            else f"<td{_NUMBER if str(c)[:1].isdigit() else ''}>{escape(str(c))}</td>"
            for c in row
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _image(picture: Picture, text: str) -> str:
    content = b64encode(as_jpeg(picture)).decode("ascii")
    return f'<img alt="{escape(text)}" src="data:image/jpeg;base64,{content}">'
