"""Reports: numbers, divisions by kind, tables."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from panoptic_deeplab.assessment import percent
from panoptic_deeplab.assessment_tables import tables
from panoptic_deeplab.data.coco import open_coco_panoptic
from panoptic_deeplab.data.coco_writer import write_dataset
from panoptic_deeplab.data.synthetic import LABELS, SyntheticStreets
from panoptic_deeplab.evaluate import check_same_classes, evaluate
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.processes import Processes
from panoptic_deeplab.structures import PanopticMap, Sample, Segment


class Scenes:
    """Two toy samples."""

    def __init__(self, sample: Sample, labels: LabelSpace) -> None:
        self.labels = labels
        self.samples = [Sample(sample.image, sample.panoptic, name) for name in ("a", "b")]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def image_id(self, index: int) -> str:
        return self.samples[index].image_id


class Oracle:
    """Predicts the truth in turn, or nothing for images named in `blind`."""

    def __init__(self, scenes: Scenes, blind: tuple[str, ...] = ()) -> None:
        self.labels = scenes.labels
        self.answers = iter(
            [(s.panoptic if s.image_id not in blind else None) for s in scenes.samples]
        )

    def predict(self, image: np.ndarray) -> Prediction:
        truth = next(self.answers)
        nothing = PanopticMap(np.zeros(image.shape[:2], np.int32), ())
        if truth is None:
            return Prediction(image, nothing, self.labels)
        scored = tuple(
            Segment(s.id, s.class_id, s.area_px, 0.9 if self.labels.is_thing(s.class_id) else None)
            for s in truth.segments
        )
        return Prediction(image, PanopticMap(truth.segment_map, scored), self.labels)


@pytest.fixture
def scenes(toy_sample: Sample, toy_labels: LabelSpace) -> Scenes:
    return Scenes(toy_sample, toy_labels)


def test_the_truth_is_perfect(scenes: Scenes) -> None:
    report = evaluate(Oracle(scenes), scenes)
    assert report.panoptic.all.pq == 1
    assert report.instance.ap == pytest.approx(1)
    assert report.semantic.mean == 1
    assert report.num_images == 2
    assert report.by_kind == {}
    assert report.summary() == "PQ 100.00  SQ 100.00  RQ 100.00  AP 100.00  mIoU 100.00"


def test_kinds_are_parts_of_the_whole(scenes: Scenes) -> None:
    report = evaluate(Oracle(scenes, blind=("b",)), scenes, kinds={"a": "day", "b": "night"})
    assert list(report.by_kind) == ["day", "night"]
    assert report.by_kind["day"].panoptic.all.pq == 1
    assert report.by_kind["night"].panoptic.all.pq == 0
    assert [part.num_images for part in report.by_kind.values()] == [1, 1]
    # One of two road segments and two of four cars are found: TP / (TP + FN / 2) = 2 / 3.
    assert report.panoptic.all.pq == pytest.approx(2 / 3)


def test_kind_missing(scenes: Scenes) -> None:
    with pytest.raises(ValueError, match="Every image needs a kind, 'b' has none"):
        evaluate(Oracle(scenes), scenes, kinds={"a": "day"})


def test_limit_spreads_over_the_set(tiny_predictor: Predictor) -> None:
    dataset = SyntheticStreets((64, 64), 7, seed=1)
    seen: list[str] = []
    with Progress(disable=True) as progress:
        report = evaluate(
            tiny_predictor,
            dataset,
            limit=3,
            progress=progress,
            on_prediction=lambda sample, _: seen.append(sample.image_id),
        )
    assert seen == [dataset.image_id(i) for i in (0, 2, 4)]
    assert report.num_images == 3
    assert evaluate(tiny_predictor, dataset, limit=99).num_images == 7
    with pytest.raises(ValueError, match=r"limit must be 0 \(all images\) or more, got -1"):
        evaluate(tiny_predictor, dataset, limit=-1)


def test_processes_share_the_images_and_get_one_report(
    tiny_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit; what a process would get from the others is handed over here."""
    dataset = SyntheticStreets((64, 96), 5, seed=3)
    alone = evaluate(tiny_predictor, dataset).to_dict()
    sent: dict[int, list[Any]] = {}

    def gather(rank: int) -> Callable[[list[Any]], list[Any]]:
        def gathered(own: list[Any]) -> list[Any]:
            if not own:  # nobody has kept anything from before
                return []
            sent[rank] = own
            return [counts for r in sorted(sent) for counts in sent[r]]

        return gathered

    for rank in (1, 2, 0):  # the last one has got everything
        monkeypatch.setattr("panoptic_deeplab.distributed.gathered", gather(rank))
        shared = evaluate(tiny_predictor, dataset, processes=Processes(rank, 3)).to_dict()
    assert [len(sent[rank]) for rank in range(3)] == [2, 2, 1]
    for report in (alone, shared):
        del report["seconds_per_image"]
    assert shared == alone


def test_images_need_truth(scenes: Scenes) -> None:
    scenes.samples[0] = Sample(scenes.samples[0].image, None, "bare")
    with pytest.raises(ValueError, match="'bare' has no labels, evaluation compares"):
        evaluate(Oracle(scenes), scenes)


def test_other_classes_are_refused(toy_labels: LabelSpace) -> None:
    check_same_classes(toy_labels, toy_labels)
    road, car, person = toy_labels.classes
    for classes, message in (
        ((road, person, car), r"class 1 is 'car' \(thing\) there and 'person' \(thing\) here"),
        ((road, car), r"3 classes \('toy'\), the data has 2 .*; class 2 is .* there and missing"),
        (
            (ClassInfo("road", 7, True, (0, 0, 0)), car, person),
            r"class 0 is 'road' \(stuff\) there and 'road' \(thing\) here",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            check_same_classes(toy_labels, LabelSpace("other", classes))


def test_nothing_to_count_is_said_not_divided(scenes: Scenes) -> None:
    empty = PanopticMap(np.zeros((48, 64), np.int32), ())
    scenes.samples = [Sample(scenes.samples[0].image, empty, "void")]
    report = evaluate(Oracle(scenes), scenes)
    assert report.panoptic.all.pq is None
    assert report.summary() == "no segments  AP -  mIoU -"
    assert json.loads(json.dumps(report.to_dict()))["panoptic"]["all"]["pq"] is None
    assert "-" in shown(report)


def test_tables_have_every_class_and_kind(scenes: Scenes) -> None:
    report = evaluate(Oracle(scenes), scenes, kinds={"a": "day", "b": "night"})
    text = shown(report)
    for word in ("2 images", "things", "stuff", "day", "night", "road", "car", "person", "100.00"):
        assert word in text


def test_percent() -> None:
    assert percent(None) == "-"
    assert percent(0.12345) == "12.35"


def test_kinds_from_the_list_of_a_data_set(tmp_path: Path) -> None:
    write_dataset(SyntheticStreets((64, 64), 2, seed=1), tmp_path, "val")
    listed = tmp_path / "annotations" / "panoptic_val.json"
    plain = json.loads(listed.read_text())
    for image, kind in zip(plain["images"], ("day", "night"), strict=True):
        image["light"] = kind
    listed.write_text(json.dumps(plain))
    dataset = open_coco_panoptic(tmp_path, "val")
    ids = [dataset.image_id(i) for i in range(2)]
    assert dataset.image_field("light") == dict(zip(ids, ("day", "night"), strict=True))
    with pytest.raises(ValueError, match=r"has no field 'ligth'\. Did you mean 'light'"):
        dataset.image_field("ligth")
    # Written and drawn scenes have the same classes.
    check_same_classes(LABELS, dataset.labels)


def shown(report: object) -> str:
    console = Console(file=StringIO(), width=100)
    for table in tables(report):
        console.print(table)
    return console.file.getvalue()
