"""What the doctor found, as numbers, words and plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_deeplab.doctor.across import class_counts
from panoptic_deeplab.doctor.examined import Facts, Split
from panoptic_deeplab.doctor.faults import FAULTS, SEVERITIES, Fault, Finding

EXAMPLES = 3
"""Places named in words per kind of fault; JSON and page have all, or more."""


@dataclass(frozen=True)
class Group:
    """All findings of one kind.

    Attributes:
        kind: name in `FAULTS`.
        findings: at least one.
    """

    kind: str
    findings: Sequence[Finding]

    @property
    def fault(self) -> Fault:
        """What it is and does."""
        return FAULTS[self.kind]

    @property
    def count(self) -> int:
        """Segments, pairs or files concerned."""
        return sum(f.count for f in self.findings)

    @property
    def images(self) -> int:
        """Images concerned."""
        return len({(f.split, f.image_id) for f in self.findings if f.image_id})


@dataclass(frozen=True)
class Report:
    """The examination of a data set.

    Attributes:
        root: its folder.
        format: name in `DATASETS`.
        splits: what was opened, by name.
        facts: of each image, by split.
        findings: every fault.
    """

    root: str
    format: str
    splits: Mapping[str, Split]
    facts: Mapping[str, Sequence[Facts]]
    findings: Sequence[Finding]

    @property
    def groups(self) -> list[Group]:
        """Findings by kind, errors first, in the order of `FAULTS`."""
        groups = [Group(kind, [f for f in self.findings if f.kind == kind]) for kind in FAULTS]
        found = [g for g in groups if g.findings]
        return sorted(found, key=lambda g: SEVERITIES.index(g.fault.severity))

    def number(self, severity: str) -> int:
        """How many findings of a severity there are."""
        return sum(f.severity == severity for f in self.findings)

    @property
    def has_errors(self) -> bool:
        """Whether training or evaluation would stop, or give wrong numbers."""
        return self.number("error") > 0

    @property
    def verdict(self) -> str:
        """One sentence."""
        images = sum(map(len, self.facts.values()))
        counts = [f"{self.number(s)} {s}{'s' if self.number(s) != 1 else ''}" for s in SEVERITIES]
        return f"{images} images examined: {', '.join(counts[:-1])} and {counts[-1]}."

    def summary(self, split: str) -> dict[str, Any]:
        """Numbers of a split."""
        facts = self.facts[split]
        labels = self.splits[split].labels
        rows = np.concatenate([f.segments for f in facts] or [np.zeros((0, 4), np.int64)])
        is_thing = np.isin(rows[:, 0], labels.thing_ids) & (rows[:, 2] == 0)
        things = rows[is_thing]
        sizes = Counter(f.size for f in facts if f.size is not None)
        pixels = sum(h * w * n for (h, w), n in sizes.items())
        per_image = [
            int((np.isin(f.segments[:, 0], labels.thing_ids) & (f.segments[:, 2] == 0)).sum())
            for f in facts
        ]
        areas = np.sort(things[:, 1])
        return {
            "images": len(facts),
            "readable": sum(f.is_kept for f in facts),
            "sizes": [[h, w, n] for (h, w), n in sizes.most_common()],
            "things": len(things),
            "stuff": int((~np.isin(rows[:, 0], labels.thing_ids)).sum()),
            "crowd": int(rows[:, 2].sum()),
            "in_parts": int((things[:, 3] > 1).sum()),
            "things_per_image": [round(float(np.mean(per_image or [0])), 1), max(per_image or [0])],
            "median_thing_area_px": int(np.median(areas)) if areas.size else 0,
            "void_share": round(sum(f.void_px for f in facts) / pixels, 4) if pixels else 0.0,
        }

    def classes(self) -> list[dict[str, Any]]:
        """Per class: images, segments, pixels and crowd regions in each split."""
        rows: dict[str, dict[str, Any]] = {}
        for split, facts in self.facts.items():
            labels = self.splits[split].labels
            counts = class_counts(facts, labels.num_classes)
            total = max(1, int(counts[:, 2].sum()))
            for info, (images, segments, pixels, crowd) in zip(
                labels.classes, counts.tolist(), strict=True
            ):
                row = rows.setdefault(info.name, {"name": info.name, "is_thing": info.is_thing})
                row[split] = {
                    "images": images,
                    "segments": segments,
                    "pixel_share": round(pixels / total, 5),
                    "crowd": crowd,
                }
        return list(rows.values())

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "root": self.root,
            "format": self.format,
            "verdict": self.verdict,
            **{f"{s}s": self.number(s) for s in SEVERITIES},
            "splits": {split: self.summary(split) for split in self.splits},
            "classes": self.classes(),
            "faults": [
                {
                    "kind": g.kind,
                    "title": g.fault.title,
                    "severity": g.fault.severity,
                    "count": g.count,
                    "images": g.images,
                    "training": g.fault.training,
                    "quality": g.fault.quality,
                    "remedy": g.fault.remedy,
                    "repair": g.fault.repair,
                    "places": [
                        {"split": f.split, "image": f.image_id, "where": f.where, "what": f.what}
                        for f in g.findings
                    ],
                }
                for g in self.groups
            ],
        }


def sentences(report: Report) -> list[str]:
    """What to tell people about each kind of fault, line by line."""
    lines: list[str] = []
    for group in report.groups:
        fault = group.fault
        images = f" in {group.images} images" if group.images else ""
        lines.append(f"{fault.severity}: {fault.title} ({group.count}{images})")
        lines += [f"  {finding.what}" for finding in group.findings[:EXAMPLES]]
        if len(group.findings) > EXAMPLES:
            lines.append(f"  ... and {len(group.findings) - EXAMPLES} more")
        lines.append(f"  training: {fault.training}")
        lines.append(f"  PQ: {fault.quality}")
        lines.append(f"  do: {fault.remedy}" + (f" --fix: {fault.repair}" if fault.repair else ""))
    return lines
