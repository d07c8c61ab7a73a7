"""A repaired copy of a data set: the same format, in a new folder, whole or not at all.

What is repaired stands with each kind of `FAULTS`. Nothing is invented: pixels whose label is in
doubt become void, images that cannot be saved are left out and named. The copy is examined before
it appears; if it had an error, there would be no copy.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from panoptic_deeplab.data.format import Source, Writer
from panoptic_deeplab.data.formats import DATASETS
from panoptic_deeplab.data.pictures import picture_of
from panoptic_deeplab.doctor.coco_split import CocoSplit
from panoptic_deeplab.doctor.examination import check
from panoptic_deeplab.doctor.examined import Split
from panoptic_deeplab.doctor.faults import FAULTS, Finding
from panoptic_deeplab.doctor.report import Report
from panoptic_deeplab.files import check_empty, whole_folder, write_whole
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Sample

_KINDS_LEFT_OUT = ("duplicate", "leak", "blank-picture", "empty-truth")
_WITH_COCO_LISTS = ("coco_panoptic", "tar_shards")
"""Formats that are written with `annotations/panoptic_SPLIT.json`."""


@dataclass
class Repair:
    """What was done.

    Attributes:
        target: the new folder.
        images: number written, by split.
        left_out: "SPLIT: NAME" -> why.
        repaired: what was done -> how often.
        not_repaired: kinds of errors and warnings that remain, with what to do.
    """

    target: Path
    images: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    not_repaired: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "target": str(self.target),
            "images": self.images,
            "left_out": self.left_out,
            "repaired": self.repaired,
            "not_repaired": self.not_repaired,
        }


def repair(
    report: Report, source: Source, target: Path, *, workers: int = 0, progress: Progress | None
) -> Repair:
    """Write what can be saved of a data set into a new folder.

    Args:
        report: of its examination.
        source: where it lies.
        target: empty or missing; outside the data set.
        workers: processes that examine the copy.
        progress: shows how far it is.

    Raises:
        ValueError: if a split cannot be opened, nothing of one is left, the target holds files or
            lies in the data set, or the copy would still have errors. Nothing is written then.
    """
    check_target(source, target)
    closed = next((f for f in report.findings if f.kind == "cannot-open"), None)
    if closed is not None:
        raise ValueError(f"{closed.what} This cannot be repaired here; correct it by hand.")
    done = Repair(target)
    skipped = _left_out(report, done)
    with whole_folder(target) as folder:
        for name, split in report.splits.items():
            done.images[name] = _write(report.format, split, skipped, folder, done, progress)
        if report.format in _WITH_COCO_LISTS:
            for name, split in report.splits.items():
                assert isinstance(split, CocoSplit)
                _keep_fields(folder / "annotations" / f"panoptic_{name}.json", split)
        copied = replace(source, root=folder)
        names = list(report.splits)
        again = check(report.format, copied, splits=names, workers=workers, progress=progress)
        worst = next((f for f in again.findings if f.severity == "error"), None)
        if worst is not None and worst.kind != "classes-differ":
            raise ValueError(
                f"The repaired copy would still have an error: {worst.what} Correct it by hand."
            )
        for group in again.groups:
            if group.fault.severity != "note":
                done.not_repaired[f"{group.fault.title} ({group.count})"] = group.fault.remedy
    for group in report.groups:
        if group.fault.repair:
            done.repaired[f"{group.fault.title}: {group.fault.repair}"] = group.count
    return done


def check_target(source: Source, target: Path) -> None:
    """Refuse a place for a copy before anything is done.

    Raises:
        ValueError: if it holds files or lies in the data set.
    """
    root = source.root.resolve()
    if target.resolve() == root or root in target.resolve().parents:
        raise ValueError(
            f"{target}: expected a folder outside the data set {source.root}, since that is never "
            "changed. Choose another place."
        )
    check_empty(target)


class _Samples:
    """The repaired samples of a split, as `picture_of` wants them."""

    def __init__(self, split: Split) -> None:
        self._split = split

    @property
    def labels(self) -> LabelSpace:
        return self._split.labels

    def __len__(self) -> int:
        return len(self._split)

    def image_id(self, index: int, /) -> str:
        return self[index].image_id

    def picture(self, index: int) -> bytes:
        return self._split.picture(index)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self._split.examine(index).sample
        assert sample is not None, "images without a map are left out before"
        return sample


def _left_out(report: Report, done: Repair) -> set[tuple[str, int]]:
    """Places that the copy does not hold; notes why."""
    skipped = set()
    reasons: dict[tuple[str, int], Finding] = {}
    for finding in report.findings:
        fault = FAULTS[finding.kind]
        if finding.index >= 0 and (finding.kind in _KINDS_LEFT_OUT or fault.severity == "error"):
            reasons.setdefault((finding.split, finding.index), finding)
        if finding.kind in _KINDS_LEFT_OUT:
            skipped.add((finding.split, finding.index))
    for name, facts in report.facts.items():
        for fact in facts:
            if not fact.is_kept:
                skipped.add((name, fact.index))
        for index in sorted(i for s, i in skipped if s == name):
            reason = reasons.get((name, index))
            done.left_out[f"{name}: {facts[index].image_id}"] = (
                reason.what if reason else "no label is left."
            )
        if len(facts) == sum(s == name for s, _ in skipped):
            raise ValueError(
                f"{report.root}: nothing of the split {name!r} can be saved. Restore its files."
            )
    return skipped


def _write(
    format_name: str,
    split: Split,
    skipped: set[tuple[str, int]],
    folder: Path,
    done: Repair,
    progress: Progress | None,
) -> int:
    samples = _Samples(split)
    writer: Writer = DATASETS[format_name].writer(folder, split.name, split.labels)
    kept = [i for i in range(len(split)) if (split.name, i) not in skipped]
    steps = kept if progress is None else progress.track(kept, description=f"writing {split.name}")
    for index in steps:
        sample = samples[index]
        writer.add(sample, picture_of(samples, index, sample))
    writer.close()
    return len(kept)


def _keep_fields(path: Path, split: CocoSplit) -> None:
    """Give the new list what the old one says beside what the format asks for."""
    whole = json.loads(path.read_bytes())
    old: dict[Any, Mapping[str, Any]] = {}
    for index in range(len(split)):
        image = split.row(index).image
        old[image["id"]] = image
    for image in whole["images"]:
        for key, value in old.get(image["id"], {}).items():
            image.setdefault(key, value)
    for key, value in split.other_fields.items():
        whole.setdefault(key, value)
    write_whole(path, json.dumps(whole).encode())


def sentences(done: Repair) -> list[str]:
    """What to tell people, line by line."""
    lines = [f"{count} images of {split} written" for split, count in done.images.items()]
    lines += [f"left out: {name}: {why}" for name, why in list(done.left_out.items())[:20]]
    if len(done.left_out) > 20:
        lines.append(f"left out: {len(done.left_out) - 20} more; --json has all")
    lines += [f"{what} ({count})" for what, count in done.repaired.items()]
    lines += [f"remains: {what}: {remedy}" for what, remedy in done.not_repaired.items()]
    return lines
