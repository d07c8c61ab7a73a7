"""`panoptic-deeplab bench` as a user meets it, on tiny images."""

import json
from functools import partial
from typing import Any

import pytest

from panoptic_deeplab.bench import BENCHES

SCENE = ("--size", 64, 128, "--things", 4, "--rounds", 1)
IMAGE = ("--size", 65, 97, "--rounds", 1, "--backbone", "mobilenet_v3_small")

SMALL: dict[str, tuple[tuple[object, ...], set[str]]] = {
    "postprocess": (
        (*SCENE, "--backends", "numba", "tensor", "plain", "--public-form"),
        {"numba", "numba, scores", "tensor", "plain", "arg-max alone", "centers x pixels"},
    ),
    "targets": (SCENE, {"numba", "plain", "reference"}),
    "metrics": (SCENE, {"panoptic quality", "all metrics", "reference"}),
    "network": ((*IMAGE, "--bfloat16"), {"float32", "bfloat16", "reference"}),
    "device": (
        (*SCENE, "--backbone", "mobilenet_v3_small", "--device", "cpu"),
        {"grouping", "grouping, scores", "reference", "network, bfloat16, optimized"},
    ),
    "decoders": (IMAGE, {"panoptic_deeplab", "deeplabv3plus"}),
    "depthwise": (("--batch", 1, "--rounds", 1), {"5x5, dilation 2, 576 x 17 x 17"}),
}
"""Words of a tiny run of each bench, and rows it must have."""


@pytest.fixture
def run(run: Any) -> Any:
    """Run a bench with these words."""
    return partial(run, "bench")


def test_every_bench_has_a_small_form() -> None:
    others = {"data", "evaluation", "train"}  # with figures of their own: test_bench.py, and below
    assert {*SMALL, *others} == set(BENCHES)


@pytest.mark.parametrize("name", SMALL)
def test_the_result_for_programs(run: Any, name: str) -> None:
    words, rows = SMALL[name]
    code, out, _ = run(name, *words, "--json")
    assert code == 0
    plain = json.loads(out)
    assert plain["bench"] == name
    for figure in ("milliseconds", "speedup", "peak_mb", "floor_milliseconds"):
        assert isinstance(plain[figure], float), figure
    assert plain["milliseconds"] > 0
    assert plain["floor_milliseconds"] > 0
    assert rows <= {row["name"] for row in plain["results"]}


def test_the_table_for_people(run: Any) -> None:
    code, out, _ = run("metrics", *SCENE)
    assert code == 0
    for words in ("metrics of one image, 64x128", "speedup", "peak MB", "floor ms", "reference"):
        assert words in out


def test_an_evaluation_from_files(run: Any) -> None:
    words = ("--size", 64, 128, "--things", 4, "--images", 3, "--workers", 1, 2)
    code, out, _ = run("evaluation", *words, "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["results"]}
    assert set(rows) == {"1 process", "2 processes", "reference"}
    assert 0 < rows["reference"]["pq"] < 1  # all three were held to the same PQ


def test_training_steps_from_files(run: Any) -> None:
    words = ("--backbones", "mobilenet_v3_small", "--crop", 65, 97, "--batch", 2)
    code, out, _ = run("train", *words, "--steps", 1, "--rounds", 1, "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["results"]}
    ours, plain = rows["mobilenet_v3_small, float32"], rows["mobilenet_v3_small, reference"]
    assert ours["first_loss"] == pytest.approx(plain["first_loss"], rel=1e-3)
    assert plain["speedup"] == 1
    assert 0 <= ours["waiting_for_data"] < 1


def test_quick_keeps_what_was_chosen(run: Any) -> None:
    code, out, _ = run("metrics", "--quick", "--things", 3, "--json")
    plain = json.loads(out)
    assert code == 0
    assert (plain["size"], plain["things"], plain["rounds"]) == ([256, 512], 3, 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("postprocess", "--size", 62, 128), "Sides must be multiples of 4, got (62, 128)."),
        (("targets", "--size", 8, 128), "Each side must be at least 32 pixels, got (8, 128)."),
        (("metrics", "--classes", 3), "classes must be 4 to 255, got 3. Cityscapes has 19."),
        (("metrics", "--things", 0), "things must be at least 1, got 0."),
        (("metrics", *SCENE, "--rounds", 0), "rounds must be at least 1, got 0."),
        (("evaluation", "--images", 0), "images and workers must be at least 1, got 0"),
        (("network", "--classes", 0), "classes must be at least 1, got 0."),
        (("network", "--backbone", "resnet51"), "resnet50"),
        (("network", "--size", 8, 97, "--backbone", "mobilenet_v3_small"), "at least 33 pixels"),
        (("depthwise", "--batch", 0), "batch must be at least 1, got 0."),
        (("depthwise", "--size", 8, 8), "Unknown option --size."),
    ],
)
def test_what_cannot_be_measured_is_refused(run: Any, words: Any, sentence: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert sentence in err


def test_an_unknown_name_says_which_there_are(run: Any) -> None:
    code, _, err = run("heads")
    assert code == 2
    known = ", ".join(f"bench {name}" for name in BENCHES)
    assert f"Unknown command 'bench heads'. Known are: {known}." in err


def test_a_device_that_is_not_there(run: Any) -> None:
    code, out, err = run("device", *SCENE, "--device", "cuda:99")
    assert (code, out) == (2, "")
    assert "torch finds no device 'cuda:99' on this machine. Use cpu" in err
