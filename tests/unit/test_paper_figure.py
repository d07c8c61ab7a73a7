from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.paper_figure import Row, _path_of, draw_figure
from panoptic_deeplab.structures import PanopticMap, Segment

LABELS = LabelSpace(
    "two",
    (
        ClassInfo("sky", 1, is_thing=False, color=(0, 0, 255)),
        ClassInfo("cat", 2, is_thing=True, color=(255, 0, 0)),
    ),
)


def row(*, with_truth: bool = False) -> Row:
    """Sky over the upper half, two cats side by side below."""
    ids = np.zeros((40, 80), np.int32)
    ids[:20], ids[20:, :40], ids[20:, 40:] = 1, 2, 3
    panoptic = PanopticMap(ids, (Segment(1, 0, 1600), Segment(2, 1, 800), Segment(3, 1, 800)))
    image = np.full((40, 80, 3), 200, np.uint8)
    return Row(image, panoptic, panoptic if with_truth else None)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def test_panels_show_what_their_column_says():
    content = draw_figure([row()], LABELS, ending=".png", dpi=100, legend=False)
    shown = pixels(content)
    height, width = shown.shape[:2]
    third, top = width // 3, height - (width // 3) // 2  # panels are twice as wide as high
    upper, lower = top + (height - top) // 4, height - (height - top) // 4
    assert tuple(shown[upper, third // 2]) == (200, 200, 200)
    sky, cat = shown[upper, width // 2], shown[lower, third + third // 4]
    assert sky[2] > 200 > sky[0]
    assert cat[0] > 150 > cat[2]
    left, right = shown[lower, 2 * third + third // 4], shown[lower, width - third // 4]
    assert tuple(left) != tuple(right)  # instances are told apart
    above = shown[upper, width - third // 4]
    assert above[0] == above[1] == above[2]  # stuff stays grey there


def test_rows_stand_below_each_other():
    heights = [pixels(draw_figure([row()] * n, LABELS, ending=".png")).shape[0] for n in (1, 2)]
    assert heights[1] > heights[0] * 1.5


@pytest.mark.parametrize(("ending", "start"), [(".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_vector_files(ending, start):
    rows = [row(with_truth=True)]
    columns = ("truth", "panoptic")
    content = draw_figure(rows, LABELS, ending=ending, columns=columns)
    assert content.startswith(start)


def test_text_and_outlines_stay_such():
    content = draw_figure([row()], LABELS, ending=".svg", columns=("panoptic",)).decode()
    assert ">sky</text>" in content.replace(" </text>", "</text>")
    assert "<image" not in content


def test_an_outline_has_the_corners_of_its_pixels():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False  # a hole is a second ring
    path = _path_of(mask, (10, 20))
    corners = {tuple(v) for v in path.vertices.tolist()}
    assert {(10.0, 20.0), (13.0, 23.0), (11.0, 21.0), (12.0, 22.0)} <= corners


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([], {}, "at least one image"),
        ([row()], {"columns": ()}, "at least one column of image, truth"),
        ([row()], {"columns": ("instances",)}, "Did you mean 'instance'"),
        ([row()], {"ending": ".gif"}, "ending in .pdf, .svg, .png, got '.gif'"),
        ([row()], {"columns": ("truth",)}, "needs images with labels"),
    ],
)
def test_slips(rows, options, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        draw_figure(rows, LABELS, **options)
