"""The part of a file that has come so far, and what tells which file it is a part of.

`.NAME.part` lies beside the file's place, and `.NAME.part.json` beside it holds the server's ETag.
"""

import json
from pathlib import Path

from panoptic_deeplab.files import write_whole


def part_of(target: Path) -> Path:
    """Where what has come of a file lies."""
    return target.with_name(f".{target.name}.part")


def mark(part: Path) -> str:
    """ETag or date of the file on the server, "" if nothing tells."""
    try:
        return str(json.loads(_note(part).read_text())["same_as"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def set_mark(part: Path, url: str, tag: str) -> None:
    """Store it; a weak tag, which does not promise the same bytes, counts as none."""
    note = {"url": url, "same_as": "" if tag.startswith("W/") else tag}
    write_whole(_note(part), json.dumps(note).encode())


def size(path: Path) -> int:
    """Bytes that have come."""
    return path.stat().st_size if path.exists() else 0


def forget(part: Path) -> None:
    """Throw it away."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def move(part: Path, target: Path) -> None:
    """Let it take the file's place."""
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
