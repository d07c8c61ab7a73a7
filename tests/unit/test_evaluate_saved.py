"""Saved predictions: any number of processes, any order, stopped and resumed, every slip named."""

import json
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.assessment import Meters, Wanted
from panoptic_deeplab.assessment_tables import score_table
from panoptic_deeplab.counts_file import NAME, PART, CountsFile, read_counts
from panoptic_deeplab.data.coco import open_coco_panoptic
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter, write_dataset
from panoptic_deeplab.data.predictions import Predictions
from panoptic_deeplab.data.synthetic import LABELS, SyntheticStreets
from panoptic_deeplab.evaluate import evaluate, evaluate_saved
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.structures import PanopticMap, Sample, Segment

WANTED = Wanted("coco", band_share=0.02, with_all_scores=True)
COUNT = 10


def disturbed(truth: PanopticMap, seed: int) -> PanopticMap:
    """The truth moved a little, some segments lost, things with scores of two parts."""
    rng = np.random.default_rng(seed)
    ids = np.roll(truth.segment_map, rng.integers(-2, 3, 2), (0, 1))
    segments = []
    for s in truth.segments:
        if rng.random() < 0.15:
            ids[ids == s.id] = 0
            continue
        heat, probability = (float(rng.integers(1, 4)) / 4 for _ in range(2))
        area = int((ids == s.id).sum())
        if area and LABELS.is_thing(s.class_id):
            parts = {"objectness": heat, "class_probability": probability}
            segments.append(Segment(s.id, s.class_id, area, heat * probability, **parts))
        elif area:
            segments.append(Segment(s.id, s.class_id, area))
    return PanopticMap(ids, tuple(segments))


class Disturber:
    """A predictor that knows the truth by the picture."""

    labels = LABELS

    def __init__(self, dataset: object) -> None:
        self.known = {dataset[i].image.tobytes(): (i, dataset[i]) for i in range(COUNT)}

    def predict(self, image: np.ndarray) -> Prediction:
        number, sample = self.known[image.tobytes()]
        return Prediction(image, disturbed(sample.panoptic, number), LABELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and predictions of it in `found`."""
    root = tmp_path_factory.mktemp("saved")
    write_dataset(SyntheticStreets((64, 96), COUNT, seed=3), root, "val")
    dataset = open_coco_panoptic(root, "val")
    with CocoPanopticWriter(root / "found", LABELS, name="predictions") as writer:
        for i in range(COUNT):
            writer.add(dataset.image_id(i), disturbed(dataset[i].panoptic, i))
    return root


def run(folder: Path, **settings: object) -> dict:
    dataset = open_coco_panoptic(folder, "val")
    report = evaluate_saved(Predictions(folder / "found"), dataset, wanted=WANTED, **settings)
    return report.to_dict()


def test_processes_change_nothing(folder: Path) -> None:
    alone = run(folder, workers=1)
    assert 0.3 < alone["panoptic"]["all"]["pq"] < 1
    assert alone["num_images"] == COUNT
    assert run(folder, workers=2) == alone
    assert run(folder, workers=4) == alone
    dataset = open_coco_panoptic(folder, "val")
    report = evaluate(Disturber(dataset), dataset, wanted=WANTED)
    from_network = report.to_dict() | {"seconds_per_image": 0.0}
    assert from_network == alone  # the same, predicted now
    assert len(score_table(report).rows) == 3
    for result in alone["by_score"].values():
        assert result["num_images"] == COUNT
    values = [result["ap"] for result in alone["by_score"].values()]
    assert len(set(values)) == 3
    assert values[2] == alone["instance"]["ap"]


def test_order_changes_nothing(folder: Path) -> None:
    with CountsFile(folder / "kept", LABELS, {}) as keep:
        run(folder, workers=1, keep=keep)
    _, counts, _ = read_counts(folder / "kept")
    results = []
    for seed in range(3):
        meters = [Meters(LABELS, WANTED) for _ in range(3)]
        for n in np.random.default_rng(seed).permutation(COUNT):
            meters[n % (seed + 1)].add(counts[n])
        meters[0].merge(meters[1])
        meters[0].merge(meters[2])
        results.append(meters[0].report().to_dict())
    assert results[0] == results[1] == results[2] == run(folder, workers=1)


def test_resumed_equals_unbroken(folder: Path, tmp_path: Path) -> None:
    whole = run(folder, workers=1)
    with CountsFile(tmp_path, LABELS, {"data": "a"}) as keep:
        run(folder, workers=2, keep=keep)
    lines = (tmp_path / NAME).read_text().splitlines(keepends=True)
    assert len(lines) == COUNT + 1
    assert not (tmp_path / PART).exists()
    # Killed in the middle of the fifth image's line.
    (tmp_path / NAME).unlink()
    (tmp_path / PART).write_text("".join(lines[:5]) + lines[5][:40])
    keep = CountsFile(tmp_path, LABELS, {"data": "a"}, resume=True)
    assert len(keep.read()) == 4
    with keep:
        assert run(folder, workers=1, keep=keep) == whole
    assert len(read_counts(tmp_path)[1]) == COUNT
    with pytest.raises(ValueError, match="expected the counts of this evaluation"):
        CountsFile(tmp_path, LABELS, {"data": "b"}, resume=True)
    (tmp_path / NAME).write_text("{}\n")
    with pytest.raises(ValueError, match="expected the counts of an evaluation, version 1"):
        read_counts(tmp_path)
    with pytest.raises(FileNotFoundError, match="found none"):
        read_counts(tmp_path / "nowhere")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    dataset = open_coco_panoptic(folder, "val")
    predictions = Predictions(folder / "found")
    plain = json.loads((folder / "found" / "predictions.json").read_text())
    lost = plain["annotations"].pop(3)
    (folder / "found" / "short.json").write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="a prediction of each of the 10 images, 1 have none"):
        evaluate_saved(Predictions(folder / "found" / "short.json"), dataset)
    with pytest.raises(ValueError, match="workers must be 0"):
        evaluate_saved(predictions, dataset, workers=-1)
    png = folder / "found" / "predictions" / lost["file_name"]
    content = png.read_bytes()
    for workers in (1, 2):
        png.write_bytes(content[:100])
        with pytest.raises(ValueError, match=r"expected .*\.png|expected .*"):
            evaluate_saved(predictions, dataset, workers=workers)
        png.unlink()
        with pytest.raises(FileNotFoundError, match="expected this PNG, which"):
            evaluate_saved(predictions, dataset, workers=workers)
    png.write_bytes(content)
    assert run(folder, workers=2)["num_images"] == COUNT


def test_result_files_of_other_tools(folder: Path) -> None:
    """Neither images nor categories, as servers take them."""
    plain = json.loads((folder / "found" / "predictions.json").read_text())
    bare = folder / "found" / "bare.json"
    bare.write_text(json.dumps({"annotations": plain["annotations"]}))
    (folder / "found" / "bare").symlink_to(folder / "found" / "predictions")
    dataset = open_coco_panoptic(folder, "val")
    with pytest.raises(ValueError, match="objects under 'categories', got nothing"):
        Predictions(bare)
    found = Predictions(bare, dataset.labels)
    report = evaluate_saved(found, dataset, workers=1, wanted=WANTED)
    assert report.to_dict() == run(folder, workers=1)


def test_other_classes_are_refused(folder: Path) -> None:
    dataset = open_coco_panoptic(folder, "val")

    class Fewer(Predictions):
        labels = LabelSpace("fewer", LABELS.classes[:-1])

    with pytest.raises(ValueError, match="The predictions know 10 classes"):
        evaluate_saved(Fewer(folder / "found"), dataset)


def test_truth_without_picture(folder: Path) -> None:
    dataset = open_coco_panoptic(folder, "val")
    whole: Sample = dataset[2]
    assert np.array_equal(dataset.truth(2).segment_map, whole.panoptic.segment_map)
    assert dataset.truth(2).segments == whole.panoptic.segments
