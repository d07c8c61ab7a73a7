"""A split whose images have label files of their own, or objects in a list: all other formats."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.coco_instances import ObjectLists, read_object
from panoptic_deeplab.data.file_set import (
    Entry,
    FileSet,
    Size,
    SizeMismatchError,
    ValueDecoder,
    map_from_values,
)
from panoptic_deeplab.data.format import MissingLabelsError, MissingPictureError
from panoptic_deeplab.data.overlaps import Flattened, Region, flatten
from panoptic_deeplab.doctor.examined import (
    Examined,
    Facts,
    Notes,
    listing,
    look_at_picture,
    measure,
    note_sizes,
)
from panoptic_deeplab.doctor.faults import Finding
from panoptic_deeplab.labels import LabelSpace, UnknownClassError
from panoptic_deeplab.structures import PanopticMap, Sample, count_ids

DIVISORS = (1000, 256, 10_000, 100, 512, 65_536)
"""Label divisors in use: Cityscapes, Mapillary Vistas, and what people take for them."""

_AREA_SLACK = 0.05  # listed areas are those of polygons, which cut through pixels
_BOX_SLACK_PX = 2.0  # the same for boxes


class FileSplit:
    """See `examined.Split`.

    Args:
        name: of the split.
        dataset: its images.
        faults: what opening it left out.
    """

    def __init__(self, name: str, dataset: FileSet, faults: Sequence[Exception] = ()) -> None:
        self.name, self._dataset = name, dataset
        self.findings = [finding_of(error, name) for error in faults]

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        return self._dataset.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._dataset)

    def picture(self, index: int) -> bytes:
        """Content of the picture file."""
        return self._dataset.picture(index)

    def examine(self, index: int) -> Examined:
        """Read picture and labels, note their faults, and make the best map of them."""
        entry, decode = self._dataset.entries[index], self._dataset.decode
        facts = Facts(index, entry.image_id)
        notes = Notes(self.name, facts)
        image = look_at_picture(facts, notes, entry.image, Path(entry.image).read_bytes)
        done = Examined(facts, image)
        panoptic: PanopticMap | None = None
        try:
            if isinstance(decode, ValueDecoder):
                done.ids = decode.values(entry)
                panoptic = _from_values(decode, entry, done.ids, notes)
            elif isinstance(decode, Flattened) and facts.size is not None:
                panoptic = _from_regions(decode, entry, facts.size, notes)
            elif facts.size is not None:
                panoptic = decode(entry, facts.size)
        except (ValueError, OSError) as error:
            notes.add(_kind_of(error, decode), _where(entry), str(error))
            return done
        if panoptic is None or image is None:
            return done
        if done.ids is None:
            done.ids = panoptic.segment_map
        if note_sizes(notes, entry.truth, done.ids, entry.image, image):
            done.sample = Sample(image, panoptic, entry.image_id)
            measure(done.sample, self.labels, facts, notes, _where(entry))
        return done


def finding_of(error: Exception, split: str) -> Finding:
    """The finding of an error raised, or collected, while a split was opened."""
    kind = "cannot-open"
    if isinstance(error, MissingPictureError):
        kind = "missing-picture"
    elif isinstance(error, MissingLabelsError):
        kind = "unlabelled-picture"
    return Finding(kind, split, str(error).partition(": ")[0], str(error))


def _where(entry: Entry) -> str:
    """The label file; for lists, whose entries are numbered, the picture."""
    return entry.truth if "/" in entry.truth or "\\" in entry.truth else entry.image


def _kind_of(error: Exception, decode: object) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing-labels"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SizeMismatchError):
            return "size-mismatch"
        if isinstance(cause, UnknownClassError):
            return "unknown-class"
        cause = cause.__cause__
    # Of images of numbers only the reading itself can fail.
    return "unreadable-labels" if isinstance(decode, ValueDecoder) else "faulty-labels"


def _from_values(
    decode: ValueDecoder, entry: Entry, values: NDArray[np.int32], notes: Notes
) -> PanopticMap:
    """The map of an image of numbers; numbers of no class become void."""
    present = sorted(count_ids(values))
    strange = [v for v in present if not decode.explains(v)]
    divisor = _other_divisor(decode, present) if strange else None
    if divisor is not None:
        notes.add(
            "wrong-divisor",
            entry.truth,
            f"{entry.truth}: expected class * {decode.divisor} + instance, but {listing(strange)} "
            f"only make sense as class * {divisor} + instance.",
            ids=tuple(strange),
            count=len(strange),
        )
        values = _translated(decode, values, divisor)
    unknown: list[int] = []

    def identify(value: int) -> tuple[int, int, bool] | None:
        try:
            return decode.identify(entry.truth, value)
        except ValueError:
            unknown.append(value)
            return None

    panoptic = map_from_values(values, identify)
    if unknown:
        notes.add(
            "unknown-class",
            entry.truth,
            f"{entry.truth}: {listing(unknown)} are of no class that the data set has.",
            ids=tuple(unknown),
            count=len(unknown),
        )
    return panoptic


def _other_divisor(decode: ValueDecoder, present: Sequence[int]) -> int | None:
    """The divisor that explains all numbers of an image, if one does."""
    for divisor in DIVISORS:
        if divisor == decode.divisor or decode.divisor == 1:
            continue
        exchanged = [_translate(decode, v, divisor) for v in present]
        if all(v is not None and decode.explains(v) for v in exchanged):
            return divisor
    return None


def _translate(decode: ValueDecoder, value: int, divisor: int) -> int | None:
    """A number made with another divisor, with the format's; None if there is no room for it."""
    if decode.classes_alone and value < divisor:
        return value if value < decode.divisor else None
    number, instance = divmod(value, divisor)
    return number * decode.divisor + instance if instance < decode.divisor else None


def _translated(decode: ValueDecoder, values: NDArray[np.int32], divisor: int) -> NDArray[np.int32]:
    found, places = np.unique(values, return_inverse=True)
    others = np.array([_translate(decode, int(v), divisor) for v in found], np.int32)
    return others[places.reshape(values.shape)]


def _from_regions(decode: Flattened, entry: Entry, size: Size, notes: Notes) -> PanopticMap:
    """The map of an image of objects, overlaps decided by the rule."""
    if isinstance(decode.read, ObjectLists):
        regions = list(_objects(decode.read, decode.labels, entry, size, notes))
    else:
        regions = decode.read(entry, size, decode.labels)
    panoptic, found = flatten(regions, size, decode.labels, decode.overlap, background=decode.rest)
    where = _where(entry)
    if found.pixels:
        what = f"{where}: {found.things} instances share {found.pixels} pixels."
        notes.add("overlap", where, what, count=found.things)
    if found.hidden:
        what = f"{where}: {found.hidden} instances lose all their pixels, or never had any."
        notes.add("hidden-instance", where, what, count=found.hidden)
    return panoptic


def _objects(
    lists: ObjectLists, labels: LabelSpace, entry: Entry, size: Size, notes: Notes
) -> Iterator[Region]:
    """Regions of a COCO list, each faulty one noted and left out."""
    number = lists.keys[entry.truth]
    for source in lists.lists:
        _, listed = source.images.get(number, ("", None))
        if listed is not None and listed != size:
            notes.add(
                "size-mismatch",
                entry.image,
                f"{entry.image}: expected {listed[0]}x{listed[1]} (height x width), as "
                f"{source.name} lists it, got {size[0]}x{size[1]}.",
            )
            return
        wrong: dict[str, list[str]] = {}
        for record in source.objects.get(number, ()):
            try:
                region = read_object(record, size, labels, source.name)
            except ValueError as error:
                unknown = isinstance(error.__cause__, UnknownClassError)
                notes.add("unknown-class" if unknown else "faulty-labels", source.name, str(error))
                continue
            for kind, text in _differences(record, region):
                wrong.setdefault(kind, []).append(text)
            yield region
        for kind, texts in wrong.items():
            what = f"{source.name}: image {entry.image_id}: {texts[0]}; {len(texts)} such objects."
            notes.add(kind, source.name, what, count=len(texts))


def _differences(record: Mapping[str, Any], region: Region) -> Iterator[tuple[str, str]]:
    """Listed area and box of an object that are not those of its pixels."""
    height, width = region.mask.shape
    area, box = record.get("area"), record.get("bbox")
    true = (region.left, region.top, width, height)
    pixels = int(region.mask.sum())
    # Half a pixel along the outline, of which the box's is a lower bound.
    slack = _AREA_SLACK * pixels + width + height
    if isinstance(area, int | float) and not abs(area - pixels) <= slack:
        yield "wrong-area", f"object {record.get('id')!r} has {pixels} pixels, listed {area}"
    if not isinstance(box, list) or len(box) != 4 or not region.mask.size:
        return
    numbers = [v for v in box if isinstance(v, int | float) and isfinite(v)]
    if len(numbers) < 4 or any(
        abs(a - b) > _BOX_SLACK_PX for a, b in zip(numbers, true, strict=True)
    ):
        yield "wrong-box", f"object {record.get('id')!r} has the box {list(true)}, listed {box}"
