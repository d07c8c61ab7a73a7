"""`figure`: rows of image, panoptic and instance predictions for a paper."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from panoptic_deeplab.commands.networks import Networks, load_predictor
from panoptic_deeplab.commands.sources import data_config, drawn_split, format_name
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.files import check_place, write_whole
from panoptic_deeplab.options import Flag
from panoptic_deeplab.terminal import show_progress

if TYPE_CHECKING:
    from panoptic_deeplab.labels import LabelSpace
    from panoptic_deeplab.paper_figure import Row


@dataclass(frozen=True)
class FigureOptions(Networks):
    """Lay out images with their panoptic and instance predictions, as in the paper's Figs. 5 to 7.

    For its Fig. 4, instance against panoptic annotation, see data compare.
    """

    inputs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE|FOLDER|PATTERN ...")
    ] = ()
    """Image files; or none, with --data."""
    out: Path = Path("figure.pdf")
    """The file: .pdf or .svg (outlines and text stay such) or .png."""
    data: str | None = None
    """Take the images from this data set, with their truth."""
    split: str = "val"
    """Which part of it."""
    format: str = "auto"
    """What the folder is; see evaluate."""
    images: tuple[str, ...] = ()
    """Names of images of the data set; default: spread evenly, up to --rows."""
    predictions: Path | None = None
    """Show these instead of running a network; see evaluate."""
    rows: int = 3
    """At most this many images."""
    columns: tuple[Literal["image", "truth", "panoptic", "instance"], ...] = (
        "image",
        "panoptic",
        "instance",
    )
    """What each row shows."""
    width_cm: float = 17.5
    """Of the figure; 17.5 spans both columns of a CVPR page, 8.3 one."""
    dpi: int = 300
    """Pixels per inch of a PNG."""
    legend: bool = True
    """List the classes below."""
    debug: Flag = False
    """Show the traceback of an error."""


def figure(options: FigureOptions) -> int:
    """Predict, draw, write."""
    from panoptic_deeplab.paper_figure import check_ending, draw_figure

    if options.rows < 1 or not 2 <= options.width_cm <= 200 or not 20 <= options.dpi <= 2400:
        raise ValueError(
            "--rows must be 1 or more, --width-cm 2 to 200 and --dpi 20 to 2400, got "
            f"{options.rows}, {options.width_cm:g} and {options.dpi}."
        )
    check_ending(check_place(options.out).suffix.lower())
    if bool(options.inputs) == (options.data is not None):
        raise ValueError("Name image files, or a data set with --data, and not both.")
    if options.predictions is not None and options.data is None:
        raise ValueError("--predictions are shown on the images of --data. Name the data set too.")
    labels, rows = _of_data(options) if options.data is not None else _of_files(options)
    content = draw_figure(
        rows,
        labels,
        ending=options.out.suffix.lower(),
        columns=options.columns,
        width_cm=options.width_cm,
        dpi=options.dpi,
        legend=options.legend,
    )
    write_whole(options.out, content)
    print(f"{len(rows)} rows in {options.out}")
    return 0


def _of_files(options: FigureOptions) -> "tuple[LabelSpace, list[Row]]":
    from panoptic_deeplab.paper_figure import Row
    from panoptic_deeplab.predict_files import find_images

    paths = find_images(options.inputs)[: options.rows]
    predictor = load_predictor(options)
    rows = []
    with show_progress() as progress:
        for path in progress.track(paths, description="predicting"):
            found = predictor.predict(path)
            rows.append(Row(found.image, found.panoptic))
    return predictor.labels, rows


def _of_data(options: FigureOptions) -> "tuple[LabelSpace, list[Row]]":
    from panoptic_deeplab.data import build_dataset
    from panoptic_deeplab.data.predictions import Predictions
    from panoptic_deeplab.evaluate import check_same_classes
    from panoptic_deeplab.paper_figure import Row

    assert options.data is not None
    named = DataConfig(val_split=options.split, format=format_name(options.format))
    config = data_config(named, options.data)
    is_drawn = config.format == "synthetic"
    dataset = build_dataset(config, drawn_split(options.split) if is_drawn else "val")
    names = [dataset.image_id(i) for i in range(len(dataset))]
    unknown = [n for n in options.images if n not in names]
    if unknown:
        raise ValueError(f"{options.data} has no image {unknown[0]!r} in {options.split!r}.")
    count = min(options.rows, len(names))
    spread = [names[i * len(names) // count] for i in range(count)]
    saved = predictor = None
    if options.predictions is not None:
        saved = Predictions(options.predictions, dataset.labels)
        check_same_classes(saved.labels, dataset.labels, whose="predictions")
    else:
        predictor = load_predictor(options)
        check_same_classes(predictor.labels, dataset.labels)
    rows = []
    with show_progress() as progress:
        for name in progress.track(options.images or spread, description="predicting"):
            sample = dataset[names.index(name)]
            if saved is not None and name not in saved:
                raise ValueError(f"{options.predictions} has no prediction of {name!r}.")
            found = (
                saved[name] if saved is not None else predictor.predict(sample.image).panoptic  # type: ignore[union-attr]
            )
            rows.append(Row(sample.image, found, sample.panoptic))
    return dataset.labels, rows
