"""Drawn scenes for the benchmarks: what a network's heads, a truth and a prediction look like.

Everything follows from a seed; nothing is read from disk. Scenes resemble street pictures: bands
of stuff, and round things of all sizes that cover about a fifth of the image.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import Outputs, PanopticMap, Segment

STUFF_SHARE = 11 / 19
"""Of the classes; Cityscapes has 11 stuff classes and 8 things."""


class Scene(NamedTuple):
    """What is drawn.

    Attributes:
        size: (H, W) in pixels.
        num_classes: K.
        num_things: discs drawn.
    """

    size: tuple[int, int] = (1024, 2048)
    num_classes: int = 19
    num_things: int = 80


def label_space(num_classes: int) -> LabelSpace:
    """Stuff first, then things."""
    num_stuff = round(num_classes * STUFF_SHARE)
    return LabelSpace(
        "benchmark",
        tuple(ClassInfo(f"class {i}", i, i >= num_stuff, (0, 0, 0)) for i in range(num_classes)),
    )


def draw_map(
    size: tuple[int, int], num_things: int, labels: LabelSpace, rng: np.random.Generator
) -> PanopticMap:
    """A truth: bands of stuff under discs of things, later ones over earlier ones.

    Args:
        size: (H, W).
        num_things: discs drawn; some may be hidden by others.
        labels: stuff first, then things.
        rng: source of chance.
    """
    height, width = size
    num_stuff = len(labels.stuff_ids)
    bands = np.arange(height) * num_stuff // height + 1
    ids = np.repeat(bands[:, None], width, axis=1).astype(np.int32)
    class_ids = list(range(num_stuff))
    # Chosen so that things cover about a fifth of the image, whatever their number.
    mean_radius = np.sqrt(0.28 * height * width / (np.pi * max(num_things, 1)) / 1.6)
    for _ in range(num_things):
        radius = mean_radius * rng.gamma(2.0, 0.5)
        y, x = rng.integers(0, height), rng.integers(0, width)
        reach = int(radius) + 1
        rows = slice(max(y - reach, 0), y + reach + 1)
        columns = slice(max(x - reach, 0), x + reach + 1)
        dy = np.arange(height)[rows, None] - y
        dx = np.arange(width)[None, columns] - x
        ids[rows, columns][dy**2 + dx**2 <= radius**2] = len(class_ids) + 1
        class_ids.append(int(rng.choice(labels.thing_ids)))
    present, areas = np.unique(ids, return_counts=True)
    segments = (
        Segment(int(i), class_ids[i - 1], int(area)) for i, area in zip(present, areas, strict=True)
    )
    return PanopticMap(ids, tuple(segments))


def draw_heads(
    size: tuple[int, int], num_things: int, labels: LabelSpace, seed: int = 0
) -> Outputs:
    """Noisy heads of a network at stride 4, with one center per visible thing.

    Args:
        size: (H, W) of the image, multiples of 4.
        num_things: see `draw_map`.
        labels: stuff first, then things.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    small = size[0] // 4, size[1] // 4
    truth = draw_map(small, num_things, labels, rng)
    class_of = np.zeros(len(labels.stuff_ids) + num_things + 1, np.int64)
    for segment in truth.segments:
        class_of[segment.id] = segment.class_id
    logits = rng.normal(0, 0.6, (labels.num_classes, *small)).astype(np.float32)
    right = class_of[truth.segment_map][None]
    np.put_along_axis(logits, right, np.take_along_axis(logits, right, 0) + 4, 0)
    heat = np.zeros(small, np.float32)
    offset = rng.normal(0, 0.3, (2, *small)).astype(np.float32)
    grid = np.indices(small).astype(np.float32)
    for segment in truth.segments:
        if not labels.is_thing(segment.class_id):
            continue
        mask = truth.segment_map == segment.id
        center = grid[:, mask].mean(axis=1)
        offset[:, mask] += center[:, None] - grid[:, mask]
        top, left = (max(int(c) - 7, 0) for c in center)
        rows, columns = slice(top, top + 16), slice(left, left + 16)
        away = ((grid[:, rows, columns] - center[:, None, None]) ** 2).sum(axis=0)
        blob = rng.uniform(0.5, 1) * np.exp(-away / 8)  # sigma of 8 pixels, 2 at stride 4
        np.maximum(heat[rows, columns], blob, out=heat[rows, columns])
    # The noise also parts equal pixels around a peak, which would all become centers.
    heat += rng.normal(0, 0.005, small).astype(np.float32)
    return Outputs(*(torch.from_numpy(a)[None] for a in (logits, heat[None], offset)))


def disturb(truth: PanopticMap, rng: np.random.Generator) -> PanopticMap:
    """A prediction: the truth moved by a few pixels, some segments lost, all with scores."""
    dy, dx = rng.integers(-6, 7, 2)
    ids: NDArray[np.int32] = np.roll(truth.segment_map, (dy, dx), axis=(0, 1))
    lost = {s.id for s in truth.segments if rng.random() < 0.1}
    table = np.arange(ids.max() + 1, dtype=np.int32)
    table[list(lost)] = 0
    ids = table[ids]
    present, areas = np.unique(ids[ids > 0], return_counts=True)
    class_of = {s.id: s.class_id for s in truth.segments}
    segments = (
        Segment(int(i), class_of[int(i)], int(area), float(rng.random()))
        for i, area in zip(present, areas, strict=True)
    )
    return PanopticMap(ids, tuple(segments))
