"""Predictions as evaluation servers take them: one zip, checked before it appears.

    cityscapes-semantic    NAME_pred_labelIds.png, label ids
    cityscapes-instance    NAME.txt: lines of mask, label id, confidence; masks/NAME_0001.png
    cityscapes-panoptic    a COCO list and a folder of PNGs, label ids as categories
    coco-panoptic          the same with COCO's ids
    mapillary-semantic     NAME.png, places in the config's labels
    mapillary-instance     as Cityscapes', label ids being places in the config's labels
    mapillary-panoptic     a COCO list, categories being these places plus 1

Sources: cityscapesScripts, `evaluation/`; cocodataset.org/#format-results; the README of Mapillary
Vistas. What the checks are is in `submit_check.py`.
"""

import json
import secrets
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from panoptic_deeplab.data.cityscapes import STEM
from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.coco_list import image_number
from panoptic_deeplab.data.coco_writer import encode_ids
from panoptic_deeplab.data.file_set import paint_values
from panoptic_deeplab.data.id_images import encode_numbers
from panoptic_deeplab.data.predictions import Predictions
from panoptic_deeplab.data.relabel import exchange_classes, match_classes
from panoptic_deeplab.data.submit_check import check_submission
from panoptic_deeplab.labels import LabelSpace, near_names
from panoptic_deeplab.structures import PanopticMap, Segment


@dataclass(frozen=True)
class Server:
    """What one evaluation takes.

    Attributes:
        task: "semantic", "instance" or "panoptic".
        table: its classes.
        label_shift: a class's number in PNGs and text files is its dataset_id minus this.
        void: number of pixels of no class in semantic PNGs.
    """

    task: str
    table: str
    label_shift: int = 0
    void: int = 0


SERVERS: dict[str, Server] = {
    "cityscapes-semantic": Server("semantic", "cityscapes"),
    "cityscapes-instance": Server("instance", "cityscapes"),
    "cityscapes-panoptic": Server("panoptic", "cityscapes"),
    "coco-panoptic": Server("panoptic", "coco_panoptic"),
    "mapillary-semantic": Server("semantic", "mapillary_v1_2", 1, 65),
    "mapillary-instance": Server("instance", "mapillary_v1_2", 1),
    "mapillary-panoptic": Server("panoptic", "mapillary_v1_2"),
}
"""Evaluations by the name that is typed."""


def find_server(name: str) -> Server:
    """An evaluation by name.

    Raises:
        ValueError: if there is none; the message lists near ones.
    """
    if name not in SERVERS:
        raise ValueError(f"Unknown evaluation {name!r}. {near_names(name, list(SERVERS))}")
    return SERVERS[name]


def write_submission(
    predictions: Predictions,
    target: Path,
    name: str,
    *,
    expected: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write and check a zip; it appears only if the check finds nothing.

    Args:
        predictions: of all images.
        target: the zip; one that is there is replaced.
        name: in `SERVERS`.
        expected: names of all images that must be there; empty: not known.
        rename: names of classes.
        drop: classes that become void.
        progress: shows how far it is.

    Returns:
        Counts: "images", and "instances" or "segments".

    Raises:
        ValueError: if classes or names do not fit, scores are missing, or the check finds a fault.
    """
    server = find_server(name)
    labels = read_table(server.table).labels
    matched = match_classes(predictions.labels, labels, rename=rename, drop=drop)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    done: list[str] = []
    try:
        with zipfile.ZipFile(part, "x", zipfile.ZIP_DEFLATED) as archive:
            pack = _Pack(archive, labels, server, target.stem)
            steps = (
                predictions
                if progress is None
                else progress.track(predictions, total=len(predictions), description="writing")
            )
            for image_id, found in steps:
                panoptic = exchange_classes(found, predictions.labels, labels, matched)
                done.append(_stem(image_id, server))
                pack.add(done[-1], panoptic)
            pack.close()
        counts = check_submission(
            part,
            server.task,
            labels,
            label_shift=server.label_shift,
            void=server.void,
            images=done,
            expected=expected,
            progress=progress,
        )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return counts


def _stem(image_id: str, server: Server) -> str:
    if server.table != "cityscapes":
        return image_id
    stem = image_id.removesuffix("_leftImg8bit")
    if not STEM.fullmatch(stem):
        raise ValueError(
            f"{image_id}: expected a name of the form CITY_SEQUENCE_FRAME, such as "
            "berlin_000000_000019, by which the server finds its truth. Predict the pictures under "
            "their own names."
        )
    return stem


@dataclass
class _Pack:
    """A zip being filled.

    Attributes:
        archive: open for writing.
        labels: the benchmark's classes.
        server: what it takes.
        folder: of PNGs in the zip, and name of the list.
        listed: annotations so far.
    """

    archive: zipfile.ZipFile
    labels: LabelSpace
    server: Server
    folder: str
    listed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, stem: str, panoptic: PanopticMap) -> None:
        if self.server.task == "semantic":
            self._add_semantic(stem, panoptic)
        elif self.server.task == "instance":
            self._add_instances(stem, panoptic)
        else:
            self._add_panoptic(stem, panoptic)

    def close(self) -> None:
        if self.server.task == "panoptic":
            content = json.dumps({"annotations": self.listed})
            self.archive.writestr(f"{self.folder}.json", content)

    def _add_semantic(self, stem: str, panoptic: PanopticMap) -> None:
        numbers = {s.id: self._number(s) for s in panoptic.segments}
        values = paint_values(panoptic, numbers, self.server.void)
        ending = "_pred_labelIds.png" if self.server.table == "cityscapes" else ".png"
        self._write(f"{stem}{ending}", encode_numbers(values))

    def _add_instances(self, stem: str, panoptic: PanopticMap) -> None:
        lines: list[str] = []
        for segment in panoptic.segments:
            if not self.labels.is_thing(segment.class_id) or segment.is_crowd:
                continue
            if segment.score is None:
                raise ValueError(
                    f"{stem}: expected a score for segment {segment.id}, got none. Average "
                    "precision ranks instances by it; predict with this package, or write scores."
                )
            mask = np.asarray((panoptic.segment_map == segment.id) * 255, np.int32)
            name = f"masks/{stem}_{len(lines):04d}.png"
            self._write(name, encode_numbers(mask))
            lines.append(f"{name} {self._number(segment)} {segment.score:.6f}\n")
        self.archive.writestr(f"{stem}.txt", "".join(lines))

    def _add_panoptic(self, stem: str, panoptic: PanopticMap) -> None:
        self._write(f"{self.folder}/{stem}.png", encode_ids(panoptic.segment_map, name=stem))
        segments = [
            {"id": s.id, "category_id": self.labels.classes[s.class_id].dataset_id}
            for s in panoptic.segments
        ]
        number = image_number(stem) if self.server.table == "coco_panoptic" else stem
        name = f"{stem}.png"
        self.listed.append({"image_id": number, "file_name": name, "segments_info": segments})

    def _number(self, segment: Segment) -> int:
        return self.labels.classes[segment.class_id].dataset_id - self.server.label_shift

    def _write(self, name: str, content: bytes) -> None:
        self.archive.writestr(name, content, zipfile.ZIP_STORED)  # PNGs are compressed already
