"""Options of commands that run networks: which weights, and how they look at an image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from panoptic_deeplab.options import Flag

if TYPE_CHECKING:
    from panoptic_deeplab.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Which weights, and how they look at an image."""

    weights: str = "default"
    """A name (see weights list), a file such as runs/mine/model.safetensors, a web address, or
    hf://ORG/REPO."""
    ensemble: tuple[str, ...] = ()
    """Further weights for the same classes, whose heads are averaged with those of --weights."""
    shares: tuple[float, ...] = ()
    """How much each network of the ensemble counts, that of --weights first; default: all alike."""
    scales: tuple[float, ...] = ()
    """Show images at several sizes and average; the paper's are 0.5 0.75 1 1.25 1.5 1.75 2. Each is
    a factor of the size that the weights ask for."""
    flip: Flag = False
    """Show images mirrored as well."""
    no_flip: Flag = False
    """Do not, even if the weights ask for it: half the time, a point of PQ less or so."""
    tile: int | None = None
    """Look at larger images in tiles of this side, so that memory does not grow with them; 1024 is
    a good size. 0: never. Default: what the weights ask for."""
    tile_overlap: int | None = None
    """Of neighbouring tiles, in pixels; larger than what should not be cut."""


def load_predictor(options: Networks) -> "Predictor":
    """Load what the options ask for.

    Raises:
        ValueError: as `load_ensemble`, or if a scale is out of range.
    """
    from panoptic_deeplab.predict import load, load_ensemble

    if any(not 0 < scale <= 8 for scale in options.scales):
        raise ValueError(
            f"--scales takes factors above 0 and up to 8, got {' '.join(map(str, options.scales))}."
        )
    if options.flip and options.no_flip:
        raise ValueError("--flip and --no-flip exclude each other. Leave one out.")
    if options.shares and not options.ensemble:
        raise ValueError(
            "--shares weighs the networks of an ensemble. Name the others: --ensemble."
        )
    predictor = (
        load_ensemble((options.weights, *options.ensemble), shares=options.shares)
        if options.ensemble
        else load(options.weights)
    )
    changes: dict[str, object] = {}
    if options.flip or options.no_flip:
        changes["flip"] = options.flip
    for name in ("scales", "tile", "tile_overlap"):
        if getattr(options, name) not in (None, ()):
            changes[name] = getattr(options, name)
    settings = predictor.inference.model_dump() | changes
    predictor.inference = type(predictor.inference).model_validate(settings)
    predictor.check_settings()
    return predictor
