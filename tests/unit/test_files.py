"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from panoptic_deeplab.files import write_whole


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.bin"
    write_whole(target, b"one")
    write_whole(str(target), b"two")
    assert target.read_bytes() == b"two"
    assert list(target.parent.iterdir()) == [target]


def test_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    write_whole(target, b"old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
