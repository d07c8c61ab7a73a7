"""The generated tables of `docs/models.md`.

In: the page. Out: the page with what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`
replaced by the table of that name, counted anew.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from panoptic_deeplab.backbones import BACKBONES, build_backbone
from panoptic_deeplab.backbones.classifier import ImageClassifier
from panoptic_deeplab.counting import count_parameters
from panoptic_deeplab.family import FAMILY
from panoptic_deeplab.family_report import Counted, cells_of, count_entry
from panoptic_deeplab.meta import QuickMeta

HEAD_WIDTHS = (18, 32, 40, 44, 48, 64)
"""C of HRNet's finest branch, of networks published with ImageNet weights; 48 is the one used."""

_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def renew(page: str, tables: Mapping[str, Callable[[], str]] | None = None) -> str:
    """Count everything again and put it into the page.

    Args:
        page: Markdown.
        tables: what makes the table of each place; None: `TABLES`.

    Raises:
        ValueError: if a table has no place in the page, or a place no table.
    """
    tables = TABLES if tables is None else tables
    places = [match[1] for match in _BLOCK.findall(page)]
    if sorted(places) != sorted(tables):
        raise ValueError(
            f"The page must have one place for each of {', '.join(tables)}, got "
            f"{', '.join(places) or 'none'}. Mark it by <!-- begin NAME --> and <!-- end NAME -->."
        )
    return _BLOCK.sub(lambda match: f"{match[1]}{tables[match[2]]()}\n{match[3]}", page)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A table whose first columns hold text and whose others hold numbers."""
    rules = ["---"] * texts + ["--:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *rows))


def family() -> str:
    """Every entry of `FAMILY`."""
    return family_markdown(count_entry(entry) for entry in FAMILY)


def family_markdown(counted: Iterable[Counted]) -> str:
    """Ours, and the published value next to it."""
    header = (
        "network|image|classes|parameters|published (M)|multiply-adds|profiler (G)|published (G)|"
        "PQ|AP|mIoU|agreement|source"
    )
    rows = []
    for one in counted:
        name, *cells = cells_of(one)
        rows.append([f"`{name}`", *cells, one.entry.status, one.entry.published.reference])
    return markdown_table(header.split("|"), rows)


def head() -> str:
    """HRNet's classification head as a share of all parameters, for several widths."""
    rows = []
    for width in HEAD_WIDTHS:
        channels = tuple(width * 2**i for i in range(4))
        with torch.device("meta"), QuickMeta():
            backbone = build_backbone(
                "hrnet_w48_plus", output_stride=32, options={"channels": channels}
            )
            everything = count_parameters(ImageClassifier(backbone, 1000))
        kept = count_parameters(backbone.get_submodule("head"))
        branches = count_parameters(backbone) - kept
        whole = everything - branches
        shares = [whole / everything, whole / branches]
        shares += [kept / (branches + kept), kept / branches]
        rows.append(
            [
                f"W{width}",
                *(f"{n:,}" for n in (everything, branches, whole, kept)),
                *(f"{100 * share:.1f}" for share in shares),
            ]
        )
    header = (
        "width|all|branches|head|head without last layer|head, % of all|head, % of branches|"
        "without last layer, % of all|without last layer, % of branches"
    )
    return markdown_table(header.split("|"), rows)


def backbones() -> str:
    """Every backbone there is, in its default form."""
    rows = []
    for name, builder in BACKBONES.items():
        with torch.device("meta"), QuickMeta():
            backbone = builder()
        features = zip(backbone.channels, backbone.strides, strict=True)
        described = ", ".join(f"{channels} at {stride}" for channels, stride in features)
        rows.append([f"`{name}`", described, f"{count_parameters(backbone):,}"])
    return markdown_table(("backbone", "features: channels at stride", "parameters"), rows, texts=2)


TABLES: dict[str, Callable[[], str]] = {"family": family, "head": head, "backbones": backbones}
