"""What the documents promise is there: files, commands, links."""

import re
from pathlib import Path

import pytest

import panoptic_deeplab
from panoptic_deeplab.cli import COMMANDS

ROOT = Path(__file__).parent.parent
SOURCE = Path(panoptic_deeplab.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FILES = sorted(str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py"))


def test_the_map_names_every_file():
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    missing = [name for name in FILES if not name.startswith("__") and f"`{name}`" not in page]
    assert not missing, "add these files to the table in docs/how-it-works.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    lost = [k for k in links if "://" not in k and not (page.parent / k).exists()]
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(page):
    lines = re.findall(r"^\s*panoptic-deeplab ([a-z].*)$", page.read_text(), re.MULTILINE)
    unknown = [k for k in lines if not any(f"{k} ".startswith(f"{name} ") for name in COMMANDS)]
    assert not unknown


def test_the_readme_has_the_two_commands():
    page, rules = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", page, re.MULTILINE):
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target
    assert {"make demo", "make test"} <= set(re.findall(r"^make [a-z]+", page, re.MULTILINE))
