"""Files of a data set in numbered tars, `train-000000.tar` and so on, read without unpacking.

An index beside them, `train-index.json`, says where in which tar each file begins, so that opening
a large set on a far disk asks for each tar's size and nothing else. It is a convenience: without
it, or where a tar has changed, the tars are scanned.
"""

import json
import logging
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.store import TarStore, read_member
from panoptic_deeplab.files import write_whole

logger = logging.getLogger(__name__)

SHARD_BYTES = 256 * 2**20
"""A tar is full beyond this: large enough to be read in one go, small enough to be copied."""

_BLOCK = 512  # of a tar, POSIX.1-1988


@dataclass(frozen=True)
class Members:
    """The files of one tar.

    Attributes:
        names: of each.
        offsets: of its first byte.
        sizes: in bytes.
    """

    names: Sequence[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


class ShardStore:
    """Files inside numbered tars, see `store.Store`.

    Args:
        folder: of the tars.
        split: what comes before the number, such as "train".

    Raises:
        FileNotFoundError: if there is no tar of the split, or a number is missing.
        ValueError: if a tar is none, is cut short, or two tars hold a file of the same name.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._tars = _numbered(folder, split)
        self.root = folder / _together(split, len(self._tars))
        listed = _read_index(folder, split)
        for name in listed:
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name}: expected this tar, which {index_name(split)} lists, found "
                    "no such file. Copy it there again."
                )
        self._rows: dict[str, int] = {}
        places: list[NDArray[np.int64]] = []
        for number, path in enumerate(self._tars):
            members = listed.get(path.name, {}).get(path.stat().st_size) or _scanned(path)
            for name in members.names:
                if name in self._rows:
                    raise ValueError(
                        f"{path}: expected each file once, got {name} again, which is in an "
                        "earlier tar or earlier in this one. Name the samples apart."
                    )
                self._rows[name] = len(self._rows)
            shard = np.full(len(members.names), number, np.int64)
            places.append(np.stack([shard, members.offsets, members.sizes], axis=1))
        self._places = np.concatenate(places)  # shard, offset, size: a fifth of what tuples take

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._rows

    def shard_of(self, name: str) -> int:
        """Number of the tar that holds a file; FileNotFoundError if none does."""
        return self._place(name)[0]

    def read(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError if there is none."""
        shard, offset, size = self._place(name)
        return read_member(self._tars[shard], name, offset, size)

    def names(self, ending: str) -> list[str]:
        """Sorted names of the files that end so."""
        return sorted(name for name in self._rows if name.endswith(ending))

    def _place(self, name: str) -> tuple[int, int, int]:
        """Shard, offset, size."""
        try:
            shard, offset, size = self._places[self._rows[name]].tolist()
        except KeyError:
            raise FileNotFoundError(f"{self.root} have no {name}.") from None
        return shard, offset, size


class ShardWriter:
    """Writes samples into numbered tars, one after the other, and their index at the end.

    Args:
        folder: of the tars; made if missing.
        split: what comes before the number.
        shard_bytes: a tar that holds more is closed, and the next one begun.
    """

    def __init__(self, folder: Path, split: str, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder, self._split, self._limit = folder, split, shard_bytes
        self._sizes: dict[str, int] = {}
        self._members: dict[str, dict[str, tuple[int, int]]] = {}
        self._tar: tarfile.TarFile | None = None

    def add(self, files: Mapping[str, bytes]) -> None:
        """Write the files of one sample, which stay together."""
        if self._tar is not None and self._tar.offset > self._limit:
            self._close_tar()
        if self._tar is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / shard_name(self._split, len(self._sizes))
            self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)
            self._members[path.name] = {}
        members = self._members[Path(str(self._tar.name)).name]
        for name, content in files.items():
            header = tarfile.TarInfo(name)  # no owner and no time: the same samples, the same bytes
            header.size = len(content)
            self._tar.addfile(header, BytesIO(content))
            padded = -(-len(content) // _BLOCK) * _BLOCK
            members[name] = (self._tar.offset - padded, len(content))

    def close(self) -> None:
        """Write what is left, and the index."""
        self._close_tar()
        whole = {
            "shards": [
                {
                    "name": name,
                    "bytes": size,
                    "members": list(self._members[name]),
                    "offsets": [offset for offset, _ in self._members[name].values()],
                    "sizes": [length for _, length in self._members[name].values()],
                }
                for name, size in self._sizes.items()
            ]
        }
        write_whole(self._folder / index_name(self._split), json.dumps(whole).encode())

    def _close_tar(self) -> None:
        if self._tar is not None:
            self._tar.close()
            path = Path(str(self._tar.name))
            self._sizes[path.name] = path.stat().st_size
            self._tar = None


def shard_name(split: str, number: int) -> str:
    """Of a tar: the split, and six digits, as WebDataset's tools expect it."""
    return f"{split}-{number:06d}.tar"


def index_name(split: str) -> str:
    """Of the index of a split's tars."""
    return f"{split}-index.json"


def _numbered(folder: Path, split: str) -> list[Path]:
    """Tars of a split in the order of their numbers, which must be without gap."""
    found = sorted(folder.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9][0-9].tar"))
    for number in range(max(1, len(found))):
        if not found or found[number].name != shard_name(split, number):
            raise FileNotFoundError(
                f"{folder / shard_name(split, number)}: expected this tar, since they are numbered "
                "from 000000 on, found no such file. Copy it there, or check the split."
            )
    return found


def _together(split: str, count: int) -> str:
    """All tars in one name, as WebDataset's tools take it."""
    if count == 1:
        return shard_name(split, 0)
    return f"{split}-{{000000..{count - 1:06d}}}.tar"


def _read_index(folder: Path, split: str) -> dict[str, dict[int, Members]]:
    """Name of a tar -> its size when the index was made -> its files; empty without an index."""
    path = folder / index_name(split)
    try:
        return {
            shard["name"]: {shard["bytes"]: _checked(shard)}
            for shard in json.loads(path.read_bytes())["shards"]
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        logger.warning("%s is no index of tars, so they are scanned. Delete it.", path)
        return {}


def _checked(shard: Mapping[str, Any]) -> Members:
    """The files of a tar, all of which lie inside of it.

    Raises:
        ValueError: if one does not.
        TypeError: if a number is none.
        OverflowError: if one is too large for a file.
    """
    names = shard["members"]
    offsets, sizes = (np.array(shard[key]) for key in ("offsets", "sizes"))
    if not all(isinstance(name, str) for name in names):
        raise TypeError("Names are texts.")
    if not offsets.shape == sizes.shape == (len(names),):
        raise ValueError("There must be as many numbers as names.")
    if names and not offsets.dtype == sizes.dtype == np.int64:
        raise TypeError("Offsets and sizes are whole numbers.")
    if (offsets < 0).any() or (sizes < 0).any() or (offsets > shard["bytes"] - sizes).any():
        raise ValueError("A file lies outside.")
    return Members(names, offsets, sizes)


def _scanned(path: Path) -> Members:
    found = TarStore(path).members
    places = np.array(list(found.values()), np.int64).reshape(-1, 2)
    return Members(list(found), places[:, 0], places[:, 1])
