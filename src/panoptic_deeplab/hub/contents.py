"""What a file of weights holds; of safetensors files, whosever, the header alone is read."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from panoptic_deeplab.checkpoint import FORMAT, check_version
from panoptic_deeplab.convert import known_title, read_tensors
from panoptic_deeplab.convert.read import is_safetensors
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
        format: "panoptic_deeplab", or "safetensors" or "pickle" for files of others.
        origin: of files of others, in words: what `convert` takes them for.
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
    origin: str = ""

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
            "origin": self.origin,
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
    """Look into a file of weights; no model is built.

    The tensors of other publishers' pickles are read, since nothing else tells their shapes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind, damaged, or too new.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a weights file at {path}, there is none.")
    size = path.stat().st_size
    with path.open("rb") as beginning:
        is_pickle = not is_safetensors(beginning.read(16), size)
    if is_pickle:
        loaded = read_tensors(path)
        infos = (TensorInfo(n, tuple(t.shape), str(t.dtype)[6:]) for n, t in loaded.items())
        tensors = tuple(sorted(infos, key=lambda info: info.name))
        return Contents(path, size, "pickle", "", 0, {}, tensors, known_title(loaded))
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            tensors = tuple(_info(file, name) for name in sorted(file.keys()))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}).") from error
    if texts.get("format") != FORMAT:
        names = {tensor.name: None for tensor in tensors}
        title = known_title(names)
        return Contents(path, size, "safetensors", "", 0, {"header": dict(texts)}, tensors, title)
    check_version(texts, path)
    kind, version = texts.get("kind", ""), int(texts["format_version"])
    return Contents(path, size, FORMAT, kind, version, _plain(texts, path), tensors)


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
