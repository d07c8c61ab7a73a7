"""The counts of an evaluation in a file, image by image, so that it can be resumed and compared.

    counts.part.jsonl    while it runs: a line of JSON that says what is evaluated, one per image
    counts.jsonl         the same, when all images are in it

A line that was cut off by a killed process is left out when the file is read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics.counts import ImageCounts

NAME = "counts.jsonl"
PART = "counts.part.jsonl"
VERSION = 1


class CountsFile:
    """Counts of one evaluation.

    Args:
        folder: where the files lie or will lie.
        labels: classes of the counts.
        about: what is evaluated, with the same words each time it is resumed.
        resume: go on with what is there; else it is replaced.

    Raises:
        ValueError: if what is there belongs to another evaluation.
    """

    def __init__(
        self,
        folder: Path,
        labels: LabelSpace,
        about: Mapping[str, Any],
        *,
        resume: bool = False,
    ) -> None:
        self._whole, self._part = folder / NAME, folder / PART
        self._header = {"version": VERSION, "labels": labels.to_dict(), "about": dict(about)}
        self._known: list[ImageCounts] = []
        if resume:
            self._known = self._read_known()
        self._file: TextIO | None = None

    def read(self) -> list[ImageCounts]:
        """What was counted before."""
        return self._known

    def add(self, counts: ImageCounts) -> None:
        """Write the counts of one more image."""
        assert self._file is not None, "used as a context"
        self._file.write(_line(counts.to_plain()))
        self._file.flush()

    def __enter__(self) -> Self:
        """Begin the file with what is known."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        begun = self._part.with_suffix(".new")
        with begun.open("w", encoding="utf-8") as file:
            file.write(_line(self._header))
            file.writelines(_line(counts.to_plain()) for counts in self._known)
        begun.replace(self._part)
        self._file = self._part.open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the file its name, unless something went wrong."""
        assert self._file is not None
        self._file.close()
        if kind is None:
            self._part.replace(self._whole)

    def _read_known(self) -> list[ImageCounts]:
        path = self._part if self._part.is_file() else self._whole
        if not path.is_file():
            return []
        header, counts = _read(path)
        if header != self._header:
            raise ValueError(
                f"{path}: expected the counts of this evaluation, {self._header['about']}, got "
                f"those of {header.get('about')}. Choose another folder, or leave out --resume."
            )
        return counts


def read_counts(folder: Path) -> tuple[LabelSpace, list[ImageCounts], dict[str, Any]]:
    """Read the counts of a finished evaluation.

    Args:
        folder: with `counts.jsonl`, or that file.

    Returns:
        The classes, the counts in the order of the images' names, and what was evaluated.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is something else.
    """
    path = folder / NAME if folder.is_dir() else folder
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the counts of an evaluation, found none. Make them with "
            "`panoptic-deeplab evaluate --save FOLDER`."
        )
    header, counts = _read(path)
    labels = LabelSpace.from_dict(header["labels"])
    return labels, sorted(counts, key=lambda c: c.image_id), dict(header["about"])


def _read(path: Path) -> tuple[dict[str, Any], list[ImageCounts]]:
    lines = path.read_text("utf-8").splitlines(keepends=True)
    try:
        header = json.loads(lines[0])
        if header["version"] != VERSION:
            raise ValueError(f"its version is {header['version']}")
        return header, [ImageCounts.from_plain(plain) for plain in _whole_lines(lines[1:])]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path}: expected the counts of an evaluation, version {VERSION}, reading them failed "
            f"at {error}. Evaluate again with --save."
        ) from error


def _whole_lines(lines: list[str]) -> Iterator[Any]:
    for number, line in enumerate(lines):
        if line.endswith("\n"):
            yield json.loads(line)
        elif number < len(lines) - 1:
            raise ValueError(f"line {number + 2}")


def _line(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, separators=(",", ":")) + "\n"
