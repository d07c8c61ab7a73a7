"""Weights in a publisher's file -> named tensors, whatever the format; nothing is ever executed."""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from panoptic_deeplab.convert import pickles, tensorflow_files, torch_files
from panoptic_deeplab.convert.pickles import Array, RefusedError

HOLDERS = ("state_dict", "model", "model_state_dict", "blobs")
"""Under which names publishers put the weights into a larger dictionary."""

PREFIX = "module."
"""What DistributedDataParallel puts before each name."""

_LARGEST_HEADER = 100_000_000  # bytes; what safetensors itself allows


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a file: safetensors, `torch.save`'s two forms, detectron2's `.pkl`.

    Of a checkpoint of TensorFlow it is the `.index` file that is named.

    Args:
        path: told by its content, not by its ending.

    Returns:
        Name -> tensor, on the CPU, in the file's own types. `module.` before all names is gone.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for a checkpoint of TensorFlow without TensorFlow.
        ValueError: if it is none of these, damaged, holds no tensors, or asks for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a weights file at {path}, there is none.")
    try:
        tensors = dict(_tensors(_read(path)))
    except RefusedError as error:
        raise ValueError(
            f"{path} was not read: it asks for {error}, weights are arrays, containers and numbers "
            "alone. Do not trust where it came from; if you do, save the state dict by itself."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"Expected weights in {path}: {error}. Get the file again, or check where it is from."
        ) from error
    if all(name.startswith(PREFIX) for name in tensors):
        return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return tensors


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file that begins so is of that format, as far as its first bytes tell."""
    if len(start) < 9 or start[8:9] != b"{":
        return False
    (header,) = struct.unpack("<Q", start[:8])
    return bool(2 <= header <= min(size - 8, _LARGEST_HEADER))


def _read(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        if path.suffix == tensorflow_files.ENDING:
            return tensorflow_files.read_checkpoint(path)
        if start.startswith(b"PK\x03\x04"):
            return torch_files.read_zip(path)
        if is_safetensors(start, size):
            return _safetensors(path)
        if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if torch_files.is_legacy(data):
                    return torch_files.read_legacy(path, data)
                return pickles.load(data)
    if start[:1] == b"<":
        raise ValueError("this is a web page, not the file it should have led to")
    raise ValueError(
        "this is no file of torch, no pickle of detectron2 and no safetensors file"
        + (", it is empty" if size == 0 else "")
    )


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"its safetensors header is damaged ({error})") from error


def _tensors(holder: Any) -> Iterator[tuple[str, Tensor]]:
    inner = next((holder[n] for n in HOLDERS if isinstance(holder, dict) and n in holder), holder)
    if not isinstance(inner, dict) or not inner:
        raise ValueError("it holds no dictionary of weights")
    for name, value in inner.items():
        if isinstance(value, Array):
            value = value.value
        if isinstance(value, np.ndarray):
            # A copy of its own: the bytes of a pickle cannot be written to.
            value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), copy=True))
        if not isinstance(value, Tensor) or not isinstance(name, str):
            if name in _BESIDE:
                continue
            raise ValueError(f"{str(name)[:60]!r} is no tensor but {type(value).__name__}")
        yield name, value.detach()


_BESIDE = ("__author__", "matching_heuristics", "_metadata")
"""What publishers put among the weights that is none."""
