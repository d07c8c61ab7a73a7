"""Metrics equal the official tools on 60 drawn pairs: crowds, void, ties, empty images, classes.

PQ and Cityscapes' AP, IoU and iIoU by cityscapesScripts; COCO's AP by pycocotools. Boundary
PQ has no tool in the package index; its rule is spelled out mask by mask.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.coco_writer import encode_ids
from panoptic_deeplab.metrics import AveragePrecision, MeanIoU, PanopticQuality
from panoptic_deeplab.metrics.bands import BAND_SHARES
from panoptic_deeplab.metrics.counts import count_image
from panoptic_deeplab.metrics.instance import SIZES_PX
from panoptic_deeplab.metrics.matching import match_image
from panoptic_deeplab.structures import PanopticMap, Segment, count_ids

LABELS = read_table("cityscapes").labels
NAMES = LABELS.names
ABSENT = NAMES.index("train")  # never drawn
CASES = 60
EXACT = {"rel": 0, "abs": 1e-12}


@pytest.fixture(autouse=True)
def older_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """cityscapesScripts 2.3 calls np.in1d, which NumPy 2.4 no longer has."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)


def draw(seed: int, size: tuple[int, int]) -> tuple[PanopticMap, PanopticMap]:
    """(prediction, truth): rectangles over bands of stuff; scores repeat often."""
    rng = np.random.default_rng(seed)
    height, width = size
    ids = np.zeros(size, np.int32)
    classes: dict[int, tuple[int, bool]] = {}

    def put(class_id: int, region: tuple[slice, slice], is_crowd: bool = False) -> None:
        dataset_id = LABELS.classes[class_id].dataset_id
        whole = is_crowd or not LABELS.is_thing(class_id)  # one segment per class, as in the files
        number = dataset_id if whole else dataset_id * 1000 + len(classes)
        ids[region] = number
        classes[number] = class_id, is_crowd

    stuff = list(LABELS.stuff_ids)
    things = [i for i in LABELS.thing_ids if i != ABSENT]
    if seed % 15 != 7:  # some images are all void
        for top in range(0, height, height // 4):
            if rng.random() < 0.85:
                put(int(rng.choice(stuff[:5])), (slice(top, top + height // 4), slice(None)))
        for _ in range(int(rng.integers(0, 9)) if seed % 10 else 0):  # some have no thing
            h, w = (max(3, int(s * rng.uniform(0.06, 0.75) ** 1.5)) for s in size)
            y, x = rng.integers(0, height - h), rng.integers(0, width - w)
            region = slice(y, y + h), slice(x, x + w)
            put(int(rng.choice(things[:4])), region, is_crowd=rng.random() < 0.12)
        ids[:, : int(rng.integers(0, 6))] = 0
    areas = count_ids(ids)
    truth = PanopticMap(
        ids,
        tuple(Segment(n, c, areas[n], None, k) for n, (c, k) in classes.items() if n in areas),
    )
    return predict(truth, rng, seed), truth


def predict(truth: PanopticMap, rng: np.random.Generator, seed: int) -> PanopticMap:
    if seed % 12 == 5:
        return PanopticMap(np.zeros_like(truth.segment_map), ())
    found = np.zeros_like(truth.segment_map)
    classes: dict[int, int] = {}
    for segment in truth.segments:
        mask = np.roll(truth.segment_map == segment.id, rng.integers(-2, 3, 2), (0, 1))
        parts = [mask]
        if rng.random() < 0.15:  # split in two
            half = np.zeros_like(mask)
            half[:, : mask.shape[1] // 2] = True
            parts = [mask & half, mask & ~half]
        for part in parts:
            if rng.random() < 0.12 or not part.any():
                continue
            class_id = segment.class_id
            if rng.random() < 0.1:
                class_id = int(rng.choice(LABELS.thing_ids))
            number = len(classes) + 1
            found[part] = number
            classes[number] = class_id
    stuff: dict[int, int] = {}  # a class of stuff has one segment
    for number, class_id in classes.items():
        if not LABELS.is_thing(class_id):
            found[found == number] = stuff.setdefault(class_id, number)
    areas = count_ids(found)
    return PanopticMap(
        found,
        tuple(
            Segment(n, c, areas[n], float(rng.integers(1, 6)) / 5 if LABELS.is_thing(c) else None)
            for n, c in classes.items()
            if n in areas
        ),
    )


@pytest.fixture(scope="module")
def pairs() -> list[tuple[PanopticMap, PanopticMap]]:
    return [draw(seed, (64, 128)) for seed in range(CASES)]


def name(i: int) -> str:
    return f"berlin_{i:06d}_000019"


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def label_ids(panoptic: PanopticMap) -> np.ndarray:
    values = np.zeros(panoptic.size, np.uint8)
    for segment in panoptic.segments:
        values[panoptic.segment_map == segment.id] = LABELS.classes[segment.class_id].dataset_id
    return values


@pytest.fixture(scope="module")
def folder(pairs: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truth and predictions in Cityscapes' files."""
    root = tmp_path_factory.mktemp("city")
    for i, (prediction, truth) in enumerate(pairs):
        base = root / "gtFine" / "val" / "berlin" / f"{name(i)}_gtFine"
        write(Path(f"{base}_instanceIds.png"), truth.segment_map.astype(np.uint16))
        write(Path(f"{base}_labelIds.png"), label_ids(truth))
        write(root / "pixels" / f"{name(i)}_pred_labelIds.png", label_ids(prediction))
        lines = []
        for segment in prediction.segments:
            if segment.score is not None:
                mask = f"{name(i)}_{segment.id}.png"
                write(
                    root / "instances" / mask,
                    (prediction.segment_map == segment.id).astype(np.uint8) * 255,
                )
                number = LABELS.classes[segment.class_id].dataset_id
                lines.append(f"{mask} {number} {segment.score!r}\n")
        (root / "instances").mkdir(exist_ok=True)
        (root / "instances" / f"{name(i)}.txt").write_text("".join(lines))
    return root


@contextlib.contextmanager
def official(module_name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    module = import_module(f"cityscapesscripts.evaluation.{module_name}")
    settings = {
        "predictionPath": str(folder),
        "predictionWalk": None,
        "JSONOutput": False,
        "quiet": True,
    }
    for key, value in settings.items():
        monkeypatch.setattr(module.args, key, value, raising=False)
    with contextlib.redirect_stdout(io.StringIO()):
        yield module


def test_cityscapes_instances(pairs: list, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cityscapesscripts.evaluation.instances2dict import instances2dict

    files = sorted(map(str, folder.glob("gtFine/val/*/*_instanceIds.png")))
    with official("evalInstanceLevelSemanticLabeling", folder / "instances", monkeypatch) as m:
        # NumPy 2's integers cannot be written as JSON, so its intermediate files are left out.
        monkeypatch.setattr(m, "writeDict2JSON", lambda *_: None)
        monkeypatch.setattr(m, "getGtInstances", lambda f, _: instances2dict(f, verbose=False))
        found = m.evaluateImgLists([m.getPrediction(f, m.args) for f in files], files, m.args)
    expected = found["averages"]
    metric = AveragePrecision(LABELS, "cityscapes")
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, name(i))
    result = metric.result()
    assert 0.1 < result.ap < 0.9
    assert result.ap == pytest.approx(expected["allAp"], **EXACT)
    assert result.ap50 == pytest.approx(expected["allAp50%"], **EXACT)
    assert result.per_class["train"].ap is None
    for class_name, ours in result.per_class.items():
        theirs = expected["classes"][class_name]["ap"]
        assert (ours.ap is None) == np.isnan(theirs)
        if ours.ap is not None:
            assert ours.ap == pytest.approx(theirs, **EXACT)
            assert ours.ap50 == pytest.approx(expected["classes"][class_name]["ap50%"], **EXACT)


def test_cityscapes_pixels(pairs: list, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(map(str, folder.glob("gtFine/val/*/*_labelIds.png")))
    with official("evalPixelLevelSemanticLabeling", folder / "pixels", monkeypatch) as m:
        found = m.evaluateImgLists([m.getPrediction(m.args, f) for f in files], files, m.args)
    metric = MeanIoU(LABELS)
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, name(i))
    result = metric.result()
    assert result.mean == pytest.approx(found["averageScoreClasses"], **EXACT)
    assert result.instance_mean == pytest.approx(found["averageScoreInstClasses"], **EXACT)
    for class_name, ours in result.per_class.items():
        theirs = found["classScores"][class_name]
        assert (ours is None and np.isnan(theirs)) or ours == pytest.approx(theirs, **EXACT)
    for class_name, ours in result.instance_per_class.items():
        theirs = found["classInstScores"][class_name]
        assert (ours is None and np.isnan(theirs)) or ours == pytest.approx(theirs, **EXACT)


def test_panoptic_quality(pairs: list, tmp_path: Path) -> None:
    """evalPanopticSemanticLabeling is panopticapi's algorithm."""
    from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as module

    categories = {
        c.dataset_id: {"id": c.dataset_id, "name": c.name, "isthing": int(c.is_thing)}
        for c in LABELS.classes
    }
    matched = []
    for i, pair in enumerate(pairs):
        listed = []
        for side, panoptic in zip(("found", "truth"), pair, strict=True):
            path = tmp_path / side / f"{name(i)}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode_ids(panoptic.segment_map, name="x"))
            infos = [
                {
                    "id": s.id,
                    "category_id": LABELS.classes[s.class_id].dataset_id,
                    "area": s.area_px,
                    "iscrowd": int(s.is_crowd),
                }
                for s in panoptic.segments
            ]
            record = {"image_id": name(i), "file_name": path.name, "segments_info": infos}
            listed.append(json.loads(json.dumps(record)))
        matched.append((listed[1], listed[0]))
    folders = str(tmp_path / "truth"), str(tmp_path / "found")
    with contextlib.redirect_stdout(io.StringIO()):
        stat = module.pq_compute_single_core(0, matched, *folders, categories)
    expected = module.average_pq(stat, categories)
    metric = PanopticQuality(LABELS)
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, name(i))
    result = metric.result()
    for part, mean in (("All", result.all), ("Things", result.things), ("Stuff", result.stuff)):
        for key in ("pq", "sq", "rq"):
            assert getattr(mean, key) == pytest.approx(expected[part][key], **EXACT)
        assert mean.num_classes == expected[part]["n"]


@pytest.mark.parametrize("data", ["coco", "cityscapes"])
def test_boundary_quality(data: str, pairs: list) -> None:
    """Against the published rule taken literally: each mask eroded, bands compared pair by pair."""
    width_px = max(1, round(BAND_SHARES[data] * float(np.hypot(64, 128))))

    def band(panoptic: PanopticMap, number: int) -> np.ndarray:
        mask = np.pad((panoptic.segment_map == number).astype(np.uint8), 1)
        eroded = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=width_px)
        return (mask > eroded)[1:-1, 1:-1]

    def iou(found: np.ndarray, true: np.ndarray, void: np.ndarray) -> float:
        return float((found & true).sum() / (((found & ~void) | true).sum()))

    matches: dict[int, list[float]] = {}
    metric = PanopticQuality(LABELS)
    for i, (prediction, truth) in enumerate(pairs):
        counts = count_image(prediction, truth, LABELS, name(i), band_share=BAND_SHARES[data])
        metric.add(counts, match_image(counts, "boundary"))
        void = truth.segment_map == 0
        for t in truth.segments:
            for p in prediction.segments:
                masks = prediction.segment_map == p.id, truth.segment_map == t.id
                if t.is_crowd or t.class_id != p.class_id or not (masks[0] & masks[1]).any():
                    continue
                bands = band(prediction, p.id), band(truth, t.id)
                both = min(iou(*masks, void), iou(*bands, void))
                if both > 0.5:
                    matches.setdefault(t.class_id, []).append(both)
    result = metric.result()
    assert len(matches) > 5
    for class_id, class_name in enumerate(NAMES):
        ours, ious = result.per_class[class_name], matches.get(class_id, [])
        assert ours.tp == len(ious)
        if ious:
            assert ours.sq == pytest.approx(sum(ious) / len(ious), **EXACT)


def test_coco_instances_by_class_and_size() -> None:
    from pycocotools import mask as masks
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    pairs = [draw(seed, (160, 220)) for seed in range(CASES)]
    truths, found = [], []
    for i, (prediction, truth) in enumerate(pairs):
        for listed, panoptic in ((truths, truth), (found, prediction)):
            for s in panoptic.segments:
                if LABELS.is_thing(s.class_id):
                    rle = masks.encode(np.asfortranarray(panoptic.segment_map == s.id, np.uint8))
                    record = {
                        "id": len(listed) + 1,
                        "image_id": i,
                        "category_id": s.class_id,
                        "segmentation": rle,
                        "area": s.area_px,
                        "iscrowd": int(s.is_crowd),
                    }
                    listed.append(record if s.score is None else record | {"score": s.score})
    with contextlib.redirect_stdout(io.StringIO()):
        tool = COCO()
        tool.dataset = {
            "images": [{"id": i, "height": 160, "width": 220} for i in range(CASES)],
            "categories": [{"id": i, "name": NAMES[i]} for i in LABELS.thing_ids],
            "annotations": truths,
        }
        tool.createIndex()
        run = COCOeval(tool, tool.loadRes(found), "segm")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][..., -1]  # (thresholds, recalls, classes, areas)

    def mean(values: np.ndarray) -> float | None:
        return float(values[values > -1].mean()) if (values > -1).any() else None

    metric = AveragePrecision(LABELS, "coco")
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, str(i))
    result = metric.result()
    assert 0.1 < result.ap < 0.9
    assert result.ap == pytest.approx(mean(precision[..., 0]), **EXACT)
    assert result.ap50 == pytest.approx(mean(precision[0, ..., 0]), **EXACT)
    assert result.ap75 == pytest.approx(mean(precision[5, ..., 0]), **EXACT)
    for place, size in enumerate(SIZES_PX, 1):
        assert result.by_size[size] == pytest.approx(mean(precision[..., place]), **EXACT)
    for k, class_id in enumerate(LABELS.thing_ids):
        ours = result.per_class[NAMES[class_id]]
        expected = mean(precision[:, :, k, 0])
        assert ours.ap == (expected and pytest.approx(expected, **EXACT))
        for place, size in enumerate(SIZES_PX, 1):
            expected = mean(precision[:, :, k, place])
            assert ours.by_size[size] == (expected and pytest.approx(expected, **EXACT))


def test_the_drawn_pairs_have_all_that_is_hard(pairs: list) -> None:
    truths = [t for _, t in pairs]
    assert any(s.is_crowd for t in truths for s in t.segments)
    assert any(not t.segments for t in truths)
    assert any(not p.segments for p, _ in pairs)
    assert any((t.segment_map == 0).any() and t.segments for t in truths)
    scores = [s.score for p, _ in pairs for s in p.segments if s.score is not None]
    assert len(set(scores)) * 10 < len(scores)
    assert replace(truths[1].segments[0], score=None) == truths[1].segments[0]
