"""The page of an evaluation: its numbers, its pictures, its order of images."""

import re
from pathlib import Path

from panoptic_deeplab.assessment import Wanted
from panoptic_deeplab.data.synthetic import SyntheticStreets
from panoptic_deeplab.evaluate import evaluate
from panoptic_deeplab.evaluation_page import evaluation_page
from panoptic_deeplab.predict import Predictor


def test_the_page_has_what_the_report_has(tiny_predictor: Predictor, tmp_path: Path) -> None:
    dataset = SyntheticStreets((64, 96), 3, seed=1)
    kinds = {dataset.image_id(i): ("day", "night")[i % 2] for i in range(3)}
    wanted = Wanted("coco", band_share=0.02, with_all_scores=True)
    report = evaluate(tiny_predictor, dataset, kinds=kinds, wanted=wanted)
    page = evaluation_page(
        report,
        dataset,
        lambda sample: tiny_predictor.predict(sample.image).panoptic,
        title="tiny <on> scenes",
        images=2,
    ).decode()
    assert "tiny &lt;on&gt; scenes" in page
    for key in ("overview", "scores", "kinds", "classes", "errors", "costs", "sizes", "images"):
        assert f'id="{key}"' in page
    assert page.count('<figure class="flip"') == 3  # two worst, and the best that is left
    assert page.count("data:image/jpeg") == 9
    shown = [float(x) for x in re.findall(r", PQ ([\d.]+)</figcaption>", page)]
    assert shown[0] <= shown[1] <= shown[2]
    exact = f'data-key="{100 * report.panoptic.all.pq}"'
    assert exact in page


def test_nothing_at_all(tiny_predictor: Predictor) -> None:
    """No image has a quality: tables stay, pictures are left out."""
    dataset = SyntheticStreets((64, 96), 1, seed=1)
    report = evaluate(tiny_predictor, dataset)
    report.by_image.clear()
    page = evaluation_page(report, dataset, lambda s: s.panoptic, title="t").decode()
    assert '<figure class="flip"' not in page
