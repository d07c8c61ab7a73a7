"""Pickles read without executing them: arrays, containers and numbers, nothing else.

A pickle is a program. Here it runs on a machine that knows none of the functions such programs are
dangerous for: names it asks for are looked up in a table, and what stands there makes descriptions
of arrays instead of arrays, whose sizes are compared with the bytes at hand. Before that, the
program is read through once, so that none of its numbers makes this process reserve memory.
"""

import mmap
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = "fiub"
"""Kinds of NumPy's types that are numbers."""


class RefusedError(ValueError):
    """A file asks for something that no weights need."""


class Array:
    """An array of NumPy, as a pickle describes it: nothing is reserved until the bytes are there.

    Attributes:
        value: the array, once its state has come.
    """

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        """Take shape, type, order and bytes, as `numpy.ndarray.__reduce__` gives them."""
        _, shape, kind, is_fortran, data = state
        self.value = _array(data, kind, shape, is_fortran)


@dataclass
class Kind:
    """A type of NumPy, as a pickle describes it."""

    name: str
    order: str = field(default="=", init=False)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order; types with parts are refused."""
        if state[2] is not None or state[3] is not None or state[4] is not None:
            raise RefusedError("an array of records")
        self.order = str(state[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type itself.

        Raises:
            RefusedError: if it is not one of numbers.
        """
        if len(self.name) > 3 or self.name[:1] not in NUMBERS:
            raise RefusedError(f"an array of type {self.name[:20]!r}")
        return np.dtype(self.name).newbyteorder(">" if self.order == ">" else "<")


def load(data: mmap.mmap, start: int = 0) -> Any:
    """Read the pickle that begins at `start`; afterwards the file stands behind it.

    Returns:
        What it holds, arrays as `Array`.

    Raises:
        RefusedError: if it asks for anything but arrays, containers and numbers.
        ValueError: if it is damaged.
    """
    return run(data, start, Machine)


def run(data: mmap.mmap, start: int, machine: Callable[[Any], pickle.Unpickler]) -> Any:
    """Read a pickle with a machine of its own; see `load`."""
    data.seek(start)
    check(data)
    data.seek(start)
    try:
        return machine(data).load()
    except RefusedError:
        raise
    except Exception as error:  # a crafted program can fail in any way
        raise ValueError(f"its pickle is damaged ({type(error).__name__}: {error})") from error


def check(data: mmap.mmap) -> None:
    """Read through a program from where the file stands: is it whole, and are its numbers sane?

    Raises:
        ValueError: if not.
    """
    stored = 0
    try:
        for opcode, argument, _ in pickletools.genops(data):  # type: ignore[arg-type]
            # The machine keeps a table as long as the largest number, which are counted in order.
            if "PUT" in opcode.name:
                stored += 1
                if not 0 <= int(argument or 0) <= stored:
                    raise ValueError(f"entry {argument} of its table comes after {stored - 1}")
    except (ValueError, OverflowError, UnicodeDecodeError, MemoryError) as error:
        raise ValueError(f"its pickle is damaged ({error})") from error


class Machine(pickle.Unpickler):
    """Runs pickles with the table below in place of Python's modules."""

    def __init__(self, data: mmap.mmap, extras: Mapping[tuple[str, str], Any] | None = None):
        super().__init__(data, encoding="latin1")  # pickles of Python 2 too
        self._size, self._made = len(data), 0
        self._known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): self._encode,
            ("numpy", "dtype"): _kind,
            ("numpy", "ndarray"): Array,
            **{
                (f"numpy.{core}.{module}", name): made
                for core in ("core", "_core")
                for module, name, made in (
                    ("multiarray", "_reconstruct", _empty),
                    ("multiarray", "scalar", _scalar),
                    ("numeric", "_frombuffer", _from_buffer),
                )
            },
            **(extras or {}),
        }

    def find_class(self, module: str, name: str) -> Any:
        """What stands in the table for a name.

        Raises:
            RefusedError: if nothing does.
        """
        if (module, name) not in self._known:
            raise RefusedError(f"{module}.{name}"[:80])
        return self._known[module, name]

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        """The way in which pickles of old protocols hold bytes."""
        self._made += len(text)
        if encoding != "latin1" or self._made > self._size:
            raise RefusedError("text encoded again and again")
        return text.encode("latin1")


def _kind(name: Any, *_: Any) -> Kind:
    return Kind(name if isinstance(name, str) else "?")


def _empty(*_: Any) -> Array:
    return Array()


def _scalar(kind: Kind, data: Any) -> NDArray[Any]:
    return _array(data, kind, (), False)


def _from_buffer(data: Any, kind: Kind, shape: Any, order: str) -> NDArray[Any]:
    return _array(data, kind, shape, order == "F")


def _array(data: Any, kind: Kind, shape: Any, is_fortran: bool) -> NDArray[Any]:
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, Kind):
        raise RefusedError("an array that is not made of bytes")
    dtype, shape = kind.dtype, tuple(int(side) for side in shape)
    if any(side < 0 for side in shape) or prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} with {len(data)} bytes")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")
