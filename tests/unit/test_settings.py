"""Settings from recipes, files and words, and the answers to slips."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from panoptic_deeplab.commands.predict import Predict
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.options import option_names, parse, plain_copy, value_of
from panoptic_deeplab.recipes import RECIPES
from panoptic_deeplab.settings import find_experiment, make_experiment


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_the_plain_copy_and_files(name: str, tmp_path: Path) -> None:
    experiment = find_experiment(name)
    assert make_experiment(asdict(plain_copy(experiment))) == experiment
    path = tmp_path / "experiment.json"
    path.write_text(experiment.model_dump_json())
    assert find_experiment(str(path)) == experiment


def test_yaml_needs_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schedule:\n  iterations: 7\n")
    experiment = find_experiment(str(path))
    assert experiment.schedule.iterations == 7
    assert experiment.model == Experiment().model


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (
            {"schedule": {"iteration": 7}},
            r"^x: Unknown setting 'schedule\.iteration'\. Did you mean 'schedule\.iterations'",
        ),
        ({"shedule": {}}, r"Unknown setting 'shedule'\. Did you mean 'schedule'"),
        (
            {"schedule": {"iterations": 0}},
            r"schedule\.iterations: input should be greater than 0, got 0\.$",
        ),
        ({"grouping": {"nms_kernel": 4}}, r"grouping: nms_kernel must be odd .* Use 5\.$"),
        ({"run": {"seed": "x"}}, r"run\.seed: input should be a valid integer.*, got 'x'"),
        (
            {"run": {"seed": "x", "pictures": -1, "threads": -1, "log_every": 0}},
            r"run\.seed.*run\.pictures.* And 1 more\.$",
        ),
    ],
)
def test_wrong_settings_are_named(plain: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_experiment(plain, source="x")


def test_files_that_hold_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with pytest.raises(FileNotFoundError, match=r"Expected a file with settings at .*a\.yaml"):
        find_experiment(str(path))
    for content, message in (
        ("- 1\n", "expected settings by name, .* got list"),
        ("", "got NoneType"),
        ("a: [", "expected YAML or JSON, reading it failed: while parsing"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            find_experiment(str(path))


def test_unknown_recipe() -> None:
    with pytest.raises(ValueError, match=r"Unknown recipe 'synthetik'\. Did you mean 'synthetic'"):
        find_experiment("synthetik")


def test_option_names() -> None:
    assert option_names(Predict) >= {"--out", "--weights", "--json", "--debug", "--help"}
    assert "--inputs" not in option_names(Predict)
    names = option_names(type(plain_copy(Experiment())))
    assert {"--name", "--schedule.iterations", "--augment.flip", "--augment.no-flip"} <= names
    assert "--schedule.no-iterations" not in names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--outt", "b"], r"Unknown option --outt\. Did you mean '--out'.* See x --help"),
        (["a", "--wieghts=b"], r"Unknown option --wieghts\. Did you mean '--weights'"),
        (["a", "--zzz"], r"Unknown option --zzz\. Known are: --debug, "),
    ],
)
def test_misspelt_options(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(Predict, words, program="x")


def test_option_of_a_group_without_its_group() -> None:
    with pytest.raises(ValueError, match=r"Did you mean --schedule\.iterations\?"):
        parse(type(plain_copy(Experiment())), ["--iterations", "3"], program="x")


def test_underscores_and_values_with_equals_signs() -> None:
    options = parse(Predict, ["a", "b", "--out=c"], program="x")
    assert options == Predict(inputs=("a", "b"), out=Path("c"))
    settings = plain_copy(Experiment())
    words = ["--schedule.batch_size", "3", "--augment.no-flip", "--data.size", "64", "96"]
    changed = make_experiment(asdict(parse(type(settings), words, program="x", default=settings)))
    assert changed.schedule.batch_size == 3
    assert not changed.augment.flip
    assert changed.data.size == (64, 96)


def test_value_of() -> None:
    assert value_of("--recipe", ["--out", "x", "--recipe", "a"]) == "a"
    assert value_of("--recipe", ["--recipe=b"]) == "b"
    assert value_of("--recipe", ["--recipe"]) is None
    assert value_of("--recipe", []) is None
