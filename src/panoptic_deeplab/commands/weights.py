"""`weights`: list, get, show, share and average weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from panoptic_deeplab.files import as_json, check_place, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show

if TYPE_CHECKING:
    from panoptic_deeplab.hub.contents import Contents

_LIST_WIDTH = 150  # of the catalogue, in a file or a pipe

_KEPT = ("data", "licence", "credit")
"""Provenance that holds for a mean as for its parts; results do not."""

_SOURCE = tyro.conf.arg(metavar="FILE|NAME|URL|hf://ORG/REPO")


@dataclass(frozen=True)
class WeightsList:
    """List the weights known by name: source, licence, published results, and what is here."""

    write: Path | None = None
    """Renew the table of this Markdown page instead, such as docs/weights.md."""
    json: Flag = False
    """Print the list as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class WeightsGet:
    """Fetch weights into the cache and print their path."""

    source: Annotated[str, tyro.conf.Positional, _SOURCE]
    """What to fetch; a web address may end in #sha256=HEX to verify it."""
    json: Flag = False
    """Print source, path and size as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class WeightsShow:
    """Show what a file of weights holds, without loading it into a model."""

    source: Annotated[str, tyro.conf.Positional, _SOURCE]
    """Whose contents."""
    tensors: Flag = False
    """List every tensor too."""
    json: Flag = False
    """Print all as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class WeightsShare:
    """Write weights with a model card into a folder, or publish them at Hugging Face."""

    source: Annotated[str, tyro.conf.Positional, _SOURCE]
    """What to share."""
    to: str
    """A folder, or hf://ORG/REPO."""
    licence: str | None = None
    """Licence of the weights, for the card and the file; default: what the file says."""
    half: Flag = False
    """Store weights in half precision, half the size."""
    private: Flag = False
    """Make a new repository closed to others."""
    json: Flag = False
    """Print where it went as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class WeightsAverage:
    """Average weights of one network, such as snapshots of a run, into one file."""

    sources: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE|NAME|URL ...")
    ]
    """Two or more, of the same network and classes."""
    out: Path
    """File for the means, such as mean.safetensors."""
    shares: tuple[float, ...] = ()
    """How much each counts; default: all alike."""
    json: Flag = False
    """Print where it went as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def list_weights(options: WeightsList) -> int:
    """Print the catalogue."""
    from panoptic_deeplab.hub import place_of
    from panoptic_deeplab.hub.catalogue import published
    from panoptic_deeplab.weights_docs import cells, renew_weights

    if options.write is not None:
        write_whole(options.write, renew_weights(options.write.read_text()).encode())
        print(f"table in {options.write} renewed")
        return 0
    entries = list(published().values())
    here = {entry.name: str(place_of(entry)) for entry in entries if place_of(entry).is_file()}
    if options.json:
        print(as_json([e.to_dict() | {"here": here.get(e.name)} for e in entries]).decode())
        return 0
    table = Table()
    for name in ("name", "backbone", "trained on"):
        table.add_column(name, no_wrap=name == "name")
    for name in ("PQ", "AP", "mIoU"):
        table.add_column(name, justify="right")
    for name in ("source", "licence", "here"):
        table.add_column(name, no_wrap=name == "here", overflow="fold")
    for entry in entries:
        how = "yes" if entry.name in here else "by weights get" if entry.url else "by browser"
        table.add_row(*cells(entry)[:-1], how)
    show([table], file_width=_LIST_WIDTH)
    return 0


def get_weights(options: WeightsGet) -> int:
    """Fetch, and print the path alone, so that scripts can use it."""
    from panoptic_deeplab.hub import resolve

    path = resolve(options.source)
    if options.json:
        told = {"source": options.source, "path": str(path), "size_bytes": path.stat().st_size}
        print(as_json(told).decode())
    else:
        print(path)
    return 0


def show_weights(options: WeightsShow) -> int:
    """Print what a file's header says."""
    from panoptic_deeplab.hub import resolve
    from panoptic_deeplab.hub.contents import read_contents

    contents = read_contents(resolve(options.source))
    if options.json:
        print(as_json(contents.to_dict()).decode())
        return 0
    tables = [_overview(contents), *_classes(contents), *_origin(contents)]
    if options.tensors:
        table = Table("tensor", "shape", "kind", title="tensors", title_justify="left")
        for tensor in contents.tensors:
            table.add_row(tensor.name, " x ".join(map(str, tensor.shape)), tensor.kind)
        tables.append(table)
    show(tables)
    return 0


def share_weights(options: WeightsShare) -> int:
    """Write the folder, or publish it."""
    import torch

    from panoptic_deeplab.find_weights import find_checkpoint
    from panoptic_deeplab.hub.huggingface import SCHEME
    from panoptic_deeplab.hub.pretrained import push_to_hub, save_pretrained

    checkpoint = find_checkpoint(options.source)
    if options.licence is not None:
        checkpoint.provenance["licence"] = options.licence
    dtype = torch.float16 if options.half else torch.float32
    if options.to.startswith(SCHEME):
        written = [
            push_to_hub(checkpoint, options.to, private=options.private or None, dtype=dtype)
        ]
    else:
        written = [str(path) for path in save_pretrained(checkpoint, options.to, dtype=dtype)]
    if options.json:
        print(as_json({"written": written}).decode())
    else:
        print("written:", *(f"  {path}" for path in written), sep="\n")
    return 0


def _overview(contents: "Contents") -> Table:
    table = _pairs("file")
    table.add_row("path", str(contents.path))
    table.add_row("size", f"{contents.size_bytes / 1e6:,.1f} MB")
    version = f", version {contents.format_version}" if contents.format_version else ""
    kind = f", {contents.kind}" if contents.kind else ""
    table.add_row("format", f"{contents.format}{kind}{version}")
    if contents.origin:
        table.add_row("origin", contents.origin)
    experiment = contents.header.get("experiment")
    if isinstance(experiment, dict):
        model = experiment.get("model", {})
        table.add_row("experiment", str(experiment.get("name", "")))
        table.add_row("backbone", str(model.get("backbone", "")))
        table.add_row("output stride", str(model.get("output_stride", "")))
    numbers = sum(contents.kinds.values())
    table.add_row("tensors", f"{len(contents.tensors)} with {numbers:,} numbers")
    table.add_row("kinds", ", ".join(f"{k} {n:,}" for k, n in contents.kinds.items()))
    table.add_row("parts", ", ".join(f"{k} {n:,}" for k, n in contents.parts.items()))
    return table


def _classes(contents: "Contents") -> list[Table]:
    labels = contents.header.get("labels")
    if not isinstance(labels, dict):
        return []
    table = Table("id", "class", "", title=f"classes of {labels.get('name')}", title_justify="left")
    for one in labels.get("classes", []):
        kind = "thing" if one.get("is_thing") else "stuff"
        table.add_row(str(one.get("dataset_id")), str(one.get("name")), kind)
    return [table]


def _origin(contents: "Contents") -> list[Table]:
    from panoptic_deeplab.hub.card import figures

    told = contents.header.get("provenance") or contents.header.get("header")
    if not isinstance(told, dict):
        return []
    table = _pairs("provenance")
    for key, value in told.items():
        found = figures(value) if key == "metrics" else {}
        shown = ", ".join(f"{name} {v:.1f}" for name, v in found.items()) or _plain(value)
        table.add_row(key, shown)
    return [table]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items() if v not in ("", None))
    return str(value)


def _pairs(title: str) -> Table:
    return Table(title=title, title_justify="left", show_header=False)


def average_into_file(options: WeightsAverage) -> int:
    """Write the means, with the first one's settings."""
    from panoptic_deeplab.averaging import average_weights
    from panoptic_deeplab.checkpoint import save_checkpoint
    from panoptic_deeplab.find_weights import find_checkpoint

    check_place(options.out)
    checkpoints = [find_checkpoint(source) for source in options.sources]
    mean = average_weights(checkpoints, options.shares)
    told = {"averaged": list(options.sources), "shares": list(options.shares)}
    kept = {key: mean.provenance[key] for key in _KEPT if key in mean.provenance}
    save_checkpoint(options.out, mean.model, mean.labels, mean.experiment, kept | told)
    if options.json:
        print(as_json(told | {"out": str(options.out)}).decode())
    else:
        print(f"mean of {len(checkpoints)} in {options.out}")
    return 0
