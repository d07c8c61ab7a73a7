"""What holds for every format on disk: recognised, written back the same, damage named."""

import logging
import shutil
from pathlib import Path

import pytest

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import DATASETS, build_dataset, recognise
from panoptic_deeplab.data.examples import write_samples

NOT_READ = {
    "cityscapes": ("_labelIds.png",),
    "cityscapes_coarse": ("_labelIds.png",),
    "mapillary_v1_2": ("v1.2/labels/",),
    "mapillary_v2_0": ("v2.0/labels/",),
}
"""Files that writers add for other programs and readers leave alone."""

DISPENSABLE = {
    "cvat": ("labels.json",),
    "yolo_seg": ("labels.json",),
    "labelme": ("labels.json",),
    "instance_masks": ("labels.json", "masks/"),  # a mask less is a thing less
    "instance_tiffs": ("labels.json",),
    "mapillary_v1_2": ("config_v1.2.json",),
    "mapillary_v2_0": ("config_v2.0.json",),
    "tar_shards": ("shards/train-index.json", "shards/val-index.json"),
}
"""Files that may be missing: what they say is known, or found out from the others."""


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    DATASETS[request.param].write_example(tmp_path / "example")
    return request.param


def config(name: str, root: Path) -> DataConfig:
    return DataConfig(format=name, root=str(root))


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def read_files(name: str, root: Path) -> list[str]:
    skipped = NOT_READ.get(name, ())
    return [file for file in sorted(tree(root)) if not any(part in file for part in skipped)]


def read_all(name: str, root: Path) -> None:
    for role in ("train", "val"):
        dataset = build_dataset(config(name, root), role)
        for index in range(len(dataset)):
            dataset[index]


def test_is_recognised(name: str, tmp_path: Path) -> None:
    found = recognise(tmp_path / "example")
    assert found.name == name, found
    title = DATASETS[name].title
    assert found.sentence("X").startswith(f"X: taken for {title} (found ")


def test_written_again_is_the_same(name: str, tmp_path: Path) -> None:
    format_ = DATASETS[name]
    for split in ("train", "val"):
        dataset = build_dataset(config(name, tmp_path / "example"), split)
        writer = format_.writer(tmp_path / "again", split, dataset.labels)
        written = write_samples(dataset, writer)
        assert written == [dataset.image_id(i) for i in range(len(dataset))]
    assert tree(tmp_path / "again") == tree(tmp_path / "example")


def test_every_missing_file_is_named(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in read_files(name, tmp_path / "example"):
        if file.startswith(DISPENSABLE.get(name, ("nothing",))):
            continue
        damaged = shutil.copytree(tmp_path / "example", tmp_path / "damaged")
        (damaged / file).unlink()
        assert_said(name, damaged, file, caplog)


@pytest.mark.parametrize("damage", ["nonsense", "half", "empty"])
def test_every_damaged_file_is_named(
    name: str, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for file in read_files(name, tmp_path / "example"):
        damaged = shutil.copytree(tmp_path / "example", tmp_path / "damaged")
        whole = (damaged / file).read_bytes()
        if damage != "nonsense" and file.endswith((".txt", ".yaml")):
            shutil.rmtree(damaged)
            continue  # a list without end marks: half of it, or nothing, is a shorter list
        content = {"nonsense": b"\x00<nonsense", "half": whole[: len(whole) // 2], "empty": b""}
        (damaged / file).write_bytes(content[damage])
        assert_said(name, damaged, file, caplog)


def assert_said(name: str, damaged: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    """Reading fails or warns in words that name the file, or its image's name."""
    caplog.clear()
    text = ""
    try:
        with caplog.at_level(logging.WARNING):
            read_all(name, damaged)
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
    text += caplog.text
    stem = Path(file).name.split(".")[0]
    assert Path(file).name in text or stem in text, f"{file}: {text or 'nothing was said'}"
    assert ". " in text, "a message says what to do, too"
    shutil.rmtree(damaged)


def test_missing_splits_and_folders(name: str, tmp_path: Path) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match="expected"):
        build_dataset(
            DataConfig(format=name, root=str(tmp_path / "example"), val_split="nowhere"), "val"
        )
    with pytest.raises((FileNotFoundError, ValueError), match=r"nowhere"):
        build_dataset(config(name, tmp_path / "nowhere"), "val")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises((FileNotFoundError, ValueError), match="expected"):
        build_dataset(config(name, empty), "train")
    with pytest.raises(ValueError, match="expected a data set of a known format"):
        recognise(empty)
