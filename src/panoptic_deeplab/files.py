"""Writing files so that nobody ever meets half of one.

Comes in: a path and its whole content. Goes out: the file, complete, or the file that was there
before, untouched. Checkpoints, result lists and anything else that is read back goes through here.
"""

import errno
import json
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a full disk, a used-up quota, a limit of the process."""


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file in one step: beside its place first, then moved into it.

    A reader, a full disk or a killed process meets the old file or the new one, never a part.

    Args:
        path: of the file; its folder is made if it is missing.
        content: all of it.

    Raises:
        OSError: if the folder cannot be made or written, or the disk is full (says what to do);
            the old file is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two processes writing the same file do not share the part.
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the move can reach the disk before the content
        part.replace(path)
    except BaseException as error:  # Ctrl-C too leaves no part behind; all go on to the caller
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            advice = "what was there before is kept; free some space, or choose another place"
            raise OSError(error.errno, f"{error.strerror}; {advice}", str(path)) from error
        raise


def as_json(plain: Any) -> bytes:
    """Of reports, printed or written into files."""
    return json.dumps(plain, indent=2).encode()


def make_folder(path: str | Path) -> Path:
    """Make a folder for results, before work starts whose results would have no place.

    Args:
        path: of the folder; it may exist.

    Raises:
        OSError: in a sentence, if it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Expected a folder for results at {path}, it cannot be made: {error.strerror}. "
            "Choose another place."
        ) from error
    if not os.access(path, os.W_OK):
        raise PermissionError(f"The folder {path} cannot be written. Choose another place.")
    return path


def check_place(path: str | Path) -> Path:
    """Make sure that a file can be written, before work starts whose result it is to hold.

    Args:
        path: of the file; its folder is made if it is missing.

    Raises:
        OSError: in a sentence, if there is a folder of that name, or no file can be made there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"Expected a file to write, {path} is a folder. Add a file's name.")
    make_folder(path.parent)
    return path


def check_empty(target: Path) -> None:
    """Make sure that a folder can be written in one step.

    Raises:
        ValueError: if there is a file of that name, or a folder with files in it.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(
            f"{target}: expected an empty or a new folder for the result, got one "
            "with files in it. Choose another place."
        )


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Write a folder in one step: beside its place first, then moved into it.

    Also if the process is asked to end (SIGTERM), nothing is left behind.

    Args:
        target: must be empty or missing; its parent is made.

    Yields:
        The folder to write into, which has the target's name; after an error nothing is left.

    Raises:
        ValueError: if the target holds files.
    """
    check_empty(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        (part / target.name).mkdir()
        with _ending_tidily():
            yield part / target.name
        if target.exists():
            target.rmdir()
        (part / target.name).rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # made above, by a name of its own


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """Make SIGTERM an exception, so that what has been begun is cleared away.

    A handler that somebody else has set, and other threads than the first, are left alone.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # as the shell tells it
