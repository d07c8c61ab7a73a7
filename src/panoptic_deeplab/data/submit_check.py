"""What evaluation servers refuse, found before they do: reads a zip as they would.

Names inside the zip, one result per image and none missing, PNGs of the right kind, ids and
categories that agree, masks that exist and hold something, confidences that are numbers.
"""

import json
import math
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from panoptic_deeplab.data.coco import decode_ids
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, count_ids


def check_submission(
    path: Path,
    task: str,
    labels: LabelSpace,
    *,
    label_shift: int = 0,
    void: int = 0,
    images: Sequence[str],
    expected: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, int]:
    """Check a zip.

    Args:
        path: of the zip.
        task: "semantic", "instance" or "panoptic".
        labels: the benchmark's classes.
        label_shift: dataset_id minus the number in PNGs and text files.
        void: number of pixels of no class in semantic PNGs.
        images: names that must be there, each once.
        expected: names of the whole split; empty: not known.
        progress: shows how far it is.

    Returns:
        Counts: "images", and "instances" or "segments".

    Raises:
        ValueError: naming the first fault.
    """
    missing = sorted(set(expected) - set(images))
    if missing:
        raise ValueError(
            f"{missing[0]}: expected a result for each of {len(expected)} images, missing: "
            f"{len(missing)}. Predict them, too; the server refuses parts."
        )
    foreign = sorted(set(images) - set(expected)) if expected else []
    if foreign:
        raise ValueError(
            f"{foreign[0]}: expected only images of the split, got {len(foreign)} others. Predict "
            "the pictures of the split alone."
        )
    if len(set(images)) != len(images):
        raise ValueError(f"{path}: expected one result per image, got some twice.")
    numbers = {c.dataset_id - label_shift: c.is_thing for c in labels.classes}
    with zipfile.ZipFile(path) as archive:
        _check_names(archive)
        steps = images if progress is None else progress.track(images, description="checking")
        if task == "semantic":
            for stem in steps:
                _check_semantic(archive, stem, {*numbers, void})
            return {"images": len(images)}
        if task == "instance":
            count = sum(_check_instances(archive, stem, numbers) for stem in steps)
            return {"images": len(images), "instances": count}
        return {"images": len(images), "segments": _check_panoptic(archive, images, labels)}


def _check_names(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError(f"{archive.filename}: expected each file once, got some twice.")
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or any(c.isspace() for c in name):
            raise ValueError(
                f"{name}: expected a relative name without spaces, which servers split lines at. "
                "Rename the picture."
            )


def _numbers(archive: zipfile.ZipFile, name: str) -> NDArray[np.int32]:
    try:
        content = archive.read(name)
    except KeyError as error:
        raise ValueError(f"{name}: expected this file in the zip, found none.") from error
    with Image.open(BytesIO(content)) as image:
        if image.format != "PNG" or image.mode != "L":
            raise ValueError(f"{name}: expected an 8-bit grey PNG, got {image.mode}.")
        return np.asarray(image, np.int32)


def _check_semantic(archive: zipfile.ZipFile, stem: str, allowed: set[int]) -> None:
    found = [n for n in archive.namelist() if n in (f"{stem}.png", f"{stem}_pred_labelIds.png")]
    if len(found) != 1:
        raise ValueError(f"{stem}: expected one PNG in the zip, got {len(found)}.")
    unknown = set(count_ids(_numbers(archive, found[0]))) - allowed
    if unknown:
        raise ValueError(f"{found[0]}: expected label ids of the benchmark, got {min(unknown)}.")


def _check_instances(archive: zipfile.ZipFile, stem: str, numbers: dict[int, bool]) -> int:
    try:
        text = archive.read(f"{stem}.txt").decode("ascii")
    except KeyError as error:
        raise ValueError(f"{stem}: expected {stem}.txt in the zip, found none.") from error
    sizes = set()
    lines = text.splitlines()
    for line in lines:
        words = line.split()
        try:
            name, number, confidence = words[0], int(words[1]), float(words[2])
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"{stem}.txt: expected lines of mask, label id and confidence, got {line!r}."
            ) from error
        if len(words) != 3 or not numbers.get(number) or not math.isfinite(confidence):
            raise ValueError(
                f"{stem}.txt: expected the label id of a thing and a finite confidence, got "
                f"{line!r}."
            )
        mask = _numbers(archive, name)
        sizes.add(mask.shape)
        if not mask.any():
            raise ValueError(f"{name}: expected pixels of an instance, got none.")
    if len(sizes) > 1:
        raise ValueError(f"{stem}: expected masks of one size, got {sorted(sizes)}.")
    return len(lines)


def _check_panoptic(archive: zipfile.ZipFile, images: Sequence[str], labels: LabelSpace) -> int:
    lists = [n for n in archive.namelist() if n.endswith(".json")]
    if len(lists) != 1 or "/" in lists[0]:
        raise ValueError(f"{archive.filename}: expected one JSON at the top, got {lists}.")
    folder = lists[0].removesuffix(".json")
    annotations = json.loads(archive.read(lists[0]))["annotations"]
    if len(annotations) != len(images) or len({a["image_id"] for a in annotations}) != len(images):
        raise ValueError(
            f"{lists[0]}: expected an annotation per image, {len(images)}, got {len(annotations)}."
        )
    known = {c.dataset_id for c in labels.classes}
    count = 0
    for annotation in annotations:
        name = f"{folder}/{annotation['file_name']}"
        try:
            content = archive.read(name)
        except KeyError as error:
            raise ValueError(f"{name}: expected this PNG in the zip, found none.") from error
        ids = set(count_ids(decode_ids(content, name=name))) - {VOID}
        segments = annotation["segments_info"]
        listed = {s["id"] for s in segments}
        if ids != listed or len(listed) != len(segments):
            raise ValueError(f"{name}: expected the segments of the list, each once.")
        unknown = {s["category_id"] for s in segments} - known
        if unknown:
            raise ValueError(f"{name}: expected categories of the benchmark, got {min(unknown)}.")
        count += len(segments)
    return count
