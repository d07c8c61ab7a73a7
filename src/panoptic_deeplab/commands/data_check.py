"""`data check`: the data doctor."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from panoptic_deeplab.commands.sources import data_config, format_name
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import as_json, make_folder, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show, show_progress

if TYPE_CHECKING:
    from panoptic_deeplab.data.format import Source
    from panoptic_deeplab.doctor import Report


@dataclass(frozen=True)
class DataCheck:
    """Look for faults in a data set, say what each will do, and repair a copy of it."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of a data set of any format, or a tar."""
    format: str = "auto"
    """Format to read, if the folder could be several things."""
    splits: tuple[str, ...] = ()
    """Which parts; default: train, val and test as far as they are there."""
    html: Path | None = None
    """Write the report with pictures as one page."""
    fix: Path | None = None
    """New folder for a repaired copy; the data set itself is never changed."""
    overlap: Literal["smaller", "file"] = "smaller"
    """Where instances overlap: the smaller lies above, or the later one of the file."""
    val_fraction: float = 0.2
    """Share held out as val where the data come without splits."""
    split_seed: int = 0
    """Which images these are."""
    workers: int = 0
    """Processes; 0: one per processor."""
    json: Flag = False
    """Print the report as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def check_data(options: DataCheck) -> int:
    """Examine; exit code 1 if there are errors, 0 if there are none."""
    from panoptic_deeplab.data.formats import source_of
    from panoptic_deeplab.doctor.repair import check_target, repair
    from panoptic_deeplab.doctor.repair import sentences as told

    if options.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {options.workers}.")
    config = data_config(
        DataConfig(
            format=format_name(options.format),
            overlap=options.overlap,
            val_fraction=options.val_fraction,
            split_seed=options.split_seed,
        ),
        str(options.data),
    )
    source = source_of(config, "val")
    # What would fail at the end is better said before the images are read.
    if options.fix is not None:
        check_target(source, options.fix)
    if options.html is not None:
        make_folder(options.html.parent)
    report = _examine(config.format, source, options)
    if not options.json:
        _say(report, options)
    repaired = None
    if options.fix is not None:
        with show_progress() as progress:
            repaired = repair(
                report, source, options.fix, workers=options.workers, progress=progress
            )
    if options.json:
        plain = report.to_dict()
        if repaired is not None:
            plain["repair"] = repaired.to_dict()
        print(as_json(plain).decode())
    elif repaired is not None:
        print(f"repaired copy: {repaired.target}")
        for line in told(repaired):
            print(f"  {line}")
    return 1 if report.has_errors else 0


def _examine(format_: str, source: "Source", options: DataCheck) -> "Report":
    from panoptic_deeplab.doctor import check
    from panoptic_deeplab.doctor.page import write_page

    with show_progress() as progress:
        report = check(
            format_, source, splits=options.splits, workers=options.workers, progress=progress
        )
        if options.html is not None:
            write_whole(options.html, write_page(report).encode())
    return report


def _say(report: "Report", options: DataCheck) -> None:
    from panoptic_deeplab.doctor.report import sentences

    show(tables(report))
    for line in [*sentences(report), report.verdict]:
        print(line)
    if options.html is not None:
        print(f"page: {options.html}")


def tables(report: "Report") -> list[Table]:
    """Splits, classes, and the kinds of faults."""
    splits = Table(
        "split", "images", "usable", "things", "per image", "most", "in parts", "median px",
        "stuff", "crowd", "void", title=f"{report.root} ({report.format})", title_justify="left",
    )  # fmt: skip
    for name in report.splits:
        n = report.summary(name)
        mean, most = n["things_per_image"]
        cells = (
            n["images"], n["readable"], n["things"], mean, most, n["in_parts"],
            n["median_thing_area_px"], n["stuff"], n["crowd"], f"{100 * n['void_share']:.1f} %",
        )  # fmt: skip
        splits.add_row(name, *map(str, cells))
    classes = Table("class", "kind", title="Classes", title_justify="left")
    for name in report.splits:
        for column in (f"{name}: images", "segments", "pixels"):
            classes.add_column(column, justify="right")
    for row in report.classes():
        if not any(row[name]["images"] for name in report.splits if name in row):
            continue  # they are one line among the faults
        texts: list[str] = []
        for name in report.splits:
            found = row.get(name, {"images": "", "segments": "", "pixel_share": 0.0})
            share = f"{100 * found['pixel_share']:.2f} %"
            texts += [str(found["images"]), str(found["segments"]), share]
        classes.add_row(row["name"], "thing" if row["is_thing"] else "stuff", *texts)
    faults = Table("severity", "fault", "count", "images", title="Faults", title_justify="left")
    for group in report.groups:
        images = str(group.images or "")
        faults.add_row(group.fault.severity, group.fault.title, str(group.count), images)
    return [splits, classes, faults] if report.groups else [splits, classes]
