"""Areas of classes: from lists where they have them, else from the pixels; both the same."""

from pathlib import Path

import numpy as np

from panoptic_deeplab.data import DATASETS
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.frequencies import class_areas, class_weights
from panoptic_deeplab.structures import Sample


def test_lists_and_pixels_agree(tmp_path: Path) -> None:
    DATASETS["coco_panoptic"].write_example(tmp_path)
    dataset = DATASETS["coco_panoptic"].open(Source(tmp_path, "train"))
    listed = class_areas(dataset, range(2))

    class Unlisted:
        labels = dataset.labels

        def __len__(self) -> int:
            return 2

        def image_id(self, index: int, /) -> str:
            return str(index)

        def __getitem__(self, index: int, /) -> Sample:
            return dataset[index]

    assert np.array_equal(class_areas(Unlisted(), range(2)), listed)
    truth = dataset[0].panoptic
    assert listed[0].sum() == (truth.segment_map > 0).sum()
    weights = class_weights(dataset)
    total = listed.sum(axis=0)
    assert np.array_equal(weights > 0, total > 0)
    assert np.allclose(weights[total > 0] * total[total > 0], 1)
