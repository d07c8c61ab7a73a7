"""Published files, loaded by us, compute what their publishers' own code computes with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import publishers
from panoptic_deeplab.backbone_weights import BackboneWeights
from panoptic_deeplab.checkpoint import Checkpoint
from panoptic_deeplab.convert import convert, convert_classifier
from panoptic_deeplab.predict import as_predictor
from standins import FEATURES, reference_image, relative_error

TOLERANCE = 1e-5
"""Of the relative error; measured: up to 1.4e-6."""


def published(name: str, folder: Path, form: str = "") -> Checkpoint:
    found = convert(publishers.write(name, folder, form=form))
    assert isinstance(found, Checkpoint)
    return found


def sizes(file: np.lib.npyio.NpzFile) -> list[str]:
    return sorted({key.split("/")[0] for key in file.files})


def image_of(file: np.lib.npyio.NpzFile, size: str) -> torch.Tensor:
    return torch.from_numpy(file[f"{size}/image"]).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", publishers.PANOPTIC)
def test_heads_are_the_publishers(name: str, tmp_path: Path) -> None:
    checkpoint = published(name, tmp_path)
    step = 2 if "coco" in name else 1  # of COCO every second row and column is stored
    with np.load(publishers.PUBLISHED / f"{name}.npz") as file:
        assert len(sizes(file)) == 2
        for size in sizes(file):
            with torch.no_grad():
                outputs = checkpoint.model(image_of(file, size))
            semantic = outputs.semantic[0, :, ::step, ::step]
            assert relative_error(semantic, file[f"{size}/semantic"]) < TOLERANCE
            assert relative_error(outputs.center[0], file[f"{size}/center"]) < TOLERANCE
            assert relative_error(outputs.offset[0], file[f"{size}/offset"]) < TOLERANCE
            if f"{size}/offset_full" in file:
                full = checkpoint.model.upsample(outputs, tuple(map(int, size.split("x"))))
                ours = full.offset[0, :, ::4, ::4]
                assert relative_error(ours, file[f"{size}/offset_full"]) < TOLERANCE


@pytest.mark.parametrize("form", ["wrapped", "legacy", "safetensors"])
def test_every_container_holds_the_same(form: str, tmp_path: Path) -> None:
    name = "bowenc_mbnv2_cityscapes"
    plain = published(name, tmp_path).model.state_dict()
    other = published(name, tmp_path, form).model.state_dict()
    assert all(torch.equal(plain[key], other[key]) for key in plain)


@pytest.mark.parametrize("name", [n for n in publishers.NAMES if n.startswith("timm")])
def test_classifiers_are_the_publishers(name: str, tmp_path: Path) -> None:
    path = publishers.write(name, tmp_path)
    network = convert_classifier(path)
    with np.load(FEATURES / f"{name}.npz") as file, torch.no_grad():
        logits = network(reference_image(file))[0]
        assert relative_error(logits, file["logits"]) < TOLERANCE
    assert isinstance(convert(path), BackboneWeights)


def test_detectron2s_whole_pipeline(tmp_path: Path) -> None:
    """From a file and an image to the panoptic map, beside a plain form of detectron2's way."""
    name, size = "detectron2_r52_cityscapes_dsconv", "128x192"
    checkpoint = published(name, tmp_path)
    with np.load(publishers.PUBLISHED / f"{name}.npz") as file:
        image = file[f"{size}/image"]
        heads = [torch.from_numpy(file[f"{size}/{h}"]) for h in ("semantic", "center", "offset")]
    things = set(checkpoint.labels.thing_ids)
    expected, scores = detectron2_tail(*heads, things)
    predictor = as_predictor(checkpoint)
    assert predictor.grouping.objectness_at == "centroid"
    found = predictor.predict(image)

    classes = np.full(found.segment_map.shape, -1)
    for segment in found.segments:
        classes[found.segment_map == segment.id] = segment.class_id
    # Heads differ by a millionth, so single pixels may tip over.
    same = classes == expected // 1000
    assert same.mean() > 0.999
    matched = 0
    for segment in found.segments:
        mask = found.segment_map == segment.id
        ids, counts = np.unique(expected[mask], return_counts=True)
        theirs = int(ids[counts.argmax()])
        assert theirs // 1000 == segment.class_id
        assert counts.max() / max(mask.sum(), (expected == theirs).sum()) > 0.99
        if segment.class_id in things:
            assert segment.score == pytest.approx(scores[theirs], rel=0.02, abs=1e-4)
            matched += 1
    assert matched == len(scores) > 20


def detectron2_tail(
    semantic: torch.Tensor, center: torch.Tensor, offset: torch.Tensor, things: set[int]
) -> tuple[NDArray[np.int64], dict[int, float]]:
    """Heads at stride 4 -> class * 1000 + instance per pixel, -1 for void; instance -> score."""
    full = [
        F.interpolate(h[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
        for h in (semantic, center, offset * 4)
    ]
    logits, heat, offset = full[0], full[1][0], full[2]
    classes = logits.argmax(0)
    high = torch.where(heat > 0.1, heat, -1.0)
    peaks = (F.max_pool2d(high[None], 7, stride=1, padding=3)[0] == high) & (high > 0)
    places = torch.nonzero(peaks).float()
    if len(places) > 200:
        order = heat[peaks].topk(200).indices
        places = places[order]
    height, width = heat.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pointed = torch.stack([y + offset[0], x + offset[1]], dim=-1).reshape(-1, 1, 2)
    nearest = (pointed - places[None]).norm(dim=-1).argmin(1).reshape(height, width) + 1
    is_thing = torch.isin(classes, torch.tensor(sorted(things)))
    instance = torch.where(is_thing, nearest, 0)
    panoptic = np.full((height, width), -1, np.int64)
    scores: dict[int, float] = {}
    probability = logits.softmax(0)
    number = dict.fromkeys(things, 0)
    for one in instance.unique().tolist():
        if one == 0:
            continue
        mask = instance == one
        kind = int(torch.mode(classes[mask])[0])
        number[kind] += 1
        label = kind * 1000 + number[kind]
        panoptic[mask.numpy()] = label
        where = torch.nonzero(mask).float().mean(0)
        objectness = heat[int(where[0]), int(where[1])]
        scores[label] = float(probability[kind][mask].mean() * objectness)
    for kind in classes[~is_thing].unique().tolist():
        mask = (classes == kind) & ~is_thing
        if mask.sum() >= 2048:
            panoptic[mask.numpy()] = kind * 1000
    return panoptic, scores
