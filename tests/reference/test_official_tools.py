"""cityscapesScripts and pycocotools read what is written here, and see the same in it."""

import json
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.formats import DATASETS
from panoptic_deeplab.data.predictions import Predictions
from panoptic_deeplab.data.submit import write_submission
from panoptic_deeplab.structures import PanopticMap, Segment


@pytest.fixture
def older_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """cityscapesScripts 2.3 calls np.in1d, which NumPy 2.4 no longer has."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)


@pytest.fixture
def city(tmp_path: Path) -> Path:
    DATASETS["cityscapes"].write_example(tmp_path / "city")
    return tmp_path / "city"


def segments_by_official_tool(city: Path) -> tuple[dict, list]:
    from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic

    convert2panoptic(str(city / "gtFine"), setNames=["val"])
    whole = json.loads((city / "gtFine" / "cityscapes_panoptic_val.json").read_bytes())
    return {a["image_id"]: a["segments_info"] for a in whole["annotations"]}, whole["categories"]


def test_cityscapes_makes_the_same_segments(city: Path) -> None:
    """Ids, classes, areas and crowd marks of createPanopticImgs."""
    official, categories = segments_by_official_tool(city)
    dataset = DATASETS["cityscapes"].open(Source(city, "val"))
    for i in range(len(dataset)):
        found = {
            (s.id, dataset.labels.classes[s.class_id].dataset_id, s.area_px, int(s.is_crowd))
            for s in dataset[i].panoptic.segments
        }
        listed = official.pop(dataset.image_id(i))
        assert found == {(s["id"], s["category_id"], s["area"], s["iscrowd"]) for s in listed}
    assert not official
    own = [(c.dataset_id, c.name, int(c.is_thing), list(c.color)) for c in dataset.labels.classes]
    assert own == [(c["id"], c["name"], c["isthing"], c["color"]) for c in categories]


def test_the_generated_form_is_written_the_same(city: Path, tmp_path: Path) -> None:
    """The list and the PNGs of createPanopticImgs, boxes too."""
    DATASETS["cityscapes_panoptic"].write_example(tmp_path / "own")
    official, _ = segments_by_official_tool(city)
    own = json.loads((tmp_path / "own/gtFine/cityscapes_panoptic_val.json").read_bytes())
    for image in own["images"]:
        assert image["file_name"] == f"{image['id']}_gtFine_leftImg8bit.png"
    for annotation in own["annotations"]:
        key = sorted(annotation["segments_info"], key=lambda s: s["id"])
        assert key == sorted(official[annotation["image_id"]], key=lambda s: s["id"])
        name = f"gtFine/cityscapes_panoptic_val/{annotation['file_name']}"
        pixels = [np.asarray(Image.open(root / name)) for root in (city, tmp_path / "own")]
        assert np.array_equal(*pixels)
    dataset = DATASETS["cityscapes_panoptic"].open(Source(city, "val"))
    native = DATASETS["cityscapes"].open(Source(city, "val"))
    for i in range(2):
        assert np.array_equal(dataset[i].panoptic.segment_map, native[i].panoptic.segment_map)


def predict_truth(city: Path, folder: Path) -> Path:
    """The truth as if it were predicted, crowd regions left out, each thing with a score."""
    dataset = DATASETS["cityscapes"].open(Source(city, "val"))
    with CocoPanopticWriter(folder, dataset.labels, name="predictions") as writer:
        for i in range(len(dataset)):
            panoptic = dataset[i].panoptic
            kept = [s for s in panoptic.segments if not s.is_crowd]
            ids = np.where(
                np.isin(panoptic.segment_map, [s.id for s in kept]), panoptic.segment_map, 0
            ).astype(np.int32)
            scored = tuple(
                Segment(
                    s.id,
                    s.class_id,
                    s.area_px,
                    0.9 if dataset.labels.is_thing(s.class_id) else None,
                )
                for s in kept
            )
            writer.add(dataset.image_id(i), PanopticMap(ids, scored))
    return folder


def unpacked(city: Path, tmp_path: Path, name: str) -> Path:
    predictions = Predictions(predict_truth(city, tmp_path / "predictions"))
    write_submission(predictions, tmp_path / f"{name}.zip", name)
    with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
        archive.extractall(tmp_path / name)
    return tmp_path / name


def truths(city: Path, ending: str) -> list[str]:
    return sorted(map(str, city.glob(f"gtFine/val/*/*_{ending}.png")))


@pytest.mark.usefixtures("older_numpy")
def test_cityscapes_instances_score_one(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _module("evalInstanceLevelSemanticLabeling")
    folder = unpacked(city, tmp_path, "cityscapes-instance")
    args = module.args
    monkeypatch.setattr(args, "predictionPath", str(folder), raising=False)
    monkeypatch.setattr(args, "predictionWalk", None, raising=False)
    monkeypatch.setattr(args, "gtInstancesFile", str(tmp_path / "truth.json"))
    monkeypatch.setattr(args, "JSONOutput", False)
    monkeypatch.setattr(args, "quiet", True)
    monkeypatch.setattr(args, "minRegionSizes", np.array([1, 1000, 1000]))
    # NumPy 2's integers cannot be written as JSON: its two files of intermediate results are left
    # out, the one of instances is computed anew instead.
    monkeypatch.setattr(module, "writeDict2JSON", lambda *_: None)
    from cityscapesscripts.evaluation.instances2dict import instances2dict

    monkeypatch.setattr(
        module, "getGtInstances", lambda files, args: instances2dict(files, verbose=False)
    )
    files = truths(city, "gtFine_instanceIds")
    predicted = [module.getPrediction(f, args) for f in files]
    result = module.evaluateImgLists(predicted, files, args)
    classes = result["averages"]["classes"]
    assert {n: c["ap"] for n, c in classes.items() if not np.isnan(c["ap"])} == {
        "motorcycle": pytest.approx(1.0),
        "bicycle": pytest.approx(1.0),
    }


@pytest.mark.usefixtures("older_numpy")
def test_cityscapes_pixels_score_one(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _module("evalPixelLevelSemanticLabeling")
    folder = unpacked(city, tmp_path, "cityscapes-semantic")
    args = module.args
    for name, value in {
        "predictionPath": str(folder),
        "predictionWalk": None,
        "JSONOutput": False,
        "quiet": True,
    }.items():
        monkeypatch.setattr(args, name, value, raising=False)
    files = truths(city, "gtFine_labelIds")
    predicted = [module.getPrediction(args, f) for f in files]
    result = module.evaluateImgLists(predicted, files, args)
    scores = {n: s for n, s in result["classScores"].items() if not np.isnan(s)}
    assert scores["road"] == scores["sidewalk"] == 1.0
    assert scores["motorcycle"] == 1.0
    assert scores["bicycle"] < 1.0  # the crowd region was left out


def test_cityscapes_panoptic_scores_one(city: Path, tmp_path: Path) -> None:
    from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as module

    segments_by_official_tool(city)
    folder = unpacked(city, tmp_path, "cityscapes-panoptic")
    truth = json.loads((city / "gtFine/cityscapes_panoptic_val.json").read_bytes())
    found = json.loads((folder / "cityscapes-panoptic.json").read_bytes())
    by_image = {a["image_id"]: a for a in found["annotations"]}
    pairs = [(a, by_image[a["image_id"]]) for a in truth["annotations"]]
    categories = {c["id"]: c for c in truth["categories"]}
    stat = module.pq_compute_single_core(
        0,
        pairs,
        str(city / "gtFine/cityscapes_panoptic_val"),
        str(folder / "cityscapes-panoptic"),
        categories,
    )
    result = module.average_pq(stat, categories)
    assert result["All"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 4}


def test_pycocotools_reads_the_instances(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    DATASETS["coco_instances"].write_example(tmp_path)
    official = COCO(str(tmp_path / "annotations" / "instances_val.json"))
    dataset = DATASETS["coco_instances"].open(Source(tmp_path, "val"))
    for i in range(len(dataset)):
        sample = dataset[i]
        records = official.imgToAnns[int(sample.image_id)]
        listed = sorted(
            (r["category_id"], int(official.annToMask(r).sum()), r["area"], r["iscrowd"])
            for r in records
        )
        own = sorted(
            (dataset.labels.classes[s.class_id].dataset_id, s.area_px, s.area_px, int(s.is_crowd))
            for s in sample.panoptic.segments
        )
        assert listed == own
    names = {c["id"]: c["name"] for c in official.loadCats(official.getCatIds())}
    assert names == {c.dataset_id: c.name for c in dataset.labels.classes}


def _module(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(f"cityscapesscripts.evaluation.{name}")
