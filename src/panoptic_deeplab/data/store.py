"""Files of a data set by name, in a folder or in a tar, read in any order without unpacking.

A `Store` is a folder or a tar; a `Place` is a folder or file inside one. Both hold names and
offsets only, no open files, so they may be copied into worker processes.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol


class Store(Protocol):
    """Files by their name, with forward slashes, relative to the root."""

    root: Path

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError if there is none."""
        ...

    def names(self, ending: str) -> list[str]:
        """Sorted names of the files that end so."""
        ...


class FolderStore:
    """Files below a folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """Content of a file."""
        return (self.root / name).read_bytes()

    def names(self, ending: str) -> list[str]:
        """Sorted names of the files that end so, to a depth of two folders.

        Not deeper: a data set's list files lie near its root, its pictures may be millions.
        """
        found = [
            path.relative_to(self.root).as_posix()
            for pattern in ("*", "*/*", "*/*/*")
            for path in self.root.glob(pattern + ending)
        ]
        return sorted(found)


class TarStore:
    """Files inside an uncompressed tar, found by an index of their offsets.

    Nothing is unpacked, so names that point outside harm nobody. Each read opens the file anew:
    that costs some ten microseconds and lets any number of processes and threads read at once.

    Args:
        root: the tar.

    Raises:
        ValueError: if it is no tar, or a compressed one, in which one cannot jump.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            with tarfile.open(self.root, "r:") as tar:
                members = [m for m in tar.getmembers() if m.isreg() and not m.issparse()]
        except tarfile.TarError as error:
            raise ValueError(
                f"{self.root}: expected an uncompressed tar, got something else ({error}). Make "
                "one with `tar -cf`, or unpack it and name the folder."
            ) from error
        # A later member of the same name replaces an earlier one, as in unpacking.
        self._index = {m.name.removeprefix("./"): (m.offset_data, m.size) for m in members}

    @property
    def members(self) -> dict[str, tuple[int, int]]:
        """Name -> offset and size in bytes."""
        return self._index

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._index

    def read(self, name: str) -> bytes:
        """Content of a file."""
        try:
            offset, size = self._index[name]
        except KeyError:
            raise FileNotFoundError(f"{self.root} has no {name}.") from None
        return read_member(self.root, name, offset, size)

    def names(self, ending: str) -> list[str]:
        """Sorted names of the files that end so."""
        return sorted(name for name in self._index if name.endswith(ending))


def read_member(tar: Path, name: str, offset: int, size: int) -> bytes:
    """Content of a file inside a tar.

    Args:
        tar: the tar.
        name: of the file, for messages.
        offset: of its first byte.
        size: in bytes.

    Raises:
        ValueError: if the tar ends before it.
    """
    with tar.open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) != size:
        raise ValueError(
            f"{tar}: expected {size} bytes of {name}, got {len(content)}. The tar was cut short; "
            "copy or download it again."
        )
    return content


@dataclass(frozen=True)
class Place:
    """A folder or a file inside a store.

    Attributes:
        store: what it lies in.
        path: with forward slashes, "" for the root.
    """

    store: Store
    path: str = ""

    def __str__(self) -> str:
        return str(self.store.root / self.path)

    def full(self, name: str) -> str:
        """Name of a file of this place within the store.

        Raises:
            ValueError: if the name is absolute or climbs out of the place.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(
                f"{self}: expected a file name relative to this folder, got {name!r}. Correct "
                "file_name in the JSON."
            )
        return str(PurePosixPath(self.path) / path)

    def below(self, name: str) -> "Place":
        """A folder or file of this folder."""
        return Place(self.store, self.full(name))

    def has(self, name: str) -> bool:
        """Whether this folder has such a file."""
        return self.store.has(self.full(name))

    def read(self, name: str) -> bytes:
        """Content of a file of this folder; FileNotFoundError if there is none."""
        return self.store.read(self.full(name))

    def content(self) -> bytes:
        """Content of the file that this place is; FileNotFoundError if there is none."""
        return self.store.read(self.path)

    @property
    def parent(self) -> "Place":
        """The folder it lies in; the root's is the root."""
        parent = str(PurePosixPath(self.path).parent)
        return Place(self.store, "" if parent == "." else parent)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name or self.store.root.resolve().name


def open_store(root: str | Path) -> Store:
    """Open a folder, or a tar if the path is a file.

    Raises:
        FileNotFoundError: if there is neither.
        ValueError: if it is a file but no plain tar.
    """
    root = Path(root)
    if root.is_dir():
        return FolderStore(root)
    if root.is_file():
        return TarStore(root)
    raise FileNotFoundError(f"{root}: expected a folder or a tar, found nothing. Check the path.")


def open_place(where: str | Path | Place, example: str = "") -> Place:
    """Open a folder or a tar as a place.

    Args:
        where: path of a folder or a tar, or a place, which is returned as it is.
        example: a file it must hold; in a tar it may lie in any one folder, which becomes the
            place.

    Raises:
        FileNotFoundError: if there is no such path, or no such file in the tar.
    """
    if isinstance(where, Place):
        return where
    store = open_store(where)
    if isinstance(store, FolderStore) or not example or store.has(example):
        return Place(store)
    found = store.names("/" + example)
    if not found:
        raise FileNotFoundError(
            f"{where}: expected {example} in this tar, in any folder, found none. Check that the "
            "tar belongs to the annotations."
        )
    return Place(store, found[0].removesuffix("/" + example))
