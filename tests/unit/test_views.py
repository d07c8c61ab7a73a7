"""Several looks at an image: where their grids lie, and that averaging them keeps what is right."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from panoptic_deeplab.config import GroupingConfig, InferenceConfig
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.metrics.panoptic import PanopticQuality
from panoptic_deeplab.model import PanopticDeepLab
from panoptic_deeplab.predict import Member, Predictor, padded_size
from panoptic_deeplab.structures import Outputs, PanopticMap, Segment
from panoptic_deeplab.views import MeanOutputs, View

PAPER = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def test_mirrored_heads_by_hand() -> None:
    """A row of five samples, 4 pixels apart, over 17 pixels: mirroring reverses them."""
    look = View((17, 17), (17, 17), (5, 5), align_corners=True)
    rows = torch.arange(5.0).expand(1, 1, 5, 5)
    heads = Outputs(torch.cat([rows, -rows], 1), 10 * rows, torch.cat([rows, rows], 1))
    mean = MeanOutputs(look)
    mean.add(heads, look._replace(mirrored=True))
    found = mean.result()
    assert found.center[0, 0, 2].tolist() == [40, 30, 20, 10, 0]
    assert found.offset[0, :, 2].tolist() == [[4, 3, 2, 1, 0], [-4, -3, -2, -1, 0]]  # dy, dx
    torch.testing.assert_close(found.semantic, heads.semantic.flip(3).log_softmax(1))


def test_coarse_heads_by_hand() -> None:
    """Half the size: every second sample is one of the coarse ones, the others lie between."""
    target = View((17, 17), (17, 17), (5, 5), align_corners=False)
    coarse = View((8, 8), (8, 8), (2, 2), align_corners=False)
    center = torch.tensor([[0.0, 8.0], [0.0, 8.0]]).expand(1, 1, 2, 2)
    mean = MeanOutputs(target)
    mean.add(Outputs(torch.zeros(1, 2, 2, 2), center, torch.ones(1, 2, 2, 2)), coarse)
    found = mean.result()
    # Samples of the target at 0.1, 0.3 ... 0.9 of its width, the coarse ones at 0.25 and 0.75.
    torch.testing.assert_close(found.center[0, 0, 0], torch.tensor([0, 0.8, 4, 7.2, 8]))
    torch.testing.assert_close(found.offset, torch.full((1, 2, 5, 5), 2.5))  # grids of 2 and 5
    assert found.semantic.exp().unique().tolist() == [0.5]


@st.composite
def looks(draw: st.DrawFn, *, mirrored: bool | None = None) -> View:
    size = draw(st.integers(40, 90)), draw(st.integers(40, 90))
    align = draw(st.booleans())
    network = padded_size(size, 16, align_corners=align)
    samples = ((network[0] - 1) // 4 + 1, (network[1] - 1) // 4 + 1)
    return View(
        size, network, samples, align, draw(st.booleans()) if mirrored is None else mirrored
    )


def shares_of_image(view: View) -> tuple[Tensor, Tensor]:
    """How far down and right each sample lies, as shares of the image's sides; the definition."""
    shares = []
    for axis in (0, 1):
        n, pixels = view.samples[axis], view.network[axis]
        places = np.arange(n)
        if view.align_corners:
            pixel = places * (pixels - 1) / (n - 1)
        else:
            pixel = (places + 0.5) * pixels / n - 0.5
        shares.append((pixel + 0.5) / view.size[axis])
    down, right = (torch.tensor(s, dtype=torch.float32) for s in shares)
    return down, (1 - right if view.mirrored else right)


@given(target=looks(mirrored=False), view=looks())
def test_what_is_linear_in_the_image_is_the_same_from_every_look(target: View, view: View) -> None:
    down, right = shares_of_image(view)
    plane = (3 * down[:, None] - 2 * right[None])[None, None]
    mean = MeanOutputs(target)
    ones = torch.ones(1, 2, *view.samples)
    mean.add(Outputs(torch.cat([plane, -plane], 1) * 0, plane, ones), view)
    found = mean.result()
    down, right = shares_of_image(target)
    expected = 3 * down[:, None] - 2 * right[None]
    inside_y = (down >= 4 / view.size[0]) & (down <= 1 - 4 / view.size[0])  # others are clamped
    inside_x = (right >= 4 / view.size[1]) & (right <= 1 - 4 / view.size[1])
    inside = inside_y[:, None] & inside_x[None]
    torch.testing.assert_close(found.center[0, 0][inside], expected[inside], atol=1e-5, rtol=0)
    sign = -1 if view.mirrored else 1
    factors = [view.span(i) / target.span(i) * s for i, s in ((0, 1), (1, sign))]
    for found_axis, factor in zip(found.offset[0], factors, strict=True):
        torch.testing.assert_close(found_axis, torch.full_like(found_axis, factor))


SCENE = LabelSpace(
    "blocks",
    (
        ClassInfo("ground", 1, False, (0, 0, 0)),
        ClassInfo("box", 2, True, (250, 0, 0)),
        ClassInfo("ball", 3, True, (0, 250, 0)),
    ),
)


def scene() -> tuple[np.ndarray, PanopticMap]:
    """Four boxes and balls on the ground; a thing's number is its blue, its class red or green."""
    ids = np.zeros((160, 224), np.int32) + 5
    for number, (y, x, h, w) in enumerate(
        [(8, 12, 60, 50), (20, 62, 40, 70), (90, 30, 56, 40), (84, 150, 60, 66)], 1
    ):
        ids[y : y + h, x : x + w] = number
    image = np.zeros((*ids.shape, 3), np.uint8)
    for number in range(1, 5):
        image[ids == number] = (250, 0, 50 * number) if number < 3 else (0, 250, 50 * number)
    classes = {1: 1, 2: 1, 3: 2, 4: 2, 5: 0}
    areas = np.bincount(ids.reshape(-1))
    segments = tuple(Segment(i, c, int(areas[i])) for i, c in classes.items())
    return image, PanopticMap(ids, segments)


class Seer(nn.Module):
    """A network that reads perfect heads, at stride 4, off the colours of `scene`."""

    num_classes, align_corners = 3, True

    def __init__(self) -> None:
        super().__init__()
        self.backbone = type("Strides", (), {"strides": (4, 8, 16)})()
        self.weight = nn.Parameter(torch.zeros(1))
        self.given: list[Any] = []

    def forward(self, images: Tensor) -> Outputs:
        assert not any(ref() is not None for ref in self.given), "earlier heads are still kept"
        pixels = images[0].float()
        palette = torch.tensor([[0, 0, 0], *((250, 0, 50 * n) for n in (1, 2))])
        palette = torch.cat([palette, torch.tensor([(0, 250, 50 * n) for n in (3, 4)])]).float()
        numbers = ((pixels[None] - palette[:, :, None, None]) ** 2).sum(1).argmin(0)
        here = numbers[::4, ::4]
        y, x = torch.meshgrid(
            torch.arange(here.shape[0]), torch.arange(here.shape[1]), indexing="ij"
        )
        center, offset = torch.zeros(1, 1, *here.shape), torch.zeros(1, 2, *here.shape)
        for number in range(1, 5):
            places = (numbers == number).nonzero().float()
            if not len(places):
                continue
            cy, cx = places.mean(0).tolist()
            to_y, to_x = cy / 4 - y, cx / 4 - x
            heat = torch.exp(-(to_y**2 + to_x**2) / 8)
            center[0, 0] = torch.maximum(center[0, 0], heat)
            mine = here == number
            offset[0, 0][mine], offset[0, 1][mine] = to_y[mine], to_x[mine]
        classes = torch.tensor([0, 1, 1, 2, 2])[here]
        semantic = 8 * nn.functional.one_hot(classes, 3).permute(2, 0, 1)[None].float()
        self.given = [weakref.ref(head) for head in (semantic, center, offset)]
        return Outputs(semantic, center, offset)


def quality(predictor: Predictor) -> float:
    image, truth = scene()
    metric = PanopticQuality(SCENE)
    metric.update(predictor.predict(image).panoptic, truth)
    value = metric.result().all.pq
    assert value is not None
    return float(value)


def test_perfect_heads_stay_perfect() -> None:
    """And only the sums are kept: the network sees that its earlier heads are gone."""
    grouping = GroupingConfig(stuff_area_px=16)
    plain = quality(Predictor(Seer(), SCENE, grouping))
    for settings in (
        InferenceConfig(flip=True),
        InferenceConfig(scales=(0.5, 1.0)),
        InferenceConfig(scales=PAPER, flip=True),
    ):
        assert quality(Predictor(Seer(), SCENE, grouping, settings)) >= plain
    others = [Member(Seer(), 1.5), Member(Seer(), 1.0, 3.0)]
    assert quality(Predictor(Seer(), SCENE, grouping, others=others)) >= plain
    assert plain > 0.9


def test_mirrored_images_get_mirrored_heads(tiny_model: PanopticDeepLab) -> None:
    labels = LabelSpace(
        "x", tuple(ClassInfo(f"c{i}", i, i > 0, (i, i, i)) for i in range(tiny_model.num_classes))
    )
    predictor = Predictor(tiny_model, labels, GroupingConfig(), InferenceConfig(flip=True))
    side = padded_size((64, 96), tiny_model.backbone.strides[-1], align_corners=True)
    image = np.random.default_rng(0).integers(0, 256, (*side, 3), np.uint8)
    heads, mirrored = predictor.outputs(image), predictor.outputs(image[:, ::-1].copy())
    sign = torch.tensor([1.0, -1.0])[:, None, None]
    torch.testing.assert_close(mirrored.semantic, heads.semantic.flip(3), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(mirrored.center, heads.center.flip(3), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(mirrored.offset, heads.offset.flip(3) * sign, atol=1e-3, rtol=1e-3)


def test_one_look_is_the_plain_way_and_a_twin_changes_nothing(tiny_predictor: Predictor) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 91, 3), np.uint8)
    model, labels, grouping = tiny_predictor.model, tiny_predictor.labels, tiny_predictor.grouping
    plain = tiny_predictor.predict(image)
    same = Predictor(model, labels, grouping, InferenceConfig(scales=(1.0,)))
    assert np.array_equal(same.predict(image).segment_map, plain.segment_map)
    twins = Predictor(model, labels, grouping, others=[Member(model, share=3.0)])
    heads, expected = twins.outputs(image), tiny_predictor.outputs(image)
    torch.testing.assert_close(heads.center, expected.center, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(heads.offset, expected.offset, atol=1e-5, rtol=1e-5)
    assert torch.equal(heads.semantic.argmax(1), expected.semantic.argmax(1))


def test_shares_must_be_positive(tiny_predictor: Predictor) -> None:
    model, labels, grouping = tiny_predictor.model, tiny_predictor.labels, tiny_predictor.grouping
    with pytest.raises(ValueError, match=r"share must be above 0, got \[1.0, 0\]"):
        Predictor(model, labels, grouping, others=[Member(model, share=0)])
