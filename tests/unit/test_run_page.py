import json
from pathlib import Path
from typing import Any

import pytest

from panoptic_deeplab.run_page import concerns, run_page


def step(number: int, waiting: float = 0.01, norm: float | None = 1.0) -> dict[str, Any]:
    terms = {"total": 9.0 / number, "semantic": 1.0, "center": 2.0, "offset": 0.1}
    return {
        "kind": "train",
        "step": number,
        "loss": terms,
        "waiting_for_data": waiting,
        "gradient_norm": norm,
    }


def validation(number: int, *, things: float = 0.4, car: tuple[int, int, int]) -> dict[str, Any]:
    quality = {"pq": 0.5, "sq": 0.7, "rq": 0.7}
    tp, fp, fn = car
    return {
        "kind": "validation",
        "step": number,
        "num_images": 5,
        "panoptic": {
            "all": quality,
            "things": quality | {"pq": things},
            "stuff": quality,
            "per_class": {
                "car": quality | {"tp": tp, "fp": fp, "fn": fn},
                "<road>": quality | {"tp": 5, "fp": 0, "fn": 0},
            },
        },
        "instance": {"ap": 0.2},
        "semantic": {"mean": 0.6},
    }


def test_a_good_run_gives_no_concern() -> None:
    assert concerns([step(1), step(2)], [validation(2, car=(3, 1, 1))]) == []
    assert concerns([step(1)], []) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (([step(1, 0.2)], []), "20% of the time was spent waiting"),
        (([step(1)], [validation(1, car=(0, 0, 4))]), "Never predicted at step 1: car."),
        (([step(1)], [validation(1, things=0.0, car=(0, 9, 4))]), "center head may be dead"),
        (([step(1), step(2, norm=None)], []), "not finite at 1 logged steps, first at step 2"),
    ],
)
def test_concerns(lines: Any, words: str) -> None:
    (found,) = concerns(*lines)
    assert words in found


def make_run(folder: Path) -> Path:
    (folder / "pictures").mkdir(parents=True)
    for number in (1, 2):
        name = f"step_{number:07d}_image_0.jpg"
        (folder / "pictures" / name).write_bytes(b"\xff\xd8\xff" + bytes([number]))
    (folder / "experiment.json").write_text('{"name": "mine", "schedule": {"iterations": 7}}')
    lines = [step(1, 0.5), validation(1, car=(1, 0, 1)), step(2), validation(2, car=(0, 0, 2))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"kind": "tr')  # killed while writing
    return folder


def test_the_page(tmp_path: Path) -> None:
    page = run_page(make_run(tmp_path / "my run")).decode()
    for words in (
        "mine, 2 of 7 steps",
        "Never predicted at step 2: car",
        "&lt;road&gt;",
        "schedule.iterations",
        "step 2",
        "data:image/png;base64,",
        "data:image/jpeg;base64,",
    ):
        assert words in page
    assert "://" not in page, "nothing is fetched"


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected the folder of a run.*got"):
        run_page(tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match="has not logged a step yet"):
        run_page(tmp_path)
