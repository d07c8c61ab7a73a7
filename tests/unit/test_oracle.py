"""Oracles: all heads true is perfect, one head true changes that head alone."""

import pytest

from panoptic_deeplab.config import InferenceConfig
from panoptic_deeplab.data.synthetic import SyntheticStreets
from panoptic_deeplab.evaluate import evaluate
from panoptic_deeplab.oracle import HEADS, Oracle
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.structures import Sample


@pytest.fixture(scope="module")
def scenes() -> SyntheticStreets:
    return SyntheticStreets((96, 192), 3, seed=4)


def test_the_truth_of_all_heads_is_nearly_perfect(
    tiny_predictor: Predictor, scenes: SyntheticStreets
) -> None:
    report = evaluate(Oracle(tiny_predictor, HEADS, sigma_px=2), scenes)
    assert report.semantic.mean == 1
    assert report.panoptic.stuff.pq == 1
    assert report.panoptic.things.pq > 0.9  # more things than the 20 centers it may keep get lost
    plain = evaluate(tiny_predictor, scenes)
    semantic = evaluate(Oracle(tiny_predictor, ("semantic",)), scenes)
    assert semantic.panoptic.stuff.pq == 1
    assert plain.panoptic.all.pq < semantic.panoptic.all.pq < report.panoptic.all.pq
    center = evaluate(Oracle(tiny_predictor, ("center",)), scenes)
    assert center.semantic.per_class == plain.semantic.per_class
    assert center.panoptic.stuff == plain.panoptic.stuff


def test_no_head_replaced_is_the_network(
    tiny_predictor: Predictor, scenes: SyntheticStreets
) -> None:
    own = tiny_predictor.predict(scenes[0].image).panoptic
    found = Oracle(tiny_predictor, ()).find(scenes[0]).panoptic
    assert (found.segment_map != own.segment_map).mean() < 0.01


def test_another_scale(tiny_predictor: Predictor, scenes: SyntheticStreets) -> None:
    model, labels, grouping = tiny_predictor.model, tiny_predictor.labels, tiny_predictor.grouping
    larger = Predictor(model, labels, grouping, InferenceConfig(scale=1.5))
    found = Oracle(larger, HEADS, sigma_px=3).find(scenes[1])
    assert found.panoptic.size == (96, 192)
    assert evaluate(Oracle(larger, HEADS, sigma_px=3), scenes).panoptic.all.pq > 0.8


def test_slips(tiny_predictor: Predictor, scenes: SyntheticStreets) -> None:
    with pytest.raises(ValueError, match=r"Unknown head 'centre'\. Did you mean 'center'"):
        Oracle(tiny_predictor, ("centre",))
    with pytest.raises(ValueError, match="'x' has no labels, an oracle is made of them"):
        Oracle(tiny_predictor, HEADS).find(Sample(scenes[0].image, None, "x"))
