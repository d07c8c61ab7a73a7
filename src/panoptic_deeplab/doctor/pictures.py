"""Pictures of what is wrong: the place of a fault, framed; two pictures that are the same."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab import captions, render
from panoptic_deeplab.captions import Picture
from panoptic_deeplab.doctor.examined import Examined, Split
from panoptic_deeplab.doctor.faults import Finding

HEIGHT = 300
"""Of each picture in pixels."""

_MARK = (255, 0, 200)  # in no label space that we know
_AROUND = 3  # a place is shown with so many times its own size around it
_LEAST = 96  # pixels of the image shown, at least, along each axis
_SLENDER = 2  # a window is at most so many times longer than wide


def draw_finding(splits: Mapping[str, Split], finding: Finding) -> Picture | None:
    """A picture of a finding; None if there is nothing to see."""
    if finding.index < 0:
        return None
    seen = splits[finding.split].examine(finding.index)
    if seen.image is None:
        return None
    if finding.other is not None:
        split, index = finding.other
        other = splits[split].examine(index)
        pair = [_labelled(seen, splits[finding.split]), _labelled(other, splits[split])]
        names = [f"{finding.split}: {finding.image_id}", f"{split}: {other.facts.image_id}"]
        return _side_by_side([p for p in pair if p is not None], names)
    if finding.kind == "size-mismatch" and seen.ids is not None:
        panels = [seen.image, _numbers(seen.ids)]
        names = [f"picture {_size(seen.image)}", f"labels {_size(seen.ids)}"]
        return _side_by_side(panels, names)
    if seen.ids is None or seen.ids.shape != seen.image.shape[:2]:
        return _side_by_side([seen.image], [finding.image_id])
    mask = np.isin(seen.ids, finding.segment_ids)
    labelled = _labelled(seen, splits[finding.split])
    if labelled is None or not mask.any():
        return _side_by_side([labelled if labelled is not None else seen.image], [finding.image_id])
    return _place(seen.image, labelled, mask, finding)


def draw_example(split: Split, index: int) -> Picture | None:
    """An image with its labels; None if it cannot be read."""
    seen = split.examine(index)
    labelled = _labelled(seen, split)
    if labelled is None:
        return None
    return _side_by_side([labelled], [f"{split.name}: {seen.facts.image_id}"])


def as_jpeg(picture: Picture) -> bytes:
    """The picture as a file."""
    ok, content = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    assert ok, "OpenCV writes any uint8 picture"
    return content.tobytes()


def _labelled(seen: Examined, split: Split) -> Picture | None:
    """With outlines and colours; the picture alone if it has no usable labels."""
    if seen.sample is None or seen.sample.panoptic is None:
        return seen.image
    return render.overlay(
        seen.sample.image, seen.sample.panoptic, split.labels, opacity=0.4, names=False
    )


def _place(image: Picture, labelled: Picture, mask: NDArray[np.bool_], finding: Finding) -> Picture:
    """The largest segments concerned, framed, without and with labels; and where they lie."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    longest = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    least = max(_LEAST, _AROUND * longest // _SLENDER)
    window = tuple(
        _around(int(found[0]), int(found[-1]) + 1, length, least)
        for found, length in ((rows, mask.shape[0]), (columns, mask.shape[1]))
    )
    part = tuple(slice(*w) for w in window)
    scale = max(1, HEIGHT // max(1, window[0][1] - window[0][0]))
    edges = _edges(mask[part], scale)
    panels = []
    for source in (image, labelled):
        large = source[part].repeat(scale, 0).repeat(scale, 1)
        large[edges] = _MARK
        panels.append(large)
    numbers = ", ".join(map(str, finding.segment_ids[:4]))
    more = ", ..." if len(finding.segment_ids) > 4 else ""
    return _side_by_side(panels, [f"{finding.image_id}: {numbers}{more}", "with labels"])


def _edges(mask: NDArray[np.bool_], scale: int) -> NDArray[np.bool_]:
    """A line around the marked pixels, just outside of them."""
    large = mask.repeat(scale, 0).repeat(scale, 1).astype(np.uint8)
    grown = cv2.dilate(large, np.ones((3, 3), np.uint8), iterations=2)
    return np.asarray((grown > 0) & (large == 0), bool)


def _around(first: int, last: int, length: int, least: int) -> tuple[int, int]:
    """A stretch around another, inside 0 to length."""
    wanted = min(length, max(least, _AROUND * (last - first)))
    begin = min(max(0, (first + last - wanted) // 2), length - wanted)
    return begin, begin + wanted


def _numbers(ids: NDArray[np.int32]) -> Picture:
    """Label images as colours that tell neighbours apart."""
    mixed = (ids.astype(np.int64) * 2_654_435_761) & 0xFFFFFF  # Knuth's multiplicative hash
    return np.stack([(mixed >> s) & 0xFF for s in (16, 8, 0)], axis=-1).astype(np.uint8)


def _size(array: NDArray[np.generic]) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


def _side_by_side(panels: list[Picture], names: list[str]) -> Picture:
    fitted = [captions.fit_height(panel, HEIGHT) for panel in panels]
    return captions.row(
        [captions.with_caption(p, name) for p, name in zip(fitted, names, strict=False)]
    )
