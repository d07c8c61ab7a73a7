"""A file from the web into its place: with progress, resumed, verified, and whole or not at all.

Beside the file's place lie, while it is fetched, `.NAME.part` with what has come so far,
`.NAME.part.json` with what tells whether the server still has the same file, and `.NAME.lock`,
which one process holds at a time. Ctrl-C or a lost connection leave the part, and the next call
goes on from there.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from panoptic_deeplab.hub.http import Interrupted, RangeRefused, ask, read
from panoptic_deeplab.hub.part import forget, mark, part_of, set_mark, size
from panoptic_deeplab.hub.storage import OFFLINE_VARIABLE, is_offline
from panoptic_deeplab.hub.verify import Expected, check, is_whole, publish

LIMIT_BYTES = 8 * 2**30
"""No weights of this family come near it; a server that sends more is not believed."""

TRIES = 4
"""In a row without a single new byte, before the user is told."""

PAUSE_SECONDS = 1.0
"""Before the second try; doubled before each further one."""

_SPARE_BYTES = 64 * 2**20  # left free on the disk
_PIECE_BYTES = 2**20

logger = logging.getLogger(__name__)


def fetch(url: str, target: Path, expected: Expected) -> Path:
    """The file at `target`; fetched if it is not there.

    Args:
        url: http or https.
        target: in the cache; its folder is made.
        expected: what the file is checked against before it takes its place.

    Raises:
        FileNotFoundError: if the server has no such file, or the network may not be used.
        ConnectionError: if the server could not be reached or broke off again and again.
        ValueError: if what came is not the expected file.
        OSError: if the disk is full or the folder cannot be written.
    """
    if is_whole(target):
        return target
    if is_offline():
        raise FileNotFoundError(
            f"{url} is not in the cache, or not in full, and {OFFLINE_VARIABLE} forbids the "
            f"network. Unset it, or put the file at {target}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if not is_whole(target):  # another process may have been faster
            part = part_of(target)
            _complete(url, part, target, expected)
            check(url, part, expected)
            publish(url, part, target)
    return target


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the file's lock, which the system frees when a process ends, however it ends."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Another process is fetching %s; waiting for it.", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _complete(url: str, part: Path, target: Path, expected: Expected) -> None:
    """Try until all is there, as long as tries bring something."""
    failures, restarted = 0, False
    with _bar() as progress:
        task = progress.add_task(target.name, total=expected.size_bytes or None)
        while True:
            before = size(part)
            try:
                _transfer(url, part, expected, progress, task)
                return
            except RangeRefused:
                if restarted:
                    raise ValueError(f"{url} sends no ranges that fit. Try again later.") from None
                restarted = True
                forget(part)
            except Interrupted as error:
                failures = 1 if size(part) > before else failures + 1
                if failures >= TRIES:
                    raise ConnectionError(_broken(url, part, target, error)) from error
                logger.warning("%s: %s; trying again.", target.name, error)
                time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def _transfer(url: str, part: Path, expected: Expected, progress: Progress, task: TaskID) -> None:
    have, same_as = size(part), mark(part)
    if have and not same_as and not expected.digest:
        have = 0  # nothing could tell whether the rest belongs to it
    with ask(url, start=have, same_as=same_as) as answer:
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        have = _begins_at(answer, have, is_same=tag in ("", same_as) or not same_as)
        _refuse_page(url, answer)
        total = _total(url, answer, have, expected)
        _check_space(part.parent, (total or have) - have)
        if not have:
            forget(part)  # before the new mark, which the old part does not belong to
        set_mark(part, url, tag)
        progress.update(task, total=total, completed=have)
        with part.open("ab" if have else "wb") as file:
            while piece := read(answer, _PIECE_BYTES):
                have += len(piece)
                if have > (total or LIMIT_BYTES):
                    forget(part)
                    raise ValueError(_too_large(url, have))
                _write(file, piece, part)
                progress.update(task, completed=have)
        if total is not None and have < total:
            raise Interrupted(f"the connection ended after {_mega(have)} of {_mega(total)}")


def _begins_at(answer: HTTPResponse, have: int, *, is_same: bool) -> int:
    """Where the answer's bytes belong; `is_same`: they are of the file the part came from."""
    if answer.status != 206:
        return 0
    said = answer.headers.get("Content-Range", "")
    if not is_same or not said.startswith(f"bytes {have}-"):
        raise RangeRefused
    return have


def _total(url: str, answer: HTTPResponse, have: int, expected: Expected) -> int | None:
    """The whole file's size as the server says, None if it does not; not yet believed."""
    said = answer.headers.get("Content-Length", "")
    total = have + int(said) if said.isdigit() else None
    if total is not None and expected.size_bytes and total != expected.size_bytes:
        raise ValueError(
            f"{url} has {total} bytes, expected {expected.size_bytes}. It is not the published "
            "file; nothing was kept."
        )
    if total is not None and total > LIMIT_BYTES:
        raise ValueError(_too_large(url, total))
    if total is None and not answer.chunked and not (expected.digest or expected.size_bytes):
        # Its end and a broken connection would look the same.
        raise ValueError(
            f"{url} does not say how long the file is, so nobody could tell a part from the whole. "
            "Pass it with its digest, as URL#sha256=HEX, or get it with a browser."
        )
    return expected.size_bytes or total


def _refuse_page(url: str, answer: HTTPResponse) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise ValueError(
            f"{url} gives a web page, not a file of weights. Open it in a browser, save the file, "
            "and pass its path."
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise OSError(
            f"{_mega(needed)} are to come, {_mega(free)} are free in {folder}. Make room, or "
            "choose another folder with PANOPTIC_DEEPLAB_CACHE."
        )


def _write(file: BinaryIO, piece: bytes, part: Path) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise OSError(
            f"{part.parent} cannot be written: {error.strerror}. What has come is kept; make room "
            "and run the same again."
        ) from error


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _broken(url: str, part: Path, target: Path, error: Interrupted) -> str:
    have = size(part)
    if have:
        return (
            f"{url} could not be fetched in full: {error}. {_mega(have)} are kept; the same "
            "command goes on from there."
        )
    return (
        f"{url} could not be fetched: {error}. Check the connection to "
        f"{urlsplit(url).hostname}, or put the file at {target}."
    )


def _too_large(url: str, size: int) -> str:
    return f"{url} sends {_mega(size)} or more; that is no file of weights. Check the address."


def _mega(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
