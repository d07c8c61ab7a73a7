"""`panoptic-deeplab models` as a user meets it."""

import json
from pathlib import Path
from typing import Any

import pytest

from panoptic_deeplab import family, family_docs, family_report
from panoptic_deeplab.family import FAMILY


@pytest.fixture
def small_family(monkeypatch: pytest.MonkeyPatch):
    """Only the light networks; all of them are counted elsewhere."""
    chosen = tuple(e for e in FAMILY if "mobilenet" in e.name or e.name.startswith("ablation_ins"))
    for module in (family, family_report, family_docs):
        monkeypatch.setattr(module, "FAMILY", chosen)
    return chosen


def test_the_list_for_programs(run: Any, small_family: Any) -> None:
    code, out, _ = run("models", "--json")
    assert code == 0
    plain = json.loads(out)
    assert [(p["name"], p["input"], p["classes"]) for p in plain] == [
        (e.name, list(e.setting.size), e.setting.num_classes) for e in small_family
    ]
    reduced = next(p for p in plain if "mobilenet" in p["name"])
    assert (reduced["params"], reduced["multiply_adds"]) == (3_641_302, 53_732_528_424)
    assert reduced["multiply_adds_profiler"] == pytest.approx(54.24, abs=0.05)
    assert reduced["published"]["multiply_adds_G"] == 54.17


def test_the_list_for_people(run: Any, small_family: Any) -> None:
    code, out, _ = run("models")
    assert code == 0
    for word in ("3,641,302", "53,732,528,424", "54.17", "2177x2177", "54.1"):
        assert word in out
    assert out.count("panoptic_deeplab_mobilenetv3_large") == 1


def test_one_network_by_its_parts(run: Any) -> None:
    code, out, _ = run("models", "panoptic_deeplab_mobilenetv3_large")
    assert code == 0
    for word in ("backbone.stem", "semantic_decoder.aspp", "center_head", "7,393", "3,641,302"):
        assert word in out
    assert "confirmed by count (paper, runtime table" in out


def test_one_network_for_programs(run: Any) -> None:
    code, out, _ = run("models", "panoptic_deeplab_mobilenetv3_large", "--json")
    plain = json.loads(out)
    assert code == 0
    assert [p["input"] for p in plain] == [[1025, 2049], [2177, 2177]]
    for network in plain:
        for count in ("params", "multiply_adds"):
            assert sum(part[count] for part in network["parts"]) == network[count]


def test_an_unknown_network_ends_in_one_sentence(run: Any) -> None:
    code, out, err = run("models", "panoptic_deeplab_xception17")
    assert (code, out) == (2, "")
    assert "Did you mean" in err
    assert "panoptic_deeplab_xception71" in err
    assert "Traceback" not in err


def test_tables_of_a_page_are_renewed(run: Any, small_family: Any, tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    names = ("family", "head", "backbones")
    page.write_text("".join(f"<!-- begin {n} -->\n<!-- end {n} -->\n" for n in names))
    code, out, _ = run("models", "--write", page)
    assert code == 0
    assert str(page) in out
    assert "| `panoptic_deeplab_mobilenetv3_large` | 1025x2049 | 19 |" in page.read_text()
    page.write_text("no place here")
    assert run("models", "--write", page)[0] == 2
    assert page.read_text() == "no place here"
