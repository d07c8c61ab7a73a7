"""What the commands share: tables and JSON on stdout, progress and log on stderr."""

import logging
from collections.abc import Iterable

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

FAILED, INTERRUPTED = 2, 130
"""Exit codes."""

FILE_WIDTH = 120
"""Columns of tables that go into a file or a pipe."""


def show(tables: Iterable[Table], *, file_width: int = FILE_WIDTH) -> None:
    """Print tables, as wide as the terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=file_width)
    for table in tables:
        console.print(table)


def show_progress(level: int = logging.WARNING) -> Progress:
    """A bar with the time left, on stderr, and none where nobody watches; the log above it."""
    console = Console(stderr=True)
    watched = console.is_terminal
    log: logging.Handler = logging.StreamHandler()  # one line per message in a file
    if watched:
        log = RichHandler(console=console, show_path=False)
    form = "%(message)s" if watched else "%(asctime)s %(message)s"
    logging.basicConfig(level=level, format=form, handlers=[log], force=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not watched,
    )
