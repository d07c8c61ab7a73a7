"""Predictions as `predict` and `evaluate --save` leave them: a COCO list and PNGs, no pictures."""

from collections.abc import Iterator
from pathlib import Path

from panoptic_deeplab.data.coco import decode_ids
from panoptic_deeplab.data.coco_list import CocoList, read_list
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Segment, count_ids

LISTS = ("predictions.json", "panoptic.json")
"""Names of the list, by the commands that write it."""


class Predictions:
    """Panoptic maps by image name.

    Args:
        where: the list, or the folder it lies in.

    Raises:
        FileNotFoundError: if there is no list.
        ValueError: if it is faulty.
    """

    def __init__(self, where: Path) -> None:
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
        self._list: CocoList = read_list(
            path.read_bytes(), name=str(path), labels_name="predictions"
        )
        self._pngs = path.with_suffix("")

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        return self._list.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._list.entries)

    def __iter__(self) -> Iterator[tuple[str, PanopticMap]]:
        """(image name, map) of each image.

        Raises:
            FileNotFoundError: naming a missing PNG.
            ValueError: naming a PNG that is damaged or contradicts the list.
        """
        for entry in self._list.entries:
            path = self._pngs / entry.png_name
            try:
                ids = decode_ids(path.read_bytes(), name=str(path))
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{path}: expected this PNG, which {self._list.name} lists, found none. "
                    "Predict again, or remove it from the list."
                ) from error
            areas = count_ids(ids)
            listed = self._list.segments_of(entry)
            wrong = {s.id for s in listed} ^ (set(areas) - {VOID})
            if wrong:
                raise ValueError(
                    f"{path}: expected the segments that {self._list.name} lists, segment "
                    f"{min(wrong)} is in one of them only. Predict again."
                )
            segments = (Segment(s.id, s.class_id, areas[s.id], s.score, s.is_crowd) for s in listed)
            yield entry.image_id, PanopticMap(ids, tuple(segments))
