"""What is found in one image: its faults, and the numbers that statistics are made of.

A split of a data set (`Split`) examines its images one by one, tolerantly: where a reader stops at
the first fault, the doctor goes on, and makes of the labels the best map it can.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.base import read_image
from panoptic_deeplab.data.coco_writer import measure_boxes
from panoptic_deeplab.doctor.faults import Finding
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample

TINY_PX = 16
"""Things below this area are tiny: one pixel of the network's maps, which lie at stride 4."""

MANY_THINGS = 200
"""The default number of centers; `config.GroupingConfig.top_k`."""

MOST_PARTS = 12
"""A thing in more parts than this is torn, however near they lie; our choice."""

_NAMED = 12  # numbers named in one finding; more would hide the rest
_SPECK = 0.02  # parts below this share of a thing do not count as torn off

Image = NDArray[np.uint8]


@dataclass
class Facts:
    """Of one image; small, since it travels between processes.

    Attributes:
        index: place in the split.
        image_id: name.
        size: (H, W) of the picture; None if it cannot be read.
        digest: of the decoded pixels, or of the file if they cannot be decoded; empty if neither.
        truth_digest: of the label image.
        void_px: pixels without label.
        segments: (S, 4) int64: class_id, area in pixels, 1 if crowd, number of parts.
        findings: its faults.
        is_kept: whether a repaired copy can hold it.
    """

    index: int
    image_id: str
    size: tuple[int, int] | None = None
    digest: bytes = b""
    truth_digest: bytes = b""
    void_px: int = 0
    segments: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    findings: list[Finding] = field(default_factory=list)
    is_kept: bool = False


@dataclass
class Examined:
    """One image with all that pictures and repairs need.

    Attributes:
        facts: what was found.
        image: the picture; None if it cannot be read.
        ids: the label image's own numbers; None if it cannot be read.
        sample: picture and repaired truth; None if there is nothing to repair.
    """

    facts: Facts
    image: Image | None = None
    ids: NDArray[np.int32] | None = None
    sample: Sample | None = None


class Split(Protocol):
    """One split of a data set under examination; can be sent to other processes."""

    name: str
    findings: list[Finding]

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def examine(self, index: int) -> Examined:
        """Read one image and its labels, whatever state they are in."""
        ...

    def picture(self, index: int) -> bytes:
        """Content of its picture file."""
        ...


class Notes:
    """Collects the findings of one image.

    Args:
        split: name of the split.
        facts: of the image.
    """

    def __init__(self, split: str, facts: Facts) -> None:
        self._split, self._facts = split, facts

    def add(
        self, kind: str, where: str, what: str, *, ids: tuple[int, ...] = (), count: int = 1
    ) -> None:
        """Note one fault."""
        facts = self._facts
        facts.findings.append(
            Finding(
                kind, self._split, where, what, facts.image_id, facts.index, ids[:_NAMED], count
            )
        )


def listing(numbers: list[int] | tuple[int, ...]) -> str:
    """Some numbers as text."""
    more = ", ..." if len(numbers) > _NAMED else ""
    return ", ".join(map(str, numbers[:_NAMED])) + more


def digest_of(content: bytes | memoryview) -> bytes:
    """A number that only equal contents share."""
    return hashlib.blake2b(content, digest_size=16).digest()


def look_at_picture(
    facts: Facts, notes: Notes, name: str, read: Callable[[], bytes]
) -> Image | None:
    """Read and decode a picture, and note what is wrong with it."""
    try:
        content = read()
    except OSError as error:
        notes.add("missing-picture", name, _plain(error) or f"{name}: found no such file.")
        return None
    try:
        image = read_image(content, name=name)
    except (ValueError, OSError) as error:
        facts.digest = digest_of(content)
        notes.add("unreadable-picture", name, str(error))
        return None
    facts.size = image.shape[0], image.shape[1]
    facts.digest = digest_of(repr(image.shape).encode() + image.tobytes())
    if image.size and (image == image[0, 0]).all():
        color = tuple(image[0, 0].tolist())
        notes.add("blank-picture", name, f"{name}: every pixel has the colour {color}.")
    return image


def note_sizes(
    notes: Notes, truth: str, ids: NDArray[np.int32], picture: str, image: Image
) -> bool:
    """Compare label image and picture; gives whether they fit."""
    if ids.shape == image.shape[:2]:
        return True
    turned = " It would fit if it were turned." if ids.shape == image.shape[1::-1] else ""
    notes.add(
        "size-mismatch",
        truth,
        f"{truth}: expected {image.shape[0]}x{image.shape[1]} (height x width), the size of "
        f"{picture}, got {ids.shape[0]}x{ids.shape[1]}.{turned}",
    )
    return False


def measure(sample: Sample, labels: LabelSpace, facts: Facts, notes: Notes, truth: str) -> None:
    """Count the segments of a map, and note tiny, torn and too many things, and empty truth."""
    panoptic = sample.panoptic
    assert panoptic is not None
    facts.truth_digest = digest_of(panoptic.segment_map.tobytes())
    facts.void_px = int((panoptic.segment_map == VOID).sum())
    boxes = measure_boxes(panoptic)
    rows, tiny, torn = [], [], []
    for segment in panoptic.segments:
        is_thing = labels.is_thing(segment.class_id) and not segment.is_crowd
        parts = 1
        if is_thing:
            parts, apart = count_parts(panoptic, segment.id, boxes[segment.id])
            if segment.area_px < TINY_PX:
                tiny.append(segment.id)
            if apart:
                torn.append(segment.id)
        rows.append((segment.class_id, segment.area_px, int(segment.is_crowd), parts))
    facts.segments = np.array(rows, np.int64).reshape(-1, 4)
    facts.is_kept = bool(rows)
    if not rows:
        notes.add("empty-truth", truth, f"{truth}: expected labels, every pixel is void.")
    for kind, found, what in (
        ("tiny-instance", tiny, f"of fewer than {TINY_PX} pixels"),
        ("torn-instance", torn, "in parts far apart, or in very many"),
    ):
        if found:
            things = "1 thing" if len(found) == 1 else f"{len(found)} things"
            text = f"{truth}: {things} {what}: {listing(found)}."
            notes.add(kind, truth, text, ids=tuple(found), count=len(found))
    number = sum(labels.is_thing(c) and not crowd for c, _, crowd, _ in rows)
    if number > MANY_THINGS:
        notes.add("many-things", truth, f"{truth}: {number} things.")


def count_parts(
    panoptic: PanopticMap, number: int, box: tuple[int, int, int, int]
) -> tuple[int, bool]:
    """In how many connected parts a segment lies, and whether it is torn.

    Torn means that a part lies further from the largest one than that is long, or that there are
    more than `MOST_PARTS`. Specks below 2 % of the area do not count.

    Args:
        panoptic: the map.
        number: id of the segment.
        box: (x, y, width, height).
    """
    x, y, width, height = box
    mask = (panoptic.segment_map[y : y + height, x : x + width] == number).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2:
        return 1, False
    parts = np.asarray(stats[1:], np.int64)
    large = parts[parts[:, cv2.CC_STAT_AREA] >= _SPECK * parts[:, cv2.CC_STAT_AREA].sum()]
    first = large[large[:, cv2.CC_STAT_AREA].argmax()]
    gaps = [
        np.maximum(
            np.maximum(
                large[:, at] - first[at] - first[to], first[at] - large[:, at] - large[:, to]
            ),
            0,
        )
        for at, to in (
            (cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH),
            (cv2.CC_STAT_TOP, cv2.CC_STAT_HEIGHT),
        )
    ]
    length = max(first[cv2.CC_STAT_WIDTH], first[cv2.CC_STAT_HEIGHT])
    apart = float(np.hypot(*gaps).max()) > length
    return count - 1, apart or len(large) > MOST_PARTS


def _plain(error: OSError) -> str:
    """The message of an error that speaks for itself; empty for those of the system."""
    return "" if error.strerror else str(error)
