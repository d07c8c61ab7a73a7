"""The classes of well-known data sets, as they stand in `tables/*.json`.

A table has the classes that are trained and evaluated, and beside them the void ones, whose pixels
belong to no segment. Each file names its source.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from panoptic_deeplab.labels import LabelSpace, near_names

TABLES = ("cityscapes", "coco_panoptic", "mapillary_v1_2", "mapillary_v2_0", "ade20k")
"""Names of the tables."""


@dataclass(frozen=True)
class ClassTable:
    """Classes of a data set.

    Attributes:
        labels: those that count.
        void: dataset_id -> name of those that do not.
        colors: dataset_id -> RGB of all.
    """

    labels: LabelSpace
    void: dict[int, str]
    colors: dict[int, tuple[int, int, int]]


@cache
def read_table(name: str) -> ClassTable:
    """Read a table of the package.

    Raises:
        ValueError: if there is none of that name; the message lists near ones.
    """
    if name not in TABLES:
        raise ValueError(f"Unknown table of classes {name!r}. {near_names(name, TABLES)}")
    whole = json.loads((files(__package__) / "tables" / f"{name}.json").read_text("utf-8"))
    labels = LabelSpace.from_dict(whole)
    colors = {c.dataset_id: c.color for c in labels.classes}
    colors |= {v["dataset_id"]: tuple(v["color"]) for v in whole["void"]}
    return ClassTable(labels, {v["dataset_id"]: v["name"] for v in whole["void"]}, colors)
