"""Every recipe: valid settings, a network that is built, what is known about it, and its file."""

from pathlib import Path
from typing import Any

import pytest
import torch

from panoptic_deeplab.checkpoint import without_download
from panoptic_deeplab.commands.recipe import differences
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.model import build_model
from panoptic_deeplab.recipes import RECIPES, recipe
from panoptic_deeplab.settings import find_experiment

CLASSES = {"cityscapes": 19, "mapillary": 65, "coco": 133}


def classes(name: str) -> int:
    return next((n for part, n in CLASSES.items() if part in name), 11)


@pytest.mark.parametrize("name", RECIPES)
def test_its_name_and_what_is_known(name: str) -> None:
    made, experiment = RECIPES[name], recipe(name)
    assert experiment.name == name
    assert made.about
    assert made.hardware
    assert made.sources
    found = made.expected
    if found.pq is not None or found.miou is not None:
        assert found.source, "figures need a source"


@pytest.mark.parametrize("name", RECIPES)
def test_its_network_is_built(name: str) -> None:
    with torch.device("meta"):
        model = build_model(without_download(recipe(name).model), classes(name))
    assert sum(p.numel() for p in model.parameters()) > 1e6
    # Corners of crops fall on corners of features, or edges on edges.
    stride, extra = model.backbone.strides[-1], int(model.align_corners)
    crop = recipe(name).augment.crop_size
    assert all((side - extra) % min(stride, 16) == 0 for side in crop)


@pytest.mark.parametrize("name", RECIPES)
def test_its_file_gives_it_back(name: str, tmp_path: Path) -> None:
    from panoptic_deeplab.commands.recipe import RecipeExport, export_recipe

    out = tmp_path / "my.yaml"
    assert export_recipe(RecipeExport(name, out)) == 0
    assert find_experiment(str(out)) == recipe(name)


def test_the_papers_settings() -> None:
    """A sample by hand; the defaults are checked against the paper elsewhere."""
    plain = Experiment().model_dump()
    xception = recipe("cityscapes-xception71")
    assert differences(xception) == {
        "model.backbone": "xception71",
        "model.aspp_pooling_size": (1025, 2049),
        "model.norm": "sync",
        "data.format": "auto",
        "data.workers": 4,
        "augment.crop_size": (1025, 2049),
    }
    assert plain["schedule"]["iterations"] == 60_000
    assert plain["schedule"]["learning_rate"] == 1e-3
    assert recipe("mapillary-hrnet-w48-plus").schedule.learning_rate == 7.5e-4
    assert recipe("mapillary-xception71").data.long_side == 2177
    assert recipe("coco-xception71").augment.max_scale == 1.5
    d2 = recipe("detectron2-coco-r52-dsconv")
    assert (d2.grouping.nms_kernel, d2.inference.long_side, d2.loss.hardest_fraction) == (
        41,
        640,
        1,
    )
    assert recipe("detectron2-cityscapes-r52").targets.sigma_px == 10


def test_recipes_agree_with_what_conversion_reads_off_weights(tmp_path: Path) -> None:
    import publishers
    from panoptic_deeplab.convert import convert

    for stand_in, name in (
        ("detectron2_r52_cityscapes", "detectron2-cityscapes-r52"),
        ("detectron2_r52_coco_dsconv", "detectron2-coco-r52-dsconv"),
    ):
        found: Any = convert(publishers.write(stand_in, tmp_path))
        wanted = recipe(name)
        assert found.experiment.model == wanted.model.model_copy(update={"norm": "batch"})
        assert found.experiment.grouping == wanted.grouping
        assert found.experiment.inference == wanted.inference
