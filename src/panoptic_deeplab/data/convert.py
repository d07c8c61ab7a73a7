"""One format to another: written, read back, and compared, so that nothing is lost in silence.

The result appears whole: it is written beside its place and moved there at the end. What the
target cannot hold is counted per class by comparing what was read with what can be read back.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress

from panoptic_deeplab.data.account import losses_of
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.class_tables import read_table
from panoptic_deeplab.data.file_set import FileSet
from panoptic_deeplab.data.format import Format, Source
from panoptic_deeplab.data.overlaps import Flattened
from panoptic_deeplab.data.pictures import picture_of
from panoptic_deeplab.data.relabel import Relabelled, match_classes
from panoptic_deeplab.files import whole_folder
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.structures import Sample


@dataclass
class Conversion:
    """What was done.

    Attributes:
        images: number written, by split.
        renamed: old name -> new name of images whose names the format does not allow.
        classes: old name -> new name of classes, None for void, where they differ.
        losses: sentence -> how often, of what the result does not hold.
        conflicts: "pixels", "things", "hidden": what overlapping instances left to the rule.
        left_out: why a split was not written, by split.
    """

    images: dict[str, int] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str | None] = field(default_factory=dict)
    losses: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def is_lossless(self) -> bool:
        """Whether reading the result gives exactly what was read, and all that was listed."""
        return not self.losses

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "images": self.images,
            "renamed": self.renamed,
            "classes": self.classes,
            "losses": dict(self.losses),
            "conflicts": dict(self.conflicts),
            "left_out": self.left_out,
            "is_lossless": self.is_lossless,
        }


def convert(
    datasets: Mapping[str, PanopticDataset],
    target: Path,
    format_: Format,
    *,
    rename: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    progress: Progress | None = None,
) -> Conversion:
    """Write data sets as the splits of another format.

    Args:
        datasets: by split.
        target: folder, which must be empty or missing.
        format_: to write.
        rename: names of classes, where the format has its own.
        drop: classes that become void there.
        progress: shows how far it is.

    Raises:
        ValueError: if the target is not empty, classes have no counterpart, or an image cannot be
            written; nothing is left behind.
    """
    result = Conversion()
    with whole_folder(target) as folder:
        for split, dataset in datasets.items():
            seen = _seen_by(dataset, format_, rename or {}, drop, result)
            _write(dataset, seen, folder, split, format_, result, progress)
    return result


def _seen_by(
    dataset: PanopticDataset,
    format_: Format,
    rename: Mapping[str, str],
    drop: Sequence[str],
    result: Conversion,
) -> Relabelled | None:
    """The data with the format's own classes; None if it takes any."""
    if not format_.table and not rename and not drop:
        return None
    labels = read_table(format_.table).labels if format_.table else _renamed(dataset, rename, drop)
    source = dataset.labels
    names = rename if format_.table else {}
    matched = (
        match_classes(source, labels, rename=names, drop=drop)
        if format_.table
        else {
            i: None if n in drop else labels.names.index(rename.get(n, n))
            for i, n in enumerate(source.names)
        }
    )
    for class_id, other in matched.items():
        name = source.names[class_id]
        if other is None or labels.names[other] != name:
            result.classes[name] = None if other is None else labels.names[other]
    return Relabelled(dataset, labels, matched)


def _renamed(
    dataset: PanopticDataset, rename: Mapping[str, str], drop: Sequence[str]
) -> LabelSpace:
    """The data's own classes under other names; two of one name become one."""
    match_classes(dataset.labels, dataset.labels, drop=(*drop, *rename))  # the names exist
    kept: dict[str, ClassInfo] = {}
    for info in dataset.labels.classes:
        name = rename.get(info.name, info.name)
        if info.name not in drop:
            kept.setdefault(name, ClassInfo(name, info.dataset_id, info.is_thing, info.color))
    return LabelSpace(dataset.labels.name, tuple(kept.values()))


def _write(
    dataset: PanopticDataset,
    seen: Relabelled | None,
    root: Path,
    split: str,
    format_: Format,
    result: Conversion,
    progress: Progress | None,
) -> None:
    labels = seen.labels if seen is not None else dataset.labels
    count = len(dataset)
    writer = format_.writer(root, split, labels)
    names = []
    for index in _steps(count, f"writing {split}", progress):
        sample = dataset[index]
        if sample.panoptic is None:
            raise ValueError(f"{sample.image_id}: expected labels, got none. Leave it out.")
        picture = picture_of(dataset, index, sample)
        names.append(writer.add(seen.exchange(sample) if seen is not None else sample, picture))
        _count_conflicts(dataset, index, sample, result)
    writer.close()
    written = format_.open(Source(root, split))
    classes = [result.classes.get(name, name) for name in dataset.labels.names]
    places = {written.image_id(i): i for i in range(len(written))}
    for index in _steps(count, f"checking {split}", progress):
        name = names[index]
        if name != dataset.image_id(index):
            result.renamed[dataset.image_id(index)] = name
        if name not in places:
            result.losses["images without any label left"] += 1
            continue
        before, after = dataset[index], written[places[name]]
        result.losses.update(losses_of(before, after, classes, written.labels))
    for name, images in (_image_fields(dataset) - _image_fields(written)).items():
        result.losses[f"values of the field {name!r}, which the list had for its images"] += images
    result.images[split] = count


def _image_fields(dataset: PanopticDataset) -> Counter[str]:
    fields = getattr(dataset, "image_fields", None)
    return Counter() if fields is None else fields()


def _steps(count: int, title: str, progress: Progress | None) -> Iterable[int]:
    if progress is None:
        return range(count)
    return progress.track(range(count), description=title)


def _count_conflicts(
    dataset: PanopticDataset, index: int, sample: Sample, result: Conversion
) -> None:
    if not isinstance(dataset, FileSet) or not isinstance(dataset.decode, Flattened):
        return
    size = (sample.image.shape[0], sample.image.shape[1])
    _, found = dataset.decode.with_conflicts(dataset.entries[index], size)
    result.conflicts.update(
        {"pixels": found.pixels, "things": found.things, "hidden": found.hidden}
    )


def sentences(result: Conversion) -> list[str]:
    """What to tell people, line by line."""
    lines = [f"{count} images of {split}" for split, count in result.images.items()]
    for split, why in result.left_out.items():
        lines.append(f"split {split!r} is not there: {why}")
    for name, other in result.classes.items():
        lines.append(f"class {name!r} " + (f"is {other!r}" if other else "becomes void"))
    if result.renamed:
        old, new = next(iter(result.renamed.items()))
        lines.append(f"{len(result.renamed)} images got new names, such as {new} for {old}")
    if result.conflicts["pixels"]:
        found = result.conflicts
        lines.append(
            f"{found['pixels']} pixels were claimed by several of {found['things']} instances and "
            f"went to one of them; {found['hidden']} instances lost all their pixels"
        )
    if result.is_lossless:
        lines.append("nothing is lost: read back, every image is as it was")
    for what, count in sorted(result.losses.items()):
        lines.append(f"lost: {count} {what}")
    return lines
