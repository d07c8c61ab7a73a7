"""`data compare`: the instance annotation of images against their panoptic one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table

from panoptic_deeplab.files import as_json, make_folder, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show, show_progress


@dataclass(frozen=True)
class DataCompare:
    """Count, and draw side by side, where instance and panoptic annotation of images differ."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder with COCO's panoptic list and, beside it, a list of instances."""
    split: str = "val"
    """Which part of it."""
    instances: Path | None = None
    """The list of instances; default: annotations/instances_SPLIT.json."""
    overlap: Literal["smaller", "file"] = "smaller"
    """Who gets shared pixels: the smaller instance, or the later one of the file."""
    priority: tuple[str, ...] = ()
    """Classes that lie above others whatever their size, the first above all."""
    images: tuple[str, ...] = ()
    """Names of the images; default: all, up to the limit."""
    limit: int = 20
    """At most this many images; 0: all."""
    out: Path | None = None
    """Folder for the pictures; default: none are drawn."""
    json: Flag = False
    """Print the numbers as JSON on stdout, nothing else there."""
    debug: Flag = False
    """Show the traceback of an error."""


def compare_data(options: DataCompare) -> int:
    """Compare; print a table, and draw where asked."""
    from panoptic_deeplab.data.coco import open_coco_panoptic
    from panoptic_deeplab.data.coco_instances import find_list, picture_folder, read_instances
    from panoptic_deeplab.data.format import Overlap, Source
    from panoptic_deeplab.data.pictures import encode_picture
    from panoptic_deeplab.data.two_annotations import compare_pairs, draw_pair, open_instances

    panoptic = open_coco_panoptic(options.data, options.split)
    source = Source(options.data, options.split)
    path = options.instances or find_list(source)
    example = next(iter(read_instances(path).images.values()), ("", None))[0]
    folder = picture_folder(source, path, example)
    overlap = Overlap(options.overlap, options.priority)
    instances = open_instances(path, folder, panoptic.labels, overlap)
    names = [panoptic.image_id(i) for i in range(len(panoptic))]
    unknown = sorted(set(options.images) - set(names))
    if unknown:
        raise ValueError(f"{options.data} has no image {unknown[0]!r} in {options.split!r}.")
    chosen = [i for i, n in enumerate(names) if not options.images or n in options.images]
    chosen = chosen[: options.limit or None]
    if options.out is not None:
        make_folder(options.out)
    counts = []
    with show_progress() as progress:
        steps = progress.track(
            compare_pairs(instances, panoptic, chosen), total=len(chosen), description="comparing"
        )
        for pair in steps:
            counts.append(pair.counts)
            if options.out is not None:
                picture = encode_picture(draw_pair(pair, panoptic.labels))
                write_whole(options.out / f"{pair.counts.image_id}.png", picture)
    if options.json:
        print(as_json([c.to_dict() for c in counts]).decode())
        return 0
    rule = f"overlaps by {options.overlap!r}"
    table = Table(
        "image",
        "instances",
        "in conflict",
        "hidden",
        "shared px",
        "differing px",
        "of these shared",
        "panoptic things",
        title=f"Instance against panoptic annotation, {rule}",
    )
    for c in counts:
        shares = f"{c.different_px} ({100 * c.different_px / max(1, c.thing_px):.1f} %)"
        table.add_row(
            c.image_id,
            *map(
                str,
                (
                    c.things,
                    c.things_in_conflict,
                    c.hidden,
                    c.shared_px,
                    shares,
                    c.different_shared_px,
                    c.panoptic_things,
                ),
            ),
        )
    show([table])
    if options.out is not None:
        print(f"{len(counts)} pictures in {options.out}")
    return 0
