"""The first thing to try: predict street scenes the weights have never seen, and look at them.

Comes in: a predictor for the classes of `data/synthetic.py`. Goes out: a `Report` and a folder:

    scene_1.png ...       input, truth and prediction side by side
    contact_sheet.jpg     all predictions
    report.json           all numbers
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from panoptic_deeplab import captions, render
from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import build_dataset
from panoptic_deeplab.evaluate import Report, evaluate
from panoptic_deeplab.files import as_json, make_folder, write_whole
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.structures import PanopticMap, Sample

NUM_SCENES = 6
"""Scenes with a picture of their own."""

_SHEET_COLUMNS = 5
_SHEET_HEIGHT_PX = 144


def run_demo(
    predictor: Predictor,
    out: str | Path,
    *,
    images: int = 50,
    progress: Progress | None = None,
) -> tuple[Report, list[Path]]:
    """Predict held-out scenes, evaluate, and write pictures.

    Args:
        predictor: of weights trained on synthetic scenes.
        out: folder, made if missing.
        images: number of scenes.
        progress: shows how far it is.

    Returns:
        The report, and the files written.

    Raises:
        ValueError: if the weights know other classes, or `images` is not positive.
    """
    dataset = build_dataset(DataConfig(format="synthetic", val_images=images), "val")
    out = make_folder(out)
    scenes: list[Path] = []
    small: list[NDArray[np.uint8]] = []

    def draw(sample: Sample, prediction: Prediction) -> None:
        picture = render.overlay(sample.image, prediction.panoptic, predictor.labels, names=False)
        small.append(captions.fit_height(picture, _SHEET_HEIGHT_PX))
        if len(scenes) < NUM_SCENES and sample.panoptic is not None:
            scenes.append(out / f"scene_{len(scenes) + 1}.png")
            Image.fromarray(compare(prediction, sample.panoptic)).save(scenes[-1])

    report = evaluate(predictor, dataset, progress=progress, on_prediction=draw)
    sheet = out / "contact_sheet.jpg"
    Image.fromarray(_sheet(small)).save(sheet, quality=90)
    numbers = out / "report.json"
    write_whole(numbers, as_json(report.to_dict()))
    return report, [*scenes, sheet, numbers]


def compare(prediction: Prediction, truth: PanopticMap) -> NDArray[np.uint8]:
    """Input, truth and prediction side by side with captions and a legend."""
    image, labels = prediction.image, prediction.labels
    scale = render.readable_scale(truth.size)
    nothing = PanopticMap(np.zeros(truth.size, np.int32), ())
    panels = {
        "input": render.overlay(image, nothing, labels, scale=scale),
        "truth": render.overlay(image, truth, labels, scale=scale),
        "prediction": render.overlay(image, prediction.panoptic, labels, scale=scale),
    }
    parts = [captions.with_caption(p, text, size_px=18) for text, p in panels.items()]
    row = captions.row(parts)
    present = {s.class_id for s in truth.segments + prediction.segments}
    legend = render.legend(present, labels, row.shape[1], size_px=18)
    return captions.column([row, legend], gap_px=0)


def _sheet(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    rows = [
        captions.row(pictures[i : i + _SHEET_COLUMNS])
        for i in range(0, len(pictures), _SHEET_COLUMNS)
    ]
    return captions.column(rows)
