"""A tiny labelled data set, worked by hand, for tests of readers and writers."""

import numpy as np

from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample, Segment

LABELS = LabelSpace(
    "toy",
    (
        ClassInfo("cell", 3, True, (250, 10, 20)),
        ClassInfo("ground", 7, False, (1, 2, 3)),
        ClassInfo("dirt", 90, True, (40, 50, 60)),
    ),
)


class Toy:
    """Two images; ids use all three color channels."""

    labels = LABELS

    def __len__(self) -> int:
        return 2

    def image_id(self, index: int, /) -> str:
        return ("000000000017", "dusk")[index]

    def __getitem__(self, index: int, /) -> Sample:
        ids = np.zeros((6, 9), np.int32)
        ids[1:3, 2:5], ids[4:, :], ids[0, 8] = 70_001, 300 + index, 2**24 - 1
        image = np.random.default_rng(index).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        segments = (
            Segment(2**24 - 1, 2, 1, score=0.25),
            Segment(300 + index, 1, 18),
            Segment(70_001, 0, 6, is_crowd=True),
        )
        return Sample(image, PanopticMap(ids, segments), self.image_id(index))
