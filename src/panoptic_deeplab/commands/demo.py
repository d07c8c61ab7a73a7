"""`demo`: the first thing to try."""

from dataclasses import dataclass
from pathlib import Path

from panoptic_deeplab.commands.evaluate import print_report
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show_progress


@dataclass(frozen=True)
class Demo:
    """Predict street scenes the default weights have never seen: a table and pictures."""

    out: Path = Path("demo")
    """Folder for the pictures; made if missing."""
    images: int = 50
    """Number of scenes."""
    weights: str = "default"
    """A name, a file, a web address, or hf://ORG/REPO; of weights trained on drawn scenes."""
    json: Flag = False
    """Print the report as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def demo(options: Demo) -> int:
    """Predict held-out scenes; print the report and the pictures' paths."""
    from panoptic_deeplab.demo import run_demo
    from panoptic_deeplab.predict import load

    predictor = load(options.weights)
    with show_progress() as progress:
        report, written = run_demo(predictor, options.out, images=options.images, progress=progress)
    print_report(report, options.json)
    if not options.json:
        print("written:", *(f"  {path}" for path in written), sep="\n")
    return 0
