"""Weights from wherever they are, this package's or another publisher's, read and recognised."""

from pathlib import Path

from panoptic_deeplab.backbone_weights import BackboneWeights, read_backbone
from panoptic_deeplab.checkpoint import Checkpoint, load_checkpoint, own_kind
from panoptic_deeplab.convert import convert
from panoptic_deeplab.hub import resolve


def find_checkpoint(source: str | Path) -> Checkpoint:
    """Read weights from wherever `hub.resolve` finds them; arguments and errors as for `load`."""
    found = find_weights(source)
    if isinstance(found, Checkpoint):
        return found
    raise ValueError(
        f"{source} is a backbone alone ({found.config.backbone}): the heads behind it were never "
        "trained, so it cannot predict. Train a network that starts from it: --run.start-from."
    )


def find_weights(source: str | Path) -> Checkpoint | BackboneWeights:
    """Read this package's or another publisher's weights, of a whole model or a backbone alone.

    Args:
        source: as for `load`.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if the file is damaged or of no known origin.
        OSError: if it cannot be fetched.
    """
    path = resolve(source)
    kind = own_kind(path)
    if kind is None:
        return convert(path)
    return read_backbone(path) if kind == "backbone" else load_checkpoint(path)
