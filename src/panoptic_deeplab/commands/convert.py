"""`convert`: another publisher's weights as one file of this package."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from panoptic_deeplab.files import as_json, check_place
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show

if TYPE_CHECKING:
    from panoptic_deeplab.convert import Renamed


@dataclass(frozen=True)
class Convert:
    """Write another publisher's weights as one file of this package, with a report."""

    source: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|NAME|URL|hf://ORG/REPO")
    ]
    """What to convert."""
    out: Path
    """File to write, such as cityscapes.safetensors."""
    origin: str | None = None
    """Where it is from, such as detectron2; default: whatever the names of its weights tell."""
    labels: Path | None = None
    """A labels.json with the classes; default: those of the data set that has as many."""
    half: Flag = False
    """Store weights in half precision, half the size."""
    names: Flag = False
    """List every weight by its name here and at its publisher."""
    json: Flag = False
    """Print the report as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def convert_weights(options: Convert) -> int:
    """Convert, write and report."""
    import torch

    from panoptic_deeplab.backbone_weights import BackboneWeights, save_backbone
    from panoptic_deeplab.checkpoint import own_kind, save_checkpoint
    from panoptic_deeplab.convert import completed, renamed_weights
    from panoptic_deeplab.data.label_file import read_labels
    from panoptic_deeplab.hub import resolve

    check_place(options.out)
    labels = read_labels(options.labels).labels if options.labels is not None else None
    path = resolve(options.source)
    if own_kind(path) is not None:
        raise ValueError(
            f"{path} is a file of this package already. `weights share --half` makes it smaller."
        )
    renamed = renamed_weights(path, options.origin)
    found = completed(renamed, labels)
    dtype = torch.float16 if options.half else torch.float32
    if isinstance(found, BackboneWeights):
        save_backbone(options.out, found, dtype=dtype)
    else:
        told = found.provenance
        save_checkpoint(options.out, found.model, found.labels, found.experiment, told, dtype=dtype)
    report = _report(renamed, options)
    if options.json:
        print(as_json(report).decode())
        return 0
    table = Table(title="converted", title_justify="left", show_header=False)
    for key in ("origin", "holds", "weights", "numbers", "left out", "settings", "written"):
        table.add_row(key, _words(report[key]))
    tables = [table]
    if options.names:
        names = Table("here", "there", "shape", title="names", title_justify="left")
        for ours, theirs in renamed.names.items():
            if ours in renamed.tensors:
                shape = " x ".join(map(str, renamed.tensors[ours].shape))
                names.add_row(ours, theirs, shape)
        tables.append(names)
    show(tables)
    return 0


def _report(renamed: "Renamed", options: Convert) -> dict[str, Any]:
    from panoptic_deeplab.convert import CONVERTERS

    ours = renamed.tensors
    return {
        "origin": f"{renamed.origin}: {CONVERTERS[renamed.origin].title}",
        "holds": "a backbone alone, to start training from" if renamed.is_backbone else "a model",
        "weights": len(ours),
        "numbers": sum(tensor.numel() for tensor in ours.values()),
        "left out": sorted(renamed.names[f"classifier.{name}"] for name in renamed.classifier),
        "settings": renamed.model,
        "names": {renamed.names[name]: name for name in ours if name in renamed.names},
        "written": str(options.out),
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {one}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    return f"{value:,}" if isinstance(value, int) else str(value)
