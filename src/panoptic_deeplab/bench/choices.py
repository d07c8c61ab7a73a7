"""What can be chosen for each bench on the command line, and its small version for a first look."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from panoptic_deeplab.options import Flag

Choices = TypeVar("Choices")

QUICK: dict[str, Any] = {"size": (256, 512), "things": 20, "rounds": 2, "batch": 1}
"""What `--quick` puts in place of defaults: seconds instead of minutes."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """How a result is shown."""

    json: Flag = False
    """Print the result as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Timed(Printed):
    """Functions timed in turn."""

    rounds: int = 5
    """How often each is timed, in turn with the others."""
    quick: Flag = False
    """Small images and few rounds, for a first look; not to be quoted."""


@dataclass(frozen=True, kw_only=True)
class Drawn(Printed):
    """What a drawn scene holds."""

    size: tuple[int, int] = (1024, 2048)
    """Height and width of the image in pixels."""
    classes: int = 19
    """Number of classes."""
    things: int = 80
    """Things drawn; some may hide others."""


@dataclass(frozen=True, kw_only=True)
class Postprocess(Timed, Drawn):
    """From heads at stride 4 to segments: every back end against whole maps and masks."""

    backends: tuple[Literal["numba", "tensor", "plain"], ...] = ("numba", "tensor")
    """Which are measured; the first also on scenes of 20 and 200 things."""
    public_form: Flag = False
    """Time the public codes' centers x pixels tensor, too; it takes 2 GB."""


@dataclass(frozen=True, kw_only=True)
class Targets(Timed, Drawn):
    """From a full-size truth to targets: against one mask per segment."""

    backends: tuple[Literal["numba", "plain"], ...] = ("numba", "plain")
    """Which are measured."""


@dataclass(frozen=True, kw_only=True)
class Metrics(Timed, Drawn):
    """Matching and all metrics of one image: against one mask per pair of segments."""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Drawn):
    """Saved predictions of many images, from files to a report: against the public tools' form."""

    images: int = 100
    """Pairs of truth and prediction."""
    workers: tuple[int, ...] = (1, 2, 4)
    """Numbers of processes to measure."""


@dataclass(frozen=True, kw_only=True)
class Network(Timed):
    """The network on one core: as built against the form made for predicting."""

    backbone: str = "resnet52"
    """A name such as xception71, or timm:NAME."""
    size: tuple[int, int] = (512, 1024)
    """Height and width of the image in pixels."""
    classes: int = 19
    """Number of classes."""
    bfloat16: Flag = False
    """Time bfloat16 too; slow on processors without instructions for it."""


@dataclass(frozen=True, kw_only=True)
class Device(Timed, Drawn):
    """On a GPU: the network and grouping by tensors alone, against moving bytes once."""

    device: str = ""
    """Torch's name, such as cuda:1; empty: a GPU if there is one, else the CPU."""
    backbone: str = "resnet52"
    """A name such as xception71, or timm:NAME."""


@dataclass(frozen=True, kw_only=True)
class Decoders(Timed):
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
    threads: int = 0
    """Of torch; 0: its own choice."""


@dataclass(frozen=True, kw_only=True)
class Depthwise(Timed):
    """A training step of depthwise convolutions: our gradients against torch's."""

    batch: int = 8
    """Images per step."""
    bfloat16: Flag = False
    """In bfloat16 instead of float32; slow on processors without instructions for it."""


@dataclass(frozen=True, kw_only=True)
class Data(Printed):
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


@dataclass(frozen=True, kw_only=True)
class Train(Printed):
    """Full training steps, from files to new weights: against a plain loop."""

    backbones: tuple[str, ...] = ("mobilenet_v3_large", "resnet50", "xception41")
    """Names such as xception71, or timm:NAME."""
    crop: tuple[int, int] = (257, 513)
    """Height and width of training images in pixels."""
    batch: int = 4
    """Images per step."""
    steps: int = 3
    """Timed together as a block."""
    rounds: int = 3
    """Blocks of each form, in turn with the others."""
    workers: int = 1
    """Processes of the loader; the default is that of training."""
    threads: int = 0
    """Of torch; 0: its own choice."""
    device: str = "cpu"
    """Torch's name, such as cuda."""
    compile: Flag = False
    """Time the compiled network too; torch compiles for a minute and more in front of the first."""


def without_quick(options: Choices) -> Choices:
    """Replace `quick` by what it means: values that were not chosen become those of `QUICK`."""
    if not getattr(options, "quick", False):
        return options
    small: Any = {
        field.name: QUICK[field.name]
        for field in fields(options)  # type: ignore[arg-type]
        if field.name in QUICK and getattr(options, field.name) == field.default
    }
    return replace(options, quick=False, **small)  # type: ignore[type-var]
