"""`video`: the frames of a video, a camera or a folder, with segments and ids that last."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from panoptic_deeplab.commands.networks import Networks, load_predictor
from panoptic_deeplab.files import as_json
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import INTERRUPTED, show, show_progress


@dataclass(frozen=True)
class Video(Networks):
    """Segment a video, a camera or a folder of frames; things keep their ids over frames."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER|camera:0")]
    """A video file, a folder or pattern of frames, or camera:N."""
    out: Path
    """A video (.mp4 or .avi) with overlays, or a folder for PNGs, one COCO list, and overlays."""
    frames: int = 0
    """Most frames; 0: all. A camera goes on until Ctrl-C."""
    json: Flag = False
    """Print what was done as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def video(options: Video) -> int:
    """Predict the frames; exit code 130 if it was interrupted, with what there is kept."""
    from panoptic_deeplab.video import open_frames, predict_video

    if options.frames < 0:
        raise ValueError(f"--frames must be 0 (all) or more, got {options.frames}.")
    place, colon, number = options.source.partition(":")
    is_camera = place == "camera" and bool(colon)
    if is_camera and not number.isdecimal():
        raise ValueError(f"A camera is named camera:0, camera:1, ..., got {options.source!r}.")
    source = open_frames(int(number) if is_camera else options.source)
    predictor = load_predictor(options)
    with show_progress() as progress:
        summary = predict_video(
            predictor, source, options.out, most=options.frames, progress=progress
        )
    if options.json:
        print(as_json(summary.to_dict()).decode())
    else:
        table = Table(show_header=False)
        for key, value in summary.to_dict().items():
            shown = f"{value:.2f}" if isinstance(value, float) else str(value)
            table.add_row(key.replace("_", " "), shown)
        show([table])
    return INTERRUPTED if summary.interrupted else 0
