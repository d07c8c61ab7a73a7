"""The generated table of `docs/weights.md`: the catalogue of published weights."""

from panoptic_deeplab.family_docs import markdown_table, renew
from panoptic_deeplab.hub.catalogue import Entry, published


def renew_weights(page: str) -> str:
    """Put the catalogue into the page again; errors as of `family_docs.renew`."""
    return renew(page, {"catalogue": catalogue_table})


def catalogue_table() -> str:
    """Every entry, with links to where its facts stand."""
    rows = []
    for entry in published().values():
        name, backbone, data, *numbers, source, licence, how = cells(entry)
        page = entry.source.page.removeprefix("docs/")
        rows.append(
            [
                f"`{name}`",
                backbone,
                data,
                f"[{source}]({page})",
                licence,
                _link(entry, how),
                *numbers,
            ]
        )
    names = ("name", "backbone", "trained on", "source", "licence", "file", "PQ", "AP", "mIoU")
    return markdown_table(names, rows, texts=6)


def cells(entry: Entry) -> list[str]:
    """Name, backbone, data, PQ, AP, mIoU, source, licence and file of one entry, as text."""
    data = f"{entry.data} ({entry.note})" if entry.note else entry.data
    numbers = ["" if v is None else f"{v:.1f}" for v in (entry.pq, entry.ap, entry.miou)]
    how = "in the package" if entry.embedded else entry.file or "by browser"
    return [
        entry.name,
        entry.backbone,
        data,
        *numbers,
        entry.source.title,
        entry.source.licence,
        how,
    ]


def _link(entry: Entry, how: str) -> str:
    address = entry.url or entry.browser
    return f"[{how}]({address})" if address else how
