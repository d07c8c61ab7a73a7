"""Files of `torch.save`: looked through first, then read by torch with `weights_only`.

Torch refuses code in them, but believes their numbers: how large a storage is, how a tensor lies in
it, how far a zip unfolds. So the same program is run here first on descriptions alone
(`pickles.py`), and every size is compared with the bytes that are there.
"""

import mmap
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from panoptic_deeplab.convert import pickles
from panoptic_deeplab.convert.pickles import RefusedError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of files from before torch 1.6 is this number."""

ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
"""Torch's name of a kind of storage -> bytes of each number in it."""


@dataclass(frozen=True)
class StorageKind:
    """A kind of storage."""

    item_bytes: int


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, as a file describes them."""

    key: str
    count: int
    item_bytes: int


class Reader(pickles.Machine):
    """Runs the program of a torch file; tensors are checked and described, not made."""

    def __init__(self, data: mmap.mmap) -> None:
        kinds = {("torch", n): StorageKind(b) for n, b in ITEM_BYTES.items()}
        functions = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch.nn.parameter", "Parameter"): _parameter,
        }
        super().__init__(data, {**kinds, **functions})
        self.storages: dict[str, Storage] = {}

    def persistent_load(self, told: Any) -> Storage:
        """A storage, by what the program tells of it."""
        if not isinstance(told, tuple) or len(told) < 5 or told[0] != "storage":
            raise RefusedError("an object outside the file")
        kind, key, count = told[1], str(told[2]), told[4]
        if not isinstance(kind, StorageKind) or type(count) is not int or count < 0:
            raise RefusedError("a storage of no known kind")
        storage = Storage(key, count, kind.item_bytes)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"its storage {key[:20]!r} is described twice")
        return storage


def read_zip(path: Path) -> Any:
    """Read what `torch.save` writes since torch 1.6.

    Raises:
        RefusedError: if it asks for anything but tensors, containers and numbers.
        ValueError: if it is damaged, or larger inside than outside.
    """
    try:
        with zipfile.ZipFile(path) as file:
            entries = {e.filename.partition("/")[2]: e for e in file.infolist()}
            _check_entries(file.infolist(), path.stat().st_size)
            if "data.pkl" not in entries:
                raise ValueError("it is a zip without data.pkl")
            with mmap.mmap(-1, max(1, entries["data.pkl"].file_size)) as data:
                data.write(file.read(entries["data.pkl"]))
                storages = _look_through(data, 0)
    except zipfile.BadZipFile as error:
        raise ValueError(f"its zip is damaged ({error})") from error
    for storage in storages.values():
        entry = entries.get(f"data/{storage.key}")
        needed = storage.count * storage.item_bytes
        if entry is None or entry.file_size != needed:
            there = "none" if entry is None else entry.file_size
            raise ValueError(
                f"storage {storage.key[:20]!r} needs {needed} bytes, there are {there}"
            )
    return _by_torch(path)


def read_legacy(path: Path, data: mmap.mmap) -> Any:
    """Read what `torch.save` wrote before torch 1.6: five pickles, then the storages.

    Raises:
        RefusedError: if it asks for anything but tensors, containers and numbers.
        ValueError: if it is damaged, or promises more than it holds.
    """
    end = 0
    for _ in range(3):  # magic number, protocol, what the machine was like
        pickles.load(data, end)
        end = data.tell()
    storages = _look_through(data, end)
    pickles.load(data, data.tell())  # the storages' order
    needed = sum(8 + s.count * s.item_bytes for s in storages.values())
    left = len(data) - data.tell()
    if needed > left:
        raise ValueError(f"its storages need {needed} bytes, there are {left}")
    return _by_torch(path)


def is_legacy(data: mmap.mmap) -> bool:
    """Whether a file's first pickle is torch's number."""
    try:
        return bool(pickles.load(data) == LEGACY_MAGIC)
    except ValueError:
        return False


def _look_through(data: mmap.mmap, start: int) -> dict[str, Storage]:
    readers: list[Reader] = []

    def machine(data: mmap.mmap) -> Reader:
        readers.append(Reader(data))
        return readers[0]

    pickles.run(data, start, machine)
    return readers[0].storages


def _by_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"torch cannot read it ({str(error).splitlines()[0][:200]})") from error


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
        raise RefusedError("compressed data, which torch never writes")
    inside = sum(e.file_size for e in entries)
    if inside > size or any(e.header_offset + e.file_size > size for e in entries):
        raise ValueError(f"its zip promises {inside} bytes, the file has {size}")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
    if not isinstance(storage, Storage):
        raise RefusedError("a tensor without a storage")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    lies_inside = offset >= 0 and all(step >= 0 for step in stride) and last < storage.count
    if prod(size) and (not lies_inside or prod(size) > storage.count or min(size, default=1) < 0):
        raise ValueError(f"a tensor of {tuple(size)} in a storage of {storage.count} numbers")


def _parameter(data: Any = None, *_: Any) -> Any:
    return data
