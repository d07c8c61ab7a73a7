"""The stream of training batches: a function of seed and position, whatever delivers it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    RunConfig,
    ScheduleConfig,
)
from panoptic_deeplab.data import DATASETS, build_dataset
from panoptic_deeplab.data.loading import TrainingSet, build_loader
from panoptic_deeplab.data.synthetic import LABELS
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Batch, PanopticMap, Sample, Segment


class Numbered:
    """Images that are their own number, so that a batch tells which it holds."""

    labels = LABELS

    def __init__(self, count: int, broken: int = -1) -> None:
        self.count, self.broken = count, broken

    def __len__(self) -> int:
        return self.count

    def image_id(self, index: int, /) -> str:
        return f"n{index}"

    def __getitem__(self, index: int, /) -> Sample:
        if index == self.broken:
            raise ValueError(f"n{index}.png: expected a whole picture")
        ids = np.ones((8, 8), np.int32)
        panoptic = PanopticMap(ids, (Segment(1, LABELS.thing_ids[0], 64),))
        return Sample(np.full((8, 8, 3), index, np.uint8), panoptic, self.image_id(index))


def settings(
    *, workers: int = 0, iterations: int = 6, batch: int = 4, seed: int = 0, plain: bool = True
) -> Experiment:
    scale = {"min_scale": 1.0, "max_scale": 1.0, "flip": False} if plain else {}
    return Experiment(
        data=DataConfig(size=(64, 96), train_images=5, workers=workers),
        augment=AugmentConfig(crop_size=(8, 8) if plain else (33, 49), **scale),
        schedule=ScheduleConfig(iterations=iterations, batch_size=batch),
        run=RunConfig(seed=seed),
    )


def numbers(batches: list[Batch]) -> list[int]:
    return [int(image[0, 0, 0]) for batch in batches for image in batch.image]


def equal(one: Batch, two: Batch) -> bool:
    return torch.equal(one.image, two.image) and all(
        torch.equal(a, b) for a, b in zip(one.targets, two.targets, strict=True)
    )


def test_each_epoch_holds_every_image_once_in_its_own_order() -> None:
    drawn = numbers(list(build_loader(Numbered(7), settings(iterations=7, batch=4))))
    epochs = [drawn[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_shapes_and_types() -> None:
    experiment = settings(plain=False)
    batch = next(iter(build_loader(build_dataset(experiment.data, "train"), experiment)))
    assert isinstance(batch, Batch)
    assert batch.image.shape == (4, 3, 33, 49)
    assert batch.image.dtype == torch.uint8
    assert batch.targets.semantic.shape == (4, 33, 49)
    assert batch.targets.offset.shape == (4, 2, 33, 49)


def test_resuming_meets_the_same_batches() -> None:
    experiment = settings(plain=False)
    dataset = build_dataset(experiment.data, "train")
    unbroken = list(build_loader(dataset, experiment))
    resumed = list(build_loader(dataset, experiment, start_step=4))
    assert len(unbroken) == 6
    assert len(resumed) == 2
    assert all(equal(a, b) for a, b in zip(unbroken[4:], resumed, strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers(workers: int) -> None:
    alone, helped = settings(plain=False), settings(plain=False, workers=workers)
    dataset = build_dataset(alone.data, "train")
    expected = list(build_loader(dataset, alone, start_step=2))
    got = list(build_loader(dataset, helped, start_step=2))
    assert all(equal(a, b) for a, b in zip(expected, got, strict=True))


def test_seeds_differ() -> None:
    one, two = (numbers(list(build_loader(Numbered(20), settings(seed=s)))) for s in (0, 1))
    assert one != two


def test_an_image_changes_anew_in_each_epoch() -> None:
    experiment = settings(plain=False)
    stream = TrainingSet(build_dataset(experiment.data, "train"), experiment)
    images = [stream[i].image for i in range(20)]  # four epochs of five images
    assert len({image.numpy().tobytes() for image in images}) == 20


def test_padding_has_the_network_s_mean() -> None:
    experiment = settings()
    wide = experiment.model_copy(
        update={
            "augment": experiment.augment.model_copy(update={"crop_size": (20, 20)}),
            "model": experiment.model.model_copy(update={"pixel_mean": (10.4, 20.0, 123.675)}),
        }
    )
    batch = TrainingSet(Numbered(1), wide)[0]
    outside = batch.targets.semantic == 255
    assert outside.sum() == 400 - 64
    assert batch.image[:, outside].unique(dim=1).flatten().tolist() == [10, 20, 124]


def test_the_dice_of_the_network_are_left_alone() -> None:
    torch.manual_seed(3)
    list(build_loader(Numbered(3), settings()))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


# torch takes five seconds to end a worker that has raised
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_unreadable_image_is_named(workers: int) -> None:
    loader = build_loader(Numbered(5, broken=2), settings(workers=workers))
    with pytest.raises(ValueError, match=r"^n2\.png: expected a whole picture[^\n]*$"):
        list(loader)


def test_unreadable_images_are_left_out_if_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    experiment = settings()
    data = experiment.data.model_copy(update={"skip_unreadable": True})
    experiment = experiment.model_copy(update={"data": data})
    drawn = numbers(list(build_loader(Numbered(5, broken=3), experiment)))
    whole = numbers(list(build_loader(Numbered(5), settings())))
    assert 3 not in drawn
    assert [a for a, b in zip(drawn, whole, strict=True) if b != 3] == [b for b in whole if b != 3]
    assert caplog.messages == ["Left out, 1 so far: n3.png: expected a whole picture"]
    with pytest.raises(ValueError, match="Not one image of the training split can be read"):
        list(build_loader(Numbered(1, broken=0), experiment))


def test_no_images() -> None:
    with pytest.raises(ValueError, match="Training needs at least one image"):
        build_loader(Numbered(0), settings())


def test_unknown_format_and_role() -> None:
    with pytest.raises(ValueError, match="Unknown data format 'coco'"):
        build_dataset(DataConfig(format="coco"), "train")
    with pytest.raises(ValueError, match="'train' or 'val', got 'test'"):
        build_dataset(DataConfig(), "test")
    with pytest.raises(ValueError, match="need their folder, got none"):
        build_dataset(DataConfig(format="coco_panoptic"), "train")


def test_roles_of_drawn_scenes_differ() -> None:
    config = DataConfig(size=(64, 64), train_images=7, val_images=3)
    train, val = build_dataset(config, "train"), build_dataset(config, "val")
    assert (len(train), len(val)) == (7, 3)
    assert isinstance(train.labels, LabelSpace)
    assert not np.array_equal(train[0].image, val[0].image)


class Kinds(Numbered):
    """The last image is of a kind of its own."""

    def image_field(self, field: str) -> dict[str, str]:
        return {f"n{i}": "rare" if i == self.count - 1 else "common" for i in range(self.count)}


def test_rare_kinds_come_up_more_often() -> None:
    chosen = settings(iterations=3, batch=4)
    balanced = chosen.model_copy(update={"data": chosen.data.model_copy(update={"balance": "k"})})
    one_epoch = numbers(list(build_loader(Kinds(10), balanced)))  # 9 once, the rare one 3 times
    assert sorted(one_epoch) == [*range(9), 9, 9, 9]
    with pytest.raises(ValueError, match="drawn scenes are all of one kind"):
        build_loader(Numbered(10), balanced)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_each_batch(world: int) -> None:
    experiment = settings(plain=False)
    dataset = build_dataset(experiment.data, "train")
    whole = list(build_loader(dataset, experiment, 3))
    parts = [list(build_loader(dataset, experiment, 3, rank=r, world=world)) for r in range(world)]
    for step, batch in enumerate(whole):
        images = torch.cat([part[step].image for part in parts])
        centers = torch.cat([part[step].targets.center for part in parts])
        assert torch.equal(images, batch.image)
        assert torch.equal(centers, batch.targets.center)
    assert all(len(part) == 3 for part in parts)


def test_batches_that_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match=r"number of processes, got 4 for 3\. Use 6"):
        build_loader(Numbered(3), settings(), rank=0, world=3)
    with pytest.raises(ValueError, match="rank must be from 0 to 1"):
        build_loader(Numbered(3), settings(), rank=2, world=2)


def with_data(experiment: Experiment, **changes: object) -> Experiment:
    data = experiment.data.model_copy(update=changes)
    return experiment.model_copy(update={"data": data})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_changes_nothing(workers: int) -> None:
    experiment = settings(plain=False, workers=workers)
    dataset = build_dataset(experiment.data, "train")
    expected = list(build_loader(dataset, settings(plain=False)))
    cached = list(build_loader(dataset, with_data(experiment, cache_mb=1)))
    assert all(equal(a, b) for a, b in zip(expected, cached, strict=True))


def test_crops_on_rare_classes_are_repeatable() -> None:
    experiment = settings(plain=False)
    focused = experiment.augment.model_copy(update={"focus": 1.0, "crop_size": (17, 17)})
    experiment = experiment.model_copy(update={"augment": focused})
    dataset = build_dataset(experiment.data, "train")
    one, two = (list(build_loader(dataset, experiment)) for _ in range(2))
    assert all(equal(a, b) for a, b in zip(one, two, strict=True))
    unfocused = experiment.augment.model_copy(update={"focus": 0.0})
    other = list(build_loader(dataset, experiment.model_copy(update={"augment": unfocused})))
    assert not all(equal(a, b) for a, b in zip(one, other, strict=True))


def test_images_of_rare_classes_come_up_more_often() -> None:
    class Rare(Numbered):
        def __getitem__(self, index: int, /) -> Sample:
            sample = super().__getitem__(index)
            if index == 4:
                segment = Segment(1, LABELS.thing_ids[1], 64)
                ids = sample.panoptic.segment_map
                return Sample(sample.image, PanopticMap(ids, (segment,)), sample.image_id)
            return sample

    chosen = with_data(settings(iterations=3, batch=4), balance="classes")
    assert sorted(numbers(list(build_loader(Rare(10), chosen)))) == [
        *range(4),
        4,
        4,
        4,
        *range(5, 10),
    ]


def test_shards_are_read_one_after_the_other() -> None:
    class Sharded(Numbered):
        @property
        def shards(self) -> list[int]:
            return [i // 4 for i in range(self.count)]

    chosen = with_data(settings(iterations=3, batch=4), shuffle_window=4)
    drawn = numbers(list(build_loader(Sharded(12), chosen)))
    assert sorted(drawn) == list(range(12))
    assert all(len({n // 4 for n in drawn[i : i + 4]}) == 1 for i in (0, 4, 8))


@pytest.mark.parametrize("workers", [0, 2])
def test_all_options_at_once_resume_and_share(workers: int, tmp_path: Path) -> None:
    DATASETS["tar_shards"].write_example(tmp_path)
    plain = settings(plain=False, batch=2)
    changes = {"balance": "classes", "long_side": 80, "shuffle_window": 2}
    chosen = plain.model_copy(
        update={"augment": plain.augment.model_copy(update={"focus": 0.5, "crop_size": (33, 49)})}
    )
    files = {"format": "tar_shards", "root": str(tmp_path)}
    experiment = with_data(chosen, **files, **changes)
    dataset = build_dataset(experiment.data, "train")
    whole = list(build_loader(dataset, experiment))
    helped = with_data(experiment, workers=workers, cache_mb=1)
    for rank in range(2):
        rest = list(build_loader(dataset, helped, 3, rank=rank, world=2))
        expected = [batch.image[rank : rank + 1] for batch in whole[3:]]
        assert all(torch.equal(a.image, b) for a, b in zip(rest, expected, strict=True))


ABANDONED = """
from panoptic_deeplab.config import AugmentConfig, DataConfig, Experiment, ScheduleConfig
from panoptic_deeplab.data import build_dataset
from panoptic_deeplab.data.loading import build_loader
experiment = Experiment(
    data=DataConfig(format="synthetic", size=(64, 96), workers=1),
    augment=AugmentConfig(crop_size=(33, 33)),
    schedule=ScheduleConfig(batch_size=2, iterations=1000),
)
stream = iter(build_loader(build_dataset(experiment.data, "train"), experiment))
print(len(next(stream).image))
"""


def test_a_program_may_end_in_the_middle_of_the_stream() -> None:
    """Workers do not hear SIGTERM; Python would wait for them for ever."""
    ended = subprocess.run(
        [sys.executable, "-c", ABANDONED], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "2"), ended.stderr
