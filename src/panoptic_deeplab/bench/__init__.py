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


@dataclass(frozen=True)
class Data:
    """Training images: each stage on one core, and whether the loader keeps a network fed."""

    data: str = ""
    """Folder of a data set, whose training split is read; empty: drawn scenes."""
    pictures: Literal["png", "jpg"] = "png"
    """Kind of file of the drawn scenes."""
    size: tuple[int, int] = (1024, 2048)
    """Height and width of the drawn scenes in pixels."""
    crop: tuple[int, int] = (512, 1024)
    """Height and width of training images in pixels."""
    images: int = 64
    """How many are read for each measurement."""
    batch: int = 4
    """Images per step."""
    workers: int = 0
    """Processes of the loader; 0: one per core."""
    cache_mb: int = 0
    """Decoded images that the loader keeps in memory; stages are measured without."""
    network_ms: float = 50.0
    """What the stand-in for a network takes for an image."""
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


def _data(options: Data, progress: Progress) -> "Result":
    from panoptic_deeplab.bench.data import bench_data

    return bench_data(
        data=options.data,
        pictures=options.pictures,
        size=options.size,
        crop=options.crop,
        images=options.images,
        batch=options.batch,
        workers=options.workers,
        cache_mb=options.cache_mb,
        network_ms=options.network_ms,
        progress=progress,
    )


BENCHES: dict[str, tuple[Any, Callable[[Any, Progress], "Result"]]] = {
    "data": (Data, _data),
    "decoders": (Decoders, _decoders),
}
"""Name to options, which have `json` and `debug`, and function."""
