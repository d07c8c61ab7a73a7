"""Tiny made-up samples from which every format writes its example: all that can occur.

Comes in: a label space. Goes out: a data set of two samples per split with stuff, several things of
a class, one in two parts, one with a hole, one cut by the picture's edge, a crowd region, and void.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.format import Writer
from panoptic_deeplab.data.pictures import picture_of
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample, Segment

SIZE = (40, 56)

LABELS = LabelSpace(
    "example",
    (
        ClassInfo("ground", 1, False, (128, 64, 128)),
        ClassInfo("sky", 2, False, (70, 130, 180)),
        ClassInfo("tree", 3, False, (107, 142, 35)),
        ClassInfo("car", 4, True, (0, 0, 142)),
        ClassInfo("person", 5, True, (220, 20, 60)),
    ),
)
STUFF = LabelSpace("example", LABELS.classes[:3])


class Examples:
    """Two samples, which differ between seeds.

    Args:
        labels: classes; the first two of stuff and the last two of things are used.
        seed: of the pictures.
        names: of the two images.
        crowd: whether one region is a crowd.
    """

    def __init__(
        self,
        labels: LabelSpace = LABELS,
        seed: int = 0,
        names: tuple[str, str] = ("a", "b"),
        *,
        crowd: bool = True,
    ) -> None:
        self._labels, self._seed, self._names, self._crowd = labels, seed, names, crowd

    @property
    def labels(self) -> LabelSpace:
        """As given."""
        return self._labels

    def __len__(self) -> int:
        """Two."""
        return len(self._names)

    def image_id(self, index: int, /) -> str:
        """As given."""
        return self._names[index]

    def __getitem__(self, index: int, /) -> Sample:
        """Draw a sample."""
        shift = 2 * self._seed + index
        ids, classes = _draw(shift, self._labels, self._crowd)
        segments = tuple(
            Segment(number, class_id, int((ids == number).sum()), None, is_crowd)
            for number, (class_id, is_crowd) in classes.items()
        )
        generator = np.random.default_rng((self._seed, index))
        image = generator.integers(0, 256, (*SIZE, 3), np.uint8)
        return Sample(image, PanopticMap(ids, segments), self._names[index])


def write_samples(dataset: PanopticDataset, writer: Writer) -> list[str]:
    """Write all samples of a data set; gives the names they got.

    Raises:
        ValueError: if an image has no labels, or as the writer.
    """
    names = []
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.panoptic is None:
            raise ValueError(
                f"Only labelled images can be written, {sample.image_id!r} has no labels. Leave "
                "it out."
            )
        names.append(writer.add(sample, picture_of(dataset, index, sample)))
    writer.close()
    return names


def own_names(seed: int, split: str) -> tuple[str, str]:
    """Names as people give them."""
    return f"{split}1", f"{split}2"


def coco_names(seed: int, split: str) -> tuple[str, str]:
    """Twelve digits, as COCO's files have them."""
    return f"{2 * seed:012d}", f"{2 * seed + 1:012d}"


def write_examples(
    writer: Callable[[Path, str, LabelSpace], Writer],
    root: str | Path,
    *,
    names: Callable[[int, str], tuple[str, str]] = own_names,
    labels: LabelSpace = LABELS,
) -> None:
    """Write the splits "train" and "val" of a format.

    Args:
        writer: of (root, split, labels).
        root: folder of the data set.
        names: of the two images, from the split's seed and name.
        labels: see `Examples`.
    """
    for seed, split in enumerate(("train", "val")):
        write_samples(Examples(labels, seed, names(seed, split)), writer(Path(root), split, labels))


def _draw(
    shift: int, labels: LabelSpace, crowd: bool
) -> tuple[np.ndarray, dict[int, tuple[int, bool]]]:
    ids = np.zeros(SIZE, np.int32)
    ids[:14, 4:] = 1
    ids[14:36] = 2
    classes = {1: (labels.stuff_ids[1], False), 2: (labels.stuff_ids[0], False)}
    if labels.thing_ids:
        one, other = labels.thing_ids[-2:]
        ids[16:26, 2 + shift : 12 + shift] = 3
        ids[18:22, 5 + shift : 8 + shift] = 2  # a hole
        ids[16:26, 12 + shift : 20 + shift] = 4  # touches the one before
        ids[20:40, 26:30] = 5
        ids[22:24, 26:30] = 2  # two parts
        ids[24:34, 50:] = 6
        classes |= {3: (one, False), 4: (one, False), 5: (other, False), 6: (one, False)}
        if crowd:
            ids[8:16, 34:46] = 7
            classes[7] = (other, True)
    return ids, classes
