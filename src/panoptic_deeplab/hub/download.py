"""A file from the web into its place: with progress, resumed, verified, and whole or not at all.

Beside the file's place lie, while it is fetched, `.NAME.part` with what has come so far,
`.NAME.part.json` with what tells whether the server still has the same file, and `.NAME.lock`,
which one process holds at a time. Ctrl-C or a lost connection leave the part, and the next call
goes on from there.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from panoptic_deeplab.files import write_whole
from panoptic_deeplab.hub.http import Interrupted, RangeRefused, ask, read
from panoptic_deeplab.hub.storage import OFFLINE_VARIABLE, is_offline

LIMIT_BYTES = 8 * 2**30
"""No weights of this family come near it; a server that sends more is not believed."""

TRIES = 4
"""In a row without a single new byte, before the user is told."""

PAUSE_SECONDS = 1.0
"""Before the second try; doubled before each further one."""

_SPARE_BYTES = 64 * 2**20  # left free on the disk
_PIECE_BYTES = 2**20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expected:
    """What is known of a file beforehand.

    Attributes:
        digest: ALGORITHM:FIRST HEX DIGITS, "" if unknown.
        size_bytes: 0 if unknown.
    """

    digest: str = ""
    size_bytes: int = 0


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
    if target.is_file():
        return target
    if is_offline():
        raise FileNotFoundError(
            f"{url} is not in the cache, and {OFFLINE_VARIABLE} forbids the network. Unset it, or "
            f"put the file at {target}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if not target.is_file():  # another process may have been faster
            part = target.with_name(f".{target.name}.part")
            _complete(url, part, target, expected)
            _check(url, part, expected)
            _publish(url, part, target)
    return target


def parse_digest(text: str) -> str:
    """Check a digest such as sha256:0123abcd, in any case of letters.

    Raises:
        ValueError: if it is of another form.
    """
    algorithm, _, digits = text.lower().partition(":")
    if algorithm not in ("sha256", "md5") or not digits or set(digits) - set("0123456789abcdef"):
        raise ValueError(
            f"Expected a digest such as sha256:0123abcd or md5:0123abcd, got {text!r}."
        )
    return f"{algorithm}:{digits}"


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
            before = _size(part)
            try:
                _transfer(url, part, expected, progress, task)
                return
            except RangeRefused:
                if restarted:
                    raise ValueError(f"{url} sends no ranges that fit. Try again later.") from None
                restarted = True
                _forget(part)
            except Interrupted as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures >= TRIES:
                    raise ConnectionError(_broken(url, part, target, error)) from error
                logger.warning("%s: %s; trying again.", target.name, error)
                time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))


def _transfer(url: str, part: Path, expected: Expected, progress: Progress, task: object) -> None:
    have, same_as = _size(part), _mark(part)
    if have and not same_as and not expected.digest:
        have = 0  # nothing could tell whether the rest belongs to it
    with ask(url, start=have, same_as=same_as) as answer:
        have = _begins_at(answer, have)
        _refuse_page(url, answer)
        total = _total(url, answer, have, expected)
        _check_space(part.parent, (total or have) - have)
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        # A weak tag does not promise the same bytes.
        note = {"url": url, "same_as": "" if mark.startswith("W/") else mark}
        write_whole(_note(part), json.dumps(note).encode())
        progress.update(task, total=total, completed=have)  # type: ignore[arg-type]
        with part.open("ab" if have else "wb") as file:
            while piece := read(answer, _PIECE_BYTES):
                have += len(piece)
                if have > (total or LIMIT_BYTES):
                    _forget(part)
                    raise ValueError(_too_large(url, have))
                _write(file, piece, part)
                progress.update(task, completed=have)  # type: ignore[arg-type]
        if total is not None and have < total:
            raise Interrupted(f"the connection ended after {_mega(have)} of {_mega(total)}")


def _begins_at(answer: HTTPResponse, have: int) -> int:
    """Where the answer's bytes belong."""
    if answer.status != 206:
        return 0
    said = answer.headers.get("Content-Range", "")
    if not said.startswith(f"bytes {have}-"):
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


def _write(file: object, piece: bytes, part: Path) -> None:
    try:
        file.write(piece)  # type: ignore[attr-defined]
    except OSError as error:
        raise OSError(
            f"{part.parent} cannot be written: {error.strerror}. What has come is kept; make room "
            "and run the same again."
        ) from error


def _check(url: str, part: Path, expected: Expected) -> None:
    if expected.size_bytes and _size(part) != expected.size_bytes:
        problem = f"{_size(part)} bytes, expected {expected.size_bytes}"
    elif not _size(part):
        problem = "nothing in it"
    elif expected.digest:
        algorithm, _, digits = expected.digest.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found.startswith(digits):
            return
        problem = f"{algorithm} {found}, expected {digits}{'...' if len(digits) < 32 else ''}"
    else:
        return
    _forget(part)
    raise ValueError(
        f"What came from {url} has {problem}. It was thrown away. Try again; if it stays so, the "
        "file was replaced or somebody stands in between."
    )


def _publish(url: str, part: Path, target: Path) -> None:
    with part.open("r+b") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())  # else the move can reach the disk before the content
    origin = {"url": url, "size_bytes": _size(part), "sha256": found}
    write_whole(target.with_name(f"{target.name}.origin.json"), json.dumps(origin).encode())
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _mark(part: Path) -> str:
    try:
        return str(json.loads(_note(part).read_text())["same_as"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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
    have = _size(part)
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
