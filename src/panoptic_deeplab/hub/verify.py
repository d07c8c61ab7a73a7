"""What a downloaded file is compared with, before and after it takes its place."""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path

from panoptic_deeplab.files import write_whole
from panoptic_deeplab.hub.part import forget, move, size

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


def check(url: str, part: Path, expected: Expected) -> None:
    """Compare what has come with what is known.

    Raises:
        ValueError: if it differs; it is thrown away then.
    """
    if expected.size_bytes and size(part) != expected.size_bytes:
        problem = f"{size(part)} bytes, expected {expected.size_bytes}"
    elif not size(part):
        problem = "nothing in it"
    elif expected.digest:
        algorithm, _, digits = expected.digest.partition(":")
        with part.open("rb") as file:
            found = _digest(file, algorithm)
        if found.startswith(digits):
            return
        problem = f"{algorithm} {found}, expected {digits}{'...' if len(digits) < 32 else ''}"
    else:
        return
    forget(part)
    raise ValueError(
        f"What came from {url} has {problem}. It was thrown away. Try again; if it stays so, the "
        "file was replaced or somebody stands in between."
    )


def is_whole(target: Path) -> bool:
    """Whether the file is there, with the size it had; one that a user put there is believed."""
    if not target.is_file():
        return False
    try:
        had = json.loads(_origin(target).read_text())["size_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    if target.stat().st_size == had:
        return True
    logger.warning("%s has not the size it had when it was fetched.", target)
    return False


def publish(url: str, part: Path, target: Path) -> None:
    """Put the file into its place, and its address, size and digest beside it."""
    with part.open("r+b") as file:
        found = _digest(file, "sha256")
        os.fsync(file.fileno())  # else the move can reach the disk before the content
    origin = {"url": url, "size_bytes": size(part), "sha256": found}
    write_whole(_origin(target), json.dumps(origin).encode())
    move(part, target)


def _digest(file: BufferedIOBase, algorithm: str) -> str:
    # MD5 is a publisher's choice; systems that forbid it allow it where nothing hangs on it.
    make = partial(hashlib.new, algorithm, usedforsecurity=False)
    return hashlib.file_digest(file, make).hexdigest()


def _origin(target: Path) -> Path:
    return target.with_name(f"{target.name}.origin.json")
