"""`bench`: what is timed against what; the table is `bench.BENCHES`."""

from typing import Any

from rich.table import Table

from panoptic_deeplab.bench import run_bench
from panoptic_deeplab.files import as_json
from panoptic_deeplab.terminal import show, show_progress


def bench(name: str, options: Any) -> int:
    """Time one of `bench.BENCHES` and print its table or JSON."""
    with show_progress() as progress:
        result = run_bench(name, options, progress)
    if options.json:
        print(as_json({"bench": name, **result.plain}).decode())
        return 0
    table = Table(title=result.title, title_justify="left")
    for i, column in enumerate(result.columns):
        table.add_column(column, justify="right" if i else "left")
    for row in result.rows:
        table.add_row(*row)
    show([table])
    return 0
