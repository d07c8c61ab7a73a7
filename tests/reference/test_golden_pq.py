"""Panoptic quality equals panopticapi's (7bb4655) on every case of `pq/*.npz`."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics.panoptic import MeanQuality, PanopticQuality
from panoptic_deeplab.structures import PanopticMap, Segment

CASES = {path.stem: path for path in sorted((Path(__file__).parent / "pq").glob("*.npz"))}
WRONG_AREA = "025_gt_json_area_wrong"  # Deviation 14: areas are counted
ID_ZERO = "037_pred_declares_id_0_as_segment"  # Deviation 15: 0 is void, always
ERRORS = {
    "028_pred_id_not_in_json_error": r"Image '0'.*segment 16 is not",
    "029_pred_json_not_in_png_error": r"Image '0'.*segment 99 has none",
    "030_pred_unknown_category_error": r"Image '0': predicted segment 16.*got 3",
}


def load(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "meta"}
        return arrays, json.loads(bytes(file["meta"]).decode())


def label_space(meta: dict) -> LabelSpace:
    return LabelSpace(
        "reference",
        tuple(
            ClassInfo(c["name"], c["id"], bool(c["isthing"]), (0, 0, 0)) for c in meta["categories"]
        ),
    )


def panoptic(ids: np.ndarray, infos: list[dict], labels: LabelSpace) -> PanopticMap:
    known = {c.dataset_id: i for i, c in enumerate(labels.classes)}
    return PanopticMap(
        ids.astype(np.int32),
        tuple(
            Segment(
                s["id"],
                known.get(s["category_id"], labels.num_classes),
                s.get("area", int((ids == s["id"]).sum())),
                is_crowd=bool(s.get("iscrowd", 0)),
            )
            for s in infos
        ),
    )


def measure(path: Path) -> tuple[PanopticQuality, LabelSpace, dict]:
    arrays, meta = load(path)
    labels = label_space(meta)
    quality = PanopticQuality(labels)
    for i, image in enumerate(meta["images"]):
        quality.update(
            panoptic(arrays[f"pred_{i}"], image["pred_segments_info"], labels),
            panoptic(arrays[f"gt_{i}"], image["gt_segments_info"], labels),
            str(i),
        )
    return quality, labels, meta


def assert_mean(mean: MeanQuality, expected: dict | str) -> None:
    if expected == "ZeroDivisionError":
        assert mean == MeanQuality(None, None, None, 0)
        assert str(mean) == "no segments"
        return
    assert mean.num_classes == expected["n"]
    for name in ("pq", "sq", "rq"):
        assert getattr(mean, name) == pytest.approx(expected[name], rel=0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(CASES.keys() - ERRORS.keys() - {WRONG_AREA, ID_ZERO}))
def test_quality_equals_the_reference(name: str) -> None:
    quality, labels, meta = measure(CASES[name])
    result = quality.result()
    for label in labels.classes:
        ours = result.per_class[label.name]
        stat = meta["result"]["stat"][str(label.dataset_id)]
        assert (ours.tp, ours.fp, ours.fn) == (stat["tp"], stat["fp"], stat["fn"])
        if ours.pq is None:
            assert stat["tp"] + stat["fp"] + stat["fn"] == 0
            continue
        theirs = meta["result"]["per_class"][str(label.dataset_id)]
        for number in ("pq", "sq", "rq"):
            assert getattr(ours, number) == pytest.approx(theirs[number], rel=0, abs=1e-12)
    assert_mean(result.all, meta["result"]["All"])
    assert_mean(result.things, meta["result"]["Things"])
    assert_mean(result.stuff, meta["result"]["Stuff"])


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_what_the_reference_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=ERRORS[name]):
        measure(CASES[name])


def test_a_wrong_area_in_the_list_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        quality, _, _ = measure(CASES[WRONG_AREA])
    assert quality.result().all.pq == 1
    assert "true segment 5 is listed with 5000 pixels, its map has 1089" in caplog.text


def test_segment_id_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Segment ids start at 1 \(0 is void\)"):
        measure(CASES[ID_ZERO])
