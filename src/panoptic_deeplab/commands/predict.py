"""`predict`: image files in, a folder of results out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from panoptic_deeplab.commands.networks import Networks, load_predictor
from panoptic_deeplab.files import as_json
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import FAILED, show_progress


@dataclass(frozen=True)
class Predict(Networks):
    """Segment images: panoptic PNGs, one COCO list, and overlays to look at."""

    inputs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE|FOLDER|PATTERN ...")
    ]
    """Image files, folders of images, or patterns such as 'photos/*.jpg'."""
    out: Path
    """Folder for the results; made if missing."""
    json: Flag = False
    """Print what was found as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def predict(options: Predict) -> int:
    """Predict; exit code 2 if any image could not be done."""
    from panoptic_deeplab.predict_files import find_images, predict_files

    paths = find_images(options.inputs)
    predictor = load_predictor(options)
    with show_progress() as progress:
        results = predict_files(predictor, paths, options.out, progress=progress)
    messages = Console(stderr=True)
    for sentence in results.failed.values():
        messages.print("[bold red]not done:[/]", end=" ")
        messages.print(sentence, markup=False, highlight=False, soft_wrap=True)
    if options.json:
        print(as_json(results.to_dict()).decode())
    else:
        where = f", results in {options.out}" if results.done else ""
        print(f"{len(results.done)} of {len(paths)} images done{where}")
    return FAILED if results.failed else 0
