"""`data submit`: predictions as a zip that an evaluation server takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from panoptic_deeplab.commands.data_convert import pairs_of
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show_progress


@dataclass(frozen=True)
class DataSubmit:
    """Pack predictions for an evaluation server: Cityscapes, COCO panoptic, Mapillary Vistas."""

    predictions: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTIONS")]
    """Folder that `predict` or `evaluate --save` wrote, or the list in it."""
    out: Path
    """The zip; it appears when it has passed the check."""
    to: str
    """cityscapes-semantic, -instance or -panoptic, coco-panoptic, mapillary-semantic, -instance or
    -panoptic."""
    pictures: Path | None = None
    """Folder of the split's pictures: then every one of them must have a result."""
    rename: tuple[str, ...] = ()
    """Classes under other names, as OLD=NEW."""
    drop: tuple[str, ...] = ()
    """Classes that become void; '*' for all that the benchmark does not have."""
    json: Flag = False
    """Print the counts as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def submit_data(options: DataSubmit) -> int:
    """Write and check the zip."""
    from panoptic_deeplab.data.pictures import ENDINGS
    from panoptic_deeplab.data.predictions import Predictions
    from panoptic_deeplab.data.submit import find_server, write_submission

    find_server(options.to)
    if options.out.suffix != ".zip":
        raise ValueError(f"--out must be a .zip, got {options.out}. Name it, say, results.zip.")
    expected = []
    if options.pictures is not None:
        found = (p for p in options.pictures.rglob("*") if p.suffix.lower() in ENDINGS)
        expected = sorted(p.stem.removesuffix("_leftImg8bit") for p in found)
        if not expected:
            raise FileNotFoundError(f"{options.pictures}: expected pictures, found none.")
    with show_progress() as progress:
        counts = write_submission(
            Predictions(options.predictions),
            options.out,
            options.to,
            expected=expected,
            rename=pairs_of(options.rename),
            drop=options.drop,
            progress=progress,
        )
    if options.json:
        print(json.dumps({"file": str(options.out), **counts}))
        return 0
    text = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"{options.out}: {options.to}, {text}, checked")
    return 0
