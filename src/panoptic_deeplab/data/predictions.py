"""Predictions in COCO's panoptic form, a list and PNGs: those of this package and any other's.

`predict` and `evaluate --save` write a whole list; result files for evaluation servers have
neither categories nor images, which then come from the data set they are compared with.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from panoptic_deeplab.areas import measure_areas
from panoptic_deeplab.data.coco import decode_ids
from panoptic_deeplab.data.coco_list import CocoList, ImageEntry, image_number, read_list
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap

LISTS = ("predictions.json", "panoptic.json")
"""Names of the list, by the commands that write it."""

ENDINGS = ("_leftImg8bit", "_gtFine")
"""What Cityscapes' tools put behind the name of an image."""


class Predictions:
    """Panoptic maps by image name.

    Args:
        where: the list, or the folder it lies in.
        labels: classes for a list that has none.

    Attributes:
        digest: of the list, which tells these predictions from others in the same place.

    Raises:
        FileNotFoundError: if there is no list.
        ValueError: if it is faulty.
    """

    def __init__(self, where: Path, labels: LabelSpace | None = None) -> None:
        path = where
        if where.is_dir():
            lists = [where / n for n in LISTS if (where / n).is_file()]
            lists = lists or sorted(where.glob("*.json"))
            path = lists[0] if lists else where / LISTS[0]
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected the list of predictions, found none. Make it with "
                "`panoptic-deeplab predict` or `evaluate --save`."
            )
        content = path.read_bytes()
        self.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if labels is not None:
            content = _completed(content, labels)
        self._list: CocoList = read_list(content, name=str(path), labels_name="predictions")
        self._pngs = path.with_suffix("")
        self._by_key = {image_key(e.image_id): e for e in self._list.entries}

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        return self._list.labels

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Names of the images, in the list's order."""
        return tuple(e.image_id for e in self._list.entries)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._list.entries)

    def __contains__(self, image_id: str) -> bool:
        """Whether an image was predicted."""
        return image_key(image_id) in self._by_key

    def __getitem__(self, image_id: str) -> PanopticMap:
        """The map of an image.

        Raises:
            KeyError: if it was not predicted.
            FileNotFoundError: naming a missing PNG.
            ValueError: naming a PNG that is damaged or contradicts the list.
        """
        return self._read(self._by_key[image_key(image_id)])

    def __iter__(self) -> Iterator[tuple[str, PanopticMap]]:
        """(image name, map) of each image; raises as reading one does."""
        for entry in self._list.entries:
            yield entry.image_id, self._read(entry)

    def _read(self, entry: ImageEntry) -> PanopticMap:
        path = self._pngs / entry.png_name
        try:
            ids = decode_ids(path.read_bytes(), name=str(path))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}: expected this PNG, which {self._list.name} lists, found none. "
                "Predict again, or remove it from the list."
            ) from error
        areas = measure_areas(ids)
        listed = self._list.segments_of(entry)
        wrong = {s.id for s in listed} ^ (set(areas) - {VOID})
        if wrong:
            raise ValueError(
                f"{path}: expected the segments that {self._list.name} lists, segment "
                f"{min(wrong)} is in one of them only. Predict again."
            )
        counted = (
            s if s.area_px == areas[s.id] else replace(s, area_px=areas[s.id]) for s in listed
        )
        return PanopticMap(ids, tuple(counted))


def image_key(image_id: str) -> int | str:
    """What two names of one image have in common.

    Example:
        >>> image_key("000000000042"), image_key("berlin_000000_000019_leftImg8bit")
        (42, 'berlin_000000_000019')
    """
    for ending in reversed(ENDINGS * 2):
        image_id = image_id.removesuffix(ending)
    return image_number(image_id)


def _completed(content: bytes, labels: LabelSpace) -> bytes:
    """A result file with the categories and images it does without; others as they are."""
    try:
        whole: Any = json.loads(content)
        if not isinstance(whole, dict) or {"categories", "images"} <= set(whole):
            return content
        images = [{"id": a["image_id"], "file_name": a["file_name"]} for a in whole["annotations"]]
    except (ValueError, KeyError, TypeError):
        return content  # the reader says what is wrong
    categories = [
        {"id": c.dataset_id, "name": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
        for c in labels.classes
    ]
    return json.dumps({"images": images, "categories": categories} | whole).encode()
