"""What a file of weights holds, read from its header alone: no tensor is loaded, no model built."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from panoptic_deeplab.checkpoint import FORMAT, check_version
from panoptic_deeplab.provenance import from_version_1


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its name, shape, and kind of numbers as safetensors calls it, such as F32."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Contents:
    """What is inside.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        format: "panoptic_deeplab", or "safetensors" for files of others.
        kind: "model" or "state" (of a run) in this package's files, else "".
        format_version: of this package's files, else 0.
        header: this package's: experiment, labels, provenance as plain data; else the texts found.
        tensors: all, in the order of their names.
    """

    path: Path
    size_bytes: int
    format: str
    kind: str
    format_version: int
    header: dict[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def parts(self) -> dict[str, int]:
        """Numbers held by each top-level part, such as backbone."""
        count: Counter[str] = Counter()
        for tensor in self.tensors:
            count[tensor.name.partition(".")[0]] += tensor.num_values
        return dict(count)

    @property
    def kinds(self) -> dict[str, int]:
        """Numbers held in each kind."""
        count: Counter[str] = Counter()
        for tensor in self.tensors:
            count[tensor.kind] += tensor.num_values
        return dict(count)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "format": self.format,
            "kind": self.kind,
            "format_version": self.format_version,
            **self.header,
            "num_tensors": len(self.tensors),
            "num_values": sum(t.num_values for t in self.tensors),
            "parts": self.parts,
            "kinds": self.kinds,
            "tensors": [
                {"name": t.name, "shape": list(t.shape), "kind": t.kind} for t in self.tensors
            ],
        }


def read_contents(path: str | Path) -> Contents:
    """Look into a safetensors file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind, damaged, or too new.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a weights file at {path}, there is none.")
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            tensors = tuple(_info(file, name) for name in sorted(file.keys()))
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file, or not a whole one ({error}). Only those can be shown."
        ) from error
    is_own = texts.get("format") == FORMAT
    if is_own:
        check_version(texts, path)
    return Contents(
        path,
        path.stat().st_size,
        FORMAT if is_own else "safetensors",
        texts.get("kind", "") if is_own else "",
        int(texts["format_version"]) if is_own else 0,
        _plain(texts, path) if is_own else {"header": dict(texts)},
        tensors,
    )


def _info(file: Any, name: str) -> TensorInfo:
    piece = file.get_slice(name)
    return TensorInfo(name, tuple(piece.get_shape()), str(piece.get_dtype()))


def _plain(texts: Mapping[str, str], path: Path) -> dict[str, Any]:
    names = ("experiment", "labels", "provenance", "progress")
    try:
        plain = {name: json.loads(texts[name]) for name in names if name in texts}
    except json.JSONDecodeError as error:
        raise ValueError(f"The header of {path} is damaged ({error}).") from error
    if texts["format_version"] == "1" and isinstance(plain.get("provenance"), dict):
        plain["provenance"] = from_version_1(plain["provenance"])
    return plain
