"""Files and folders are written whole or not at all."""

import os
import signal
from pathlib import Path

import pytest

from panoptic_deeplab.files import check_place, whole_folder, write_whole


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


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "new"
    with whole_folder(target) as folder:
        (folder / "a.txt").write_text("a")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a.txt"]
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(ValueError, match="expected an empty or a new folder"), whole_folder(target):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_folder(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_folder(tmp_path / "new"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_process_asked_to_end_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, whole_folder(tmp_path / "new"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_place_for_a_file_is_checked_before_the_work(tmp_path: Path) -> None:
    assert check_place(tmp_path / "sub" / "page.html").parent.is_dir()
    with pytest.raises(IsADirectoryError, match="Expected a file to write"):
        check_place(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="it cannot be made"):
        check_place(tmp_path / "file" / "page.html")
