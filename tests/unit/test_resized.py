"""Images of one length of their longer side, in validation and, by the scale, in training."""

from pathlib import Path

import numpy as np

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import DATASETS, build_dataset
from panoptic_deeplab.data.resized import Resized


def test_validation_is_resized_and_training_is_not(tmp_path: Path) -> None:
    DATASETS["mapillary_v1_2"].write_example(tmp_path)
    config = DataConfig(format="mapillary_v1_2", root=str(tmp_path), long_side=112)
    plain = build_dataset(config.model_copy(update={"long_side": 0}), "val")
    large = build_dataset(config, "val")
    assert build_dataset(config, "train")[0].image.shape == (40, 56, 3)
    assert (len(large), large.labels) == (len(plain), plain.labels)
    assert large.image_id(1) == plain.image_id(1)
    sample, before = large[0], plain[0]
    assert sample.image.shape == (80, 112, 3)
    doubled = before.panoptic.segment_map.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(sample.panoptic.segment_map, doubled)
    sample.panoptic.check()


def test_small_ones_shrink_and_drop_what_vanishes(toy_sample, toy_labels) -> None:
    class One:
        labels = toy_labels

        def __len__(self) -> int:
            return 1

        def image_id(self, index: int, /) -> str:
            return "toy"

        def __getitem__(self, index: int, /):
            return toy_sample

    small = Resized(One(), 16)[0]
    assert small.image.shape == (12, 16, 3)
    small.panoptic.check()
    assert Resized(One(), 64)[0] is toy_sample
    one_px = Resized(One(), 1)[0]
    assert one_px.image.shape == (1, 1, 3)
    assert len(one_px.panoptic.segments) <= 1
