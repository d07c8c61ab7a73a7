"""`report`: the page of a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from panoptic_deeplab.files import check_place, write_whole
from panoptic_deeplab.options import Flag


@dataclass(frozen=True)
class ReportOptions:
    """Make one HTML page of a training run: curves, results, pictures, settings, concerns."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run, finished or not."""
    out: Path | None = None
    """The page; default: report.html in the run's folder."""
    debug: Flag = False
    """Show the traceback of an error."""


def report(options: ReportOptions) -> int:
    """Write the page and print its path."""
    from panoptic_deeplab.run_page import run_page

    out = options.out or options.run / "report.html"
    content = run_page(options.run)
    write_whole(check_place(out), content)
    print(out)
    return 0
