"""What holds for every entry of `DATASETS`, checked on the example each can write."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import DATASETS, PanopticDataset, build_dataset
from panoptic_deeplab.targets import make_targets


@pytest.fixture(params=["synthetic", *DATASETS])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> DataConfig:
    if request.param in DATASETS:
        DATASETS[request.param].write_example(tmp_path)
    return DataConfig(
        format=request.param, root=str(tmp_path), size=(96, 160), train_images=3, val_images=2
    )


@pytest.fixture(params=["train", "val"])
def dataset(request: pytest.FixtureRequest, config: DataConfig) -> PanopticDataset:
    return build_dataset(config, request.param)


def test_is_a_dataset(dataset: PanopticDataset) -> None:
    assert isinstance(dataset, PanopticDataset)
    assert len(dataset) > 0


def test_samples_are_true_to_their_lists(dataset: PanopticDataset) -> None:
    for i in range(len(dataset)):
        sample = dataset[i]
        assert sample.panoptic is not None
        sample.panoptic.check()
        assert {s.class_id for s in sample.panoptic.segments} <= set(
            range(dataset.labels.num_classes)
        )


def test_there_are_things_and_stuff(dataset: PanopticDataset, config: DataConfig) -> None:
    format_ = DATASETS.get(config.format)
    found = {s.class_id for i in range(len(dataset)) for s in dataset[i].panoptic.segments}
    assert found & set(dataset.labels.thing_ids) or not (format_ is None or format_.has_things)
    assert found & set(dataset.labels.stuff_ids)


def test_names_are_unique_and_known_without_reading(dataset: PanopticDataset) -> None:
    names = [dataset.image_id(i) for i in range(len(dataset))]
    assert len(set(names)) == len(dataset)
    assert names == [dataset[i].image_id for i in range(len(dataset))]


def test_stuff_has_one_segment_per_class(dataset: PanopticDataset) -> None:
    for i in range(len(dataset)):
        stuff = [
            (s.class_id, s.is_crowd)
            for s in dataset[i].panoptic.segments
            if not dataset.labels.is_thing(s.class_id)
        ]
        assert len(stuff) == len(set(stuff))


def test_reading_twice_and_after_pickling(dataset: PanopticDataset) -> None:
    copy = pickle.loads(pickle.dumps(dataset))
    for other in (dataset, copy):
        assert np.array_equal(other[0].image, dataset[0].image)
        assert np.array_equal(other[0].panoptic.segment_map, dataset[0].panoptic.segment_map)
        assert other[0].panoptic.segments == dataset[0].panoptic.segments
    assert copy.labels == dataset.labels


def test_targets_can_be_made(dataset: PanopticDataset) -> None:
    targets = make_targets(dataset[0].panoptic, dataset.labels)
    assert targets.semantic.shape == dataset[0].image.shape[:2]


def test_roles_share_their_classes_but_no_image(config: DataConfig) -> None:
    train, val = build_dataset(config, "train"), build_dataset(config, "val")
    assert train.labels == val.labels
    pictures = {train[i].image.tobytes() for i in range(len(train))}
    assert not pictures & {val[i].image.tobytes() for i in range(len(val))}
