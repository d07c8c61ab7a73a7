"""Writer of COCO's panoptic format: PNGs of segment ids, and one JSON list at the very end.

Truth and predictions alike. The list is written whole, in one step, when all is done: a folder
with a list is complete, one without is not. `coco.open_coco_panoptic` and the official
evaluation read it back.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.coco_list import MAX_SEGMENT_ID, SCORES, image_number
from panoptic_deeplab.files import write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Segment

logger = logging.getLogger(__name__)

# zlib level; on 512 px labels: as fast as 3, a third smaller; 9 takes 4 times longer
_COMPRESSION = 6


class CocoPanopticWriter:
    """Collects panoptic maps; used with `with`, so that an error leaves no list behind.

    Args:
        folder: made if missing; `NAME.json` and the folder `NAME/` appear in it. A list already
            there is removed when the first image comes. PNGs already there stay; a warning names
            those that the new list does not.
        labels: classes of the segments.
        name: usually "panoptic_SPLIT".
        put: takes each PNG's name and content; None: they are written into the folder `NAME/`.

    Example:
        >>> import tempfile
        >>> labels = LabelSpace.from_dict({"name": "toy", "classes": [
        ...     {"name": "cell", "dataset_id": 1, "is_thing": True, "color": [9, 9, 9]}]})
        >>> with CocoPanopticWriter(tempfile.mkdtemp(), labels) as writer:
        ...     writer.add("a", PanopticMap(np.ones((2, 2), np.int32), (Segment(1, 0, 4),)))
    """

    def __init__(
        self,
        folder: str | Path,
        labels: LabelSpace,
        *,
        name: str = "panoptic_val",
        put: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._list_path = Path(folder) / f"{name}.json"
        self._png_folder = Path(folder) / name
        self._labels = labels
        self._put = put or self._write_png
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._numbers: set[int | str] = set()

    def add(
        self, image_id: str, panoptic: PanopticMap, *, file_name: str = "", png_name: str = ""
    ) -> None:
        """Write one image's PNG and note its segments.

        Args:
            image_id: its name; one of digits alone is listed as that number, as in COCO.
            panoptic: its map; areas must be as listed.
            file_name: of the picture; default: the name and ".png".
            png_name: of the PNG; default: the name and ".png".

        Raises:
            ValueError: if the name came before or cannot be a file, a segment's pixels are not as
                listed, or an id does not fit into RGB.
        """
        png_name = png_name or f"{image_id}.png"
        path = PurePosixPath(png_name)
        if not image_id or path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"image_id must be a file name without ending, got {image_id!r}. Rename the image."
            )
        number = image_number(image_id)
        if number in self._numbers:
            raise ValueError(
                f"Each image can be written once, {image_id!r} came before. Rename one."
            )
        content = encode_ids(panoptic.segment_map, name=image_id)
        boxes = measure_boxes(panoptic)
        if not self._annotations:
            self._list_path.unlink(missing_ok=True)  # it would not belong to the new PNGs
        self._put(png_name, content)
        self._numbers.add(number)
        height, width = panoptic.size
        self._images.append(
            {"id": number, "file_name": file_name or png_name, "height": height, "width": width}
        )
        infos = [self._segment(s, boxes[s.id]) for s in panoptic.segments]
        self._annotations.append(
            {"image_id": number, "file_name": png_name, "segments_info": infos}
        )

    @property
    def last(self) -> Mapping[str, Any]:
        """The list's annotation of the image that came last."""
        return self._annotations[-1]

    def _write_png(self, name: str, content: bytes) -> None:
        target = self._png_folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _segment(self, segment: Segment, box: tuple[int, int, int, int]) -> dict[str, Any]:
        info: dict[str, Any] = {
            "id": segment.id,
            "category_id": self._labels.classes[segment.class_id].dataset_id,
            "area": segment.area_px,
            "bbox": list(box),
            "iscrowd": int(segment.is_crowd),
        }
        scores = {key: getattr(segment, key) for key in SCORES}
        return info | {key: value for key, value in scores.items() if value is not None}

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the list, unless something went wrong."""
        if kind is None:
            self.close()

    def close(self) -> None:
        """Write the list; the last step."""
        categories = [
            {
                "id": c.dataset_id,
                "name": c.name,
                "isthing": int(c.is_thing),
                "color": list(c.color),
            }
            for c in self._labels.classes
        ]
        whole = {
            "info": {"description": self._labels.name},
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        write_whole(self._list_path, json.dumps(whole).encode())
        self._report_others()

    def _report_others(self) -> None:
        """Say what lies beside the new PNGs; deleting it is not for a program to decide."""
        listed = {annotation["file_name"] for annotation in self._annotations}
        found = {
            p.relative_to(self._png_folder).as_posix() for p in self._png_folder.rglob("*.png")
        }
        others = sorted(found - listed)
        if others:
            logger.warning(
                "%s holds %d PNGs from before, such as %s, which the new %s does not list. Delete "
                "what you do not need, or choose an empty folder.",
                *(self._png_folder, len(others), others[0], self._list_path.name),
            )


def write_dataset(dataset: PanopticDataset, root: str | Path, split: str) -> None:
    """Write a data set as COCO panoptic: pictures, PNGs, list.

    Args:
        dataset: any.
        root: folder; gets `SPLIT/`, `annotations/panoptic_SPLIT/` and, last,
            `annotations/panoptic_SPLIT.json`.
        split: such as "train".

    Raises:
        ValueError: if an image has no labels, or as `CocoPanopticWriter.add`.
    """
    root = Path(root)
    with CocoPanopticWriter(
        root / "annotations", dataset.labels, name=f"panoptic_{split}"
    ) as writer:
        for index in range(len(dataset)):
            sample = dataset[index]
            if sample.panoptic is None:
                raise ValueError(
                    f"Only labelled images can be written, {sample.image_id!r} has no labels. "
                    "Leave it out."
                )
            writer.add(sample.image_id, sample.panoptic)
            target = root / split / f"{sample.image_id}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encode_png(sample.image))


def encode_ids(segment_map: NDArray[np.int32], *, name: str) -> bytes:
    """Segment ids as an RGB PNG.

    Args:
        segment_map: (H, W) int32.
        name: of the image, for messages.

    Raises:
        ValueError: if an id is negative or above 2**24 - 1.
    """
    low, high = int(segment_map.min(initial=0)), int(segment_map.max(initial=0))
    if low < 0 or high > MAX_SEGMENT_ID:
        raise ValueError(
            f"{name}: expected segment ids 0 to {MAX_SEGMENT_ID}, which an RGB pixel can hold, got "
            f"{low if low < 0 else high}. Number the segments anew."
        )
    four = np.ascontiguousarray(segment_map, "<i4").view(np.uint8).reshape(*segment_map.shape, 4)
    return encode_png(np.ascontiguousarray(four[..., :3]))


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    ok, content = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])
    assert ok, "OpenCV writes any uint8 RGB array"
    return content.tobytes()


def measure_boxes(panoptic: PanopticMap) -> dict[int, tuple[int, int, int, int]]:
    """Smallest box around each listed segment, as COCO has it: (x, y, width, height).

    Raises:
        ValueError: as `PanopticMap.check`.
    """
    panoptic.check()
    segment_map = panoptic.segment_map
    begins = np.ones(segment_map.shape, bool)  # runs of one id within a row, far fewer than pixels
    begins[:, 1:] = segment_map[:, 1:] != segment_map[:, :-1]
    rows, left = np.nonzero(begins)
    right = np.append(left[1:], 0)
    right[right == 0] = panoptic.size[1]
    ids, index = np.unique(segment_map[rows, left], return_inverse=True)
    x, width = _extent(index, ids.size, left, right)
    y, height = _extent(index, ids.size, rows, rows + 1)
    boxes = zip(x, y, width, height, strict=True)
    return dict(zip(ids.tolist(), boxes, strict=True))


def _extent(
    index: NDArray[np.intp], count: int, begin: NDArray[np.intp], end: NDArray[np.intp]
) -> tuple[list[int], list[int]]:
    """First place and length of each of `count` segments along one axis, from their runs."""
    first, last = np.full(count, end.max(initial=0)), np.zeros(count, np.intp)
    np.minimum.at(first, index, begin)
    np.maximum.at(last, index, end)
    return first.tolist(), (last - first).tolist()
