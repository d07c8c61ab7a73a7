"""The catalogue: published weights by name, with their source, licence, results and address.

It is data, `catalogue.json` beside this file; every fact in it was read off the publisher's page
named there. Results are the publisher's own, in percent on the validation set. Of bowenc0221's two
values of AP it holds the one whose scores are semantic times instance, as in the paper.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Source:
    """Who published.

    Attributes:
        title: short name.
        page: where the facts stand.
        licence: of the weights, as far as that page states it.
    """

    title: str
    page: str
    licence: str


@dataclass(frozen=True)
class Entry:
    """One published file.

    Attributes:
        name: what is typed.
        source: who published it.
        backbone: of the network, in words.
        data: what it was trained on.
        pq: panoptic quality in percent, None where none was published; so are `ap` and `miou`.
        ap: average precision of instances.
        miou: mean intersection over union.
        note: what else one must know.
        file: the publisher's file name, "" where it is not known.
        url: where a program can fetch it, "" where it cannot.
        digest: ALGORITHM:FIRST HEX DIGITS of the file, "" where none was published.
        size_bytes: of the file, 0 where not published.
        browser: the address a person can open, where programs cannot fetch.
        embedded: comes with the package.
    """

    name: str
    source: Source
    backbone: str
    data: str
    pq: float | None = None
    ap: float | None = None
    miou: float | None = None
    note: str = ""
    file: str = ""
    url: str = ""
    digest: str = ""
    size_bytes: int = 0
    browser: str = ""
    embedded: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@cache
def published() -> dict[str, Entry]:
    """All entries by name, in the order of the file."""
    text = (files("panoptic_deeplab") / "hub" / "catalogue.json").read_text()
    plain = json.loads(text)
    sources = {key: Source(**fields) for key, fields in plain["sources"].items()}
    entries = [Entry(**(e | {"source": sources[e["source"]]})) for e in plain["weights"]]
    return {entry.name: entry for entry in entries}
