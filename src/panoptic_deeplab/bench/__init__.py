"""What `panoptic-deeplab bench` can measure: a table of names.

A new bench is a file with a function that returns a `Result`, a dataclass of its options here,
and a line in `BENCHES`. Heavy modules are imported inside the functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.progress import Progress

from panoptic_deeplab.options import Flag

if TYPE_CHECKING:
    from panoptic_deeplab.bench.base import Result

__all__ = ["BENCHES"]


@dataclass(frozen=True)
class Decoders:
    """Compare both decoders on one backbone: parameters, multiply-adds, time on the CPU.

    The paper's comparison: --backbone xception71 --size 1025 2049.
    """

    backbone: str = "mobilenet_v3_large_reduced"
    """A name such as xception71, or timm:NAME. The default is light, so decoders show."""
    size: tuple[int, int] = (513, 1025)
    """Height and width of the image in pixels."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per pixel of the backbone's last map; Auto-DeepLab has 8."""
    classes: int = 19
    """Number of classes."""
    rounds: int = 10
    """How often each is timed, in turn with the other."""
    threads: int = 0
    """Of torch; 0: its own choice."""
    json: Flag = False
    """Print the result as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def _decoders(options: Decoders, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.decoders import compare_decoders

    return compare_decoders(
        backbone=options.backbone,
        output_stride=options.output_stride,
        size=options.size,
        num_classes=options.classes,
        rounds=options.rounds,
        num_threads=options.threads,
        progress=progress,
    )


BENCHES: dict[str, tuple[Any, Callable[[Any, Progress], "Result"]]] = {
    "decoders": (Decoders, _decoders),
}
"""Name to options, which have `json` and `debug`, and function."""
