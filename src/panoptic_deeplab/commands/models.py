"""`models`: the networks of the paper, counted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from panoptic_deeplab.files import as_json, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show, show_progress

_FAMILY_WIDTH = 155  # of the widest table, in a file or a pipe


@dataclass(frozen=True)
class Models:
    """List the networks of the paper: parameters, multiply-adds, what was published."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """One network, by main parts; without it, all."""
    write: Path | None = None
    """Renew the tables of this Markdown page instead, such as docs/models.md."""
    json: Flag = False
    """Print the list as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def models(options: Models) -> int:
    """List the family, or one network by its parts."""
    from panoptic_deeplab.family import FAMILY
    from panoptic_deeplab.family_docs import renew
    from panoptic_deeplab.family_report import (
        count_entry,
        family_table,
        find_entries,
        notes,
        parts_table,
    )

    if options.write is not None:
        write_whole(options.write, renew(options.write.read_text()).encode())
        print(f"tables in {options.write} renewed")
        return 0
    entries = FAMILY if options.name is None else find_entries(options.name)
    with show_progress() as progress:
        counted = [
            count_entry(entry, with_parts=options.name is not None)
            for entry in progress.track(entries, description="counting")
        ]
    if options.json:
        print(as_json([c.to_dict() for c in counted]).decode())
        return 0
    show([family_table(counted)], file_width=_FAMILY_WIDTH)
    if options.name is not None:
        print(*notes(counted), sep="\n")
        show([parts_table(counted[0])])
    return 0
