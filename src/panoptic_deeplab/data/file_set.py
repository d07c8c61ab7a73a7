"""A data set of picture files, each with a truth of its own that is decoded when asked for.

Every reader of folders is a list of `Entry`s, a label space, and a function that turns an entry
into a map; the rest is here. Names are kept as text, so a hundred thousand entries stay small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.base import read_image
from panoptic_deeplab.data.images import image_size
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment, count_ids

Size = tuple[int, int]

_TABLE = 2**20  # up to here a table of all numbers costs less than a search in those that occur


class SizeMismatchError(ValueError):
    """Labels that are larger or smaller than their picture."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image.

    Attributes:
        image_id: its name, unique in the data set.
        image: path of the picture.
        truth: path of the file or folder with its truth.
    """

    image_id: str
    image: str
    truth: str


@runtime_checkable
class ValueDecoder(Protocol):
    """Decodes images of numbers, each of which is one segment: class * divisor + instance.

    Attributes:
        divisor: of the numbers.
        classes_alone: a number below the divisor is a class.
    """

    @property
    def divisor(self) -> int:
        """See above."""
        ...

    @property
    def classes_alone(self) -> bool:
        """See above."""
        ...

    def values(self, entry: Entry) -> NDArray[np.int32]:
        """The numbers of an entry, (H, W)."""
        ...

    def identify(self, name: str, value: int) -> tuple[int, int, bool] | None:
        """(segment id, class_id, is_crowd) of a number; None if it is void."""
        ...

    def explains(self, value: int) -> bool:
        """Whether a number is of a known class, and of an instance only where there are any."""
        ...


class FileSet:
    """Images with their truth, see `PanopticDataset`.

    Args:
        labels: the classes.
        entries: the images, at least one.
        decode: makes the map of an entry; gets the entry and the picture's (height, width). It
            can be pickled.
        origin: what messages call the data set.

    Raises:
        ValueError: if there is no image, or two have one name.
    """

    def __init__(
        self,
        labels: LabelSpace,
        entries: Sequence[Entry],
        decode: Callable[[Entry, Size], PanopticMap],
        *,
        origin: str | Path,
    ) -> None:
        if not entries:
            raise ValueError(
                f"{origin}: expected pictures with labels, found none. Check folder and split."
            )
        names: dict[str, Entry] = {}
        for entry in entries:
            other = names.setdefault(entry.image_id, entry)
            if other is not entry:
                raise ValueError(
                    f"{entry.image}: expected a name of its own for each picture, {other.image} "
                    f"is called {entry.image_id!r} too. Rename one, and its labels."
                )
        self._labels, self._entries, self._decode = labels, tuple(entries), decode

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        return self._labels

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Where picture and truth of each image lie."""
        return self._entries

    def __len__(self) -> int:
        """Number of images."""
        return len(self._entries)

    def image_id(self, index: int, /) -> str:
        """Name of an image."""
        return self._entries[index].image_id

    @property
    def decode(self) -> Callable[[Entry, Size], PanopticMap]:
        """What makes the map of an entry."""
        return self._decode

    def picture(self, index: int, /) -> bytes:
        """Content of an image's picture file."""
        return Path(self._entries[index].image).read_bytes()

    def truth(self, index: int, /) -> PanopticMap:
        """The truth of an image alone; of its picture only the size is read.

        Raises:
            FileNotFoundError: naming a missing file.
            ValueError: naming the file that is damaged, or does not fit its picture.
        """
        entry = self._entries[index]
        return self._truth_of(entry, image_size(entry.image))

    def __getitem__(self, index: int, /) -> Sample:
        """Read one image and its truth.

        Raises:
            FileNotFoundError: naming a missing file.
            ValueError: naming the file that is damaged, or does not fit its picture.
        """
        entry = self._entries[index]
        image = read_image(entry.image)
        panoptic = self._truth_of(entry, (image.shape[0], image.shape[1]))
        return Sample(image, panoptic, entry.image_id)

    def _truth_of(self, entry: Entry, size: Size) -> PanopticMap:
        panoptic = self._decode(entry, size)
        if panoptic.size != size:
            raise size_mismatch(entry.truth, panoptic.size, entry.image, size)
        return panoptic


def size_mismatch(
    truth: str, size: Size, image: str, shape: tuple[int, ...] | Size
) -> SizeMismatchError:
    """The error of labels that are larger or smaller than their picture."""
    return SizeMismatchError(
        f"{truth}: expected the size of its picture {image}, {shape[0]}x{shape[1]} (height x "
        f"width), got {size[0]}x{size[1]}. Check that both belong together and that the picture "
        "is not meant to be turned."
    )


def map_from_values(
    values: NDArray[np.int32],
    identify: Callable[[int], tuple[int, int, bool] | None],
) -> PanopticMap:
    """Turn an image of numbers into a panoptic map.

    Args:
        values: (H, W), each number one segment, 0 or more.
        identify: number -> (segment id, class_id, is_crowd), or None for void. Numbers with the
            same segment id become one segment.
    """
    found: dict[int, Segment] = {}
    known: dict[int, int] = {}
    for value, area in count_ids(values).items():
        segment = identify(value)
        if segment is None:
            continue
        number, class_id, is_crowd = segment
        area += found[number].area_px if number in found else 0
        found[number] = Segment(number, class_id, area, None, is_crowd)
        known[value] = number
    return PanopticMap(exchange_numbers(values, known, VOID), tuple(found.values()))


def number_instances(panoptic: PanopticMap, labels: LabelSpace) -> list[tuple[Segment, int | None]]:
    """Number the things of each class from 0, by segment id.

    Returns:
        (segment, number), number None for stuff and crowd regions, in the order of segment ids.
    """
    seen: dict[int, int] = {}
    numbered: list[tuple[Segment, int | None]] = []
    for segment in sorted(panoptic.segments, key=lambda s: s.id):
        if segment.is_crowd or not labels.is_thing(segment.class_id):
            numbered.append((segment, None))
            continue
        number = seen.get(segment.class_id, 0)
        seen[segment.class_id] = number + 1
        numbered.append((segment, number))
    return numbered


def paint_values(panoptic: PanopticMap, values: dict[int, int], void: int) -> NDArray[np.int32]:
    """Image of numbers from segment id -> number; (H, W) int32, `void` where there is none."""
    return exchange_numbers(panoptic.segment_map, values, void)


def exchange_numbers(
    numbers: NDArray[np.int32], others: dict[int, int], void: int
) -> NDArray[np.int32]:
    """Each number of an image replaced by another, `void` where there is none; (H, W) int32.

    Args:
        numbers: (H, W), 0 or more.
        others: number -> the other.
        void: for numbers that are not in it.
    """
    largest = int(numbers.max(initial=0))
    if largest < _TABLE:
        table = np.full(largest + 1, void, np.int32)
        for number, other in others.items():
            if number <= largest:
                table[number] = other
        return np.asarray(table[numbers], np.int32)
    present = np.array(sorted(count_ids(numbers)), np.int32)
    places = np.searchsorted(present, numbers)
    table = np.array([others.get(int(n), void) for n in present], np.int32)
    return np.asarray(table[places], np.int32)
