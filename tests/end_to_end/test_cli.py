"""The command line as a user meets it: results, errors in one sentence, exit codes, pure JSON."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab import predict
from panoptic_deeplab.cli import COMMANDS, main
from panoptic_deeplab.config import Experiment
from panoptic_deeplab.data.coco import decode_ids, open_coco_panoptic
from panoptic_deeplab.predict import Predictor


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn scenes as a data set on disk, written by the command."""
    folder = tmp_path_factory.mktemp("scenes")
    words = ["data", "synthetic", "--out", str(folder), "--images", "3", "--split", "val"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--size", "64", "96"])
    assert ended.value.code == 0
    return folder


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8))


# --- help, versions, slips ------------------------------------------------------------------


def test_help_names_every_command(run: Any) -> None:
    result = run("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert name in result.out
    assert run().code == 2
    group = run("data", "--help")
    assert group.code == 0
    assert "data synthetic" in group.out
    assert "evaluate" not in group.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(run: Any, command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.code == 0
    assert "--debug" in result.out


def test_version(run: Any) -> None:
    assert run("--version").out.startswith("panoptic-deeplab ")


def test_installed_command_and_module_start(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("panoptic-deeplab")
    for start in ([str(command)], [sys.executable, "-m", "panoptic_deeplab"]):
        done = subprocess.run(
            [*start, "evaluat"], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: Unknown command 'evaluat'. Did you mean 'evaluate'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "a.jpg", "--outt", "x"], "error: Unknown option --outt. Did you mean '--out'"),
        (["predict", "a.jpg"], "Missing from panoptic-deeplab predict"),
        (["train", "--recipe", "nuclie", "--out", "x"], "Unknown recipe 'nuclie'. Did you mean"),
        (["train", "--out", "x"], "error: train needs --recipe. Known are: "),
        (["train"], "error: train needs --recipe"),
        (
            ["train", "--recipe", "synthetic", "--out", "x", "--schedule.iterations", "0"],
            "error: schedule.iterations: input should be greater than 0, got 0.",
        ),
        (
            ["train", "--recipe", "synthetic", "--out", "x", "--schedule.iterations", "3x"],
            "Error parsing --schedule.iterations",
        ),
        (["data"], "error: Unknown command 'data'."),
        (
            ["data", "synthetic", "--out", "x", "--split", "tset"],
            "error: Drawn scenes have the splits 'train' and 'val', got 'tset'.",
        ),
        (
            ["evaluate", "--data", "synthetic", "--split", "tset"],
            "error: Drawn scenes have the splits 'train' and 'val', got 'tset'.",
        ),
        (["models", "--write", "gone/x.md"], "error: gone/x.md: No such file or directory."),
    ],
)
def test_slips(run: Any, words: list[str], message: str) -> None:
    result = run(*words)
    assert result.code == 2
    assert message in result.err
    assert result.out == ""
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(run: Any, tmp_path: Path, tiny_weights: Path) -> None:
    words = ("predict", tmp_path, "--out", tmp_path / "out", "--weights", tiny_weights)
    assert "Traceback" not in run(*words).err
    assert "Traceback" in run(*words, "--debug").err


def test_interrupted_quietly(
    run: Any, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    photo().save(tmp_path / "a.png")
    monkeypatch.setattr(Predictor, "predict", interrupt)
    result = run("predict", tmp_path, "--out", tmp_path / "out", "--weights", tiny_weights)
    assert result.code == 130
    assert result.err == "Interrupted.\n"
    assert not (tmp_path / "out" / "predictions.json").exists()


def test_a_full_disk_is_told_though_the_system_names_no_file(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens in the middle of a file that is written bit by bit, such as a log."""

    def fill(_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(COMMANDS, "models", (COMMANDS["models"][0], fill))
    result = run("models")
    assert result.code == 2
    assert result.err == (
        "error: No space left on device. Free some space, or choose another place, and go on "
        "from there.\n"
    )


# --- predict --------------------------------------------------------------------------------


def write_grey(path: Path) -> None:
    photo().convert("L").save(path.with_suffix(".png"))


def write_deep(path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (40, 56), np.uint16)
    Image.fromarray(values).save(path.with_suffix(".png"))


def write_cmyk(path: Path) -> None:
    photo().convert("CMYK").save(path.with_suffix(".jpg"))


def write_palette(path: Path) -> None:
    photo().convert("P").save(path.with_suffix(".png"))


def write_transparent(path: Path) -> None:
    image = photo().convert("RGBA")
    image.putalpha(100)
    image.save(path.with_suffix(".png"))


def write_turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: 40 x 56 pixels are seen as 56 x 40
    photo().save(path.with_suffix(".jpg"), exif=exif)


@pytest.mark.parametrize(
    "write", [write_grey, write_deep, write_cmyk, write_palette, write_transparent, write_turned]
)
def test_predict_any_kind_of_image(
    run: Any, tmp_path: Path, tiny_weights: Path, write: Any
) -> None:
    write(tmp_path / "image")
    out = tmp_path / "out"
    result = run("predict", tmp_path, "--out", out, "--weights", tiny_weights)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"1 of 1 images done, results in {out}\n"
    ids = decode_ids((out / "predictions" / "image.png").read_bytes(), name="image")
    assert ids.shape == ((56, 40) if write is write_turned else (40, 56))
    assert max(Image.open(out / "overlays" / "image.jpg").size) >= 700


def test_predict_goes_on_after_files_that_cannot_be_read(
    run: Any, tmp_path: Path, tiny_weights: Path
) -> None:
    for name in ("a.png", "cut.png", "z.png"):
        photo().save(tmp_path / name)
    cut = tmp_path / "cut.png"
    cut.write_bytes(cut.read_bytes()[:1000])
    out = tmp_path / "out"
    words = ("--out", out, "--weights", tiny_weights)
    result = run("predict", tmp_path, tmp_path / "gone.png", *words)
    assert result.code == 2
    assert "cut.png: expected a whole picture, got one that is cut short" in result.err
    assert "gone.png: expected a picture, found no such file" in result.err
    assert result.err.count("not done:") == 2
    assert result.out == f"2 of 4 images done, results in {out}\n"
    listed = json.loads((out / "predictions.json").read_text())
    assert [a["file_name"] for a in listed["annotations"]] == ["a.png", "z.png"]
    again = run("predict", tmp_path / "z.png", *words)
    assert again.code == 0
    assert "predictions holds 1 PNGs from before, such as a.png" in again.err
    nothing = run("predict", tmp_path / "gone.png", *words)
    assert (nothing.code, nothing.out) == (2, "0 of 1 images done\n")


def test_predict_prints_pure_json(run: Any, tmp_path: Path, tiny_weights: Path) -> None:
    photo().save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    words = ("--out", tmp_path / "out", "--weights", tiny_weights, "--json")
    result = run("predict", tmp_path, *words)
    assert result.code == 2
    (image,) = result.json["images"]
    assert image["segments"]
    assert set(image["segments"][0]) == {"id", "class", "area_px", "score"}
    (failed,) = result.json["failed"]
    assert failed["image"].endswith("bad.png")


def test_predict_what_is_not_there(run: Any, tmp_path: Path, tiny_weights: Path) -> None:
    photo().save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "out")
    for words, message in (
        ((tmp_path / "empty", *out, "--weights", tiny_weights), "the folder has none"),
        ((tmp_path / "*.gif", *out, "--weights", tiny_weights), "No file fits the pattern"),
        ((tmp_path, *out, "--weights", tmp_path / "w.safetensors"), "Expected a weights file at"),
        ((tmp_path, *out, "--weights", tmp_path / "a.png"), "and no safetensors file"),
        ((tmp_path, *out, "--weights", "nonesuch"), "No weights named 'nonesuch'"),
        ((*out, "--weights", tiny_weights), "Expected at least one image file"),
    ):
        result = run("predict", *words)
        assert result.code == 2
        assert message in result.err
        assert result.err.count("\n") == 1, "one sentence, one line"
        assert not (tmp_path / "out").exists()


def test_predict_into_a_file(run: Any, tmp_path: Path, tiny_weights: Path) -> None:
    photo().save(tmp_path / "a.png")
    out = tmp_path / "a.png"
    result = run("predict", tmp_path, "--out", out, "--weights", tiny_weights)
    assert result.code == 2
    assert result.err.startswith(f"error: Expected a folder for results at {out}, it cannot be")
    assert Image.open(out).size == (56, 40)


# --- evaluate -------------------------------------------------------------------------------


def test_evaluate_a_written_set(run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path) -> None:
    words = ("evaluate", "--data", scenes, "--weights", tiny_weights)
    result = run(*words)
    assert (result.code, result.err) == (0, taken_for(scenes))
    for word in ("3 images", "mIoU", "AP50", "traffic sign"):
        assert word in result.out
    report = run(*words, "--json", "--save", tmp_path / "kept").json
    assert report["num_images"] == 3
    assert (
        json.loads((tmp_path / "kept" / "report.json").read_text())["panoptic"]
        == (report["panoptic"])
    )
    kept = json.loads((tmp_path / "kept" / "predictions.json").read_text())
    assert len(kept["annotations"]) == 3
    drawn = run("evaluate", "--data", "synthetic", "--limit", 1, "--weights", tiny_weights)
    assert "1 images" in drawn.out


def test_evaluate_by_kind(run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path) -> None:
    copy = copy_of(scenes, tmp_path)
    change(copy, lambda plain: [i.update(light="ab"[n % 2]) for n, i in enumerate(plain["images"])])
    words = ("evaluate", "--data", copy, "--weights", tiny_weights, "--json", "--by")
    parts = run(*words, "light").json["by_kind"]
    assert {kind: part["num_images"] for kind, part in parts.items()} == {"a": 2, "b": 1}
    wrong = run(*words, "lihgt")
    assert wrong.code == 2
    assert "no field 'lihgt'. Did you mean 'light'" in wrong.err
    drawn = run("evaluate", "--data", "synthetic", "--weights", tiny_weights, "--by", "light")
    assert "--by needs a data set from files" in drawn.err


def test_evaluate_a_set_that_contradicts_itself(
    run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    def add_segment(plain: Any) -> None:
        segment = dict(plain["annotations"][1]["segments_info"][0], id=99999)
        plain["annotations"][1]["segments_info"].append(segment)

    def name_unknown_class(plain: Any) -> None:
        plain["annotations"][0]["segments_info"][0]["category_id"] = 77

    for number, (damage, message) in enumerate(
        (
            (add_segment, "expected pixels of segment 99999"),
            (name_unknown_class, "Unknown class id 77"),
            (
                lambda plain: plain.pop("categories"),
                "expected a list of objects under 'categories'",
            ),
            (lambda plain: plain["categories"].pop(), "Unknown class id 11|The weights know 11"),
        )
    ):
        copy = copy_of(scenes, tmp_path / str(number))
        change(copy, damage)
        result = run("evaluate", "--data", copy, "--weights", tiny_weights)
        assert result.code == 2
        assert any(m in result.err for m in message.split("|"))
        said = result.err.removeprefix(taken_for(copy))
        assert said.startswith("error: ")
        assert said.count("\n") == 1


def test_evaluate_what_is_not_there(
    run: Any, scenes: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    for words, message in (
        (("--data", tmp_path / "gone"), "expected a folder or a tar, found nothing"),
        (("--data", tmp_path), "expected a data set of a known format"),
        (("--data", scenes, "--split", "test"), "expected annotations/panoptic_test.json"),
    ):
        result = run("evaluate", *words, "--weights", tiny_weights)
        assert result.code == 2
        assert message in result.err


# --- demo, data, train ----------------------------------------------------------------------


def test_demo(
    run: Any, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "load", lambda _, given=predict.load: given(tiny_weights))
    result = run("demo", "--out", tmp_path / "demo", "--images", 2)
    assert (result.code, result.err) == (0, "")
    names = ["scene_1.png", "scene_2.png", "contact_sheet.jpg", "report.json"]
    assert result.out.split("written:")[1].split() == [str(tmp_path / "demo" / n) for n in names]
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == sorted(names)
    assert run("demo", "--out", tmp_path / "demo", "--images", 1, "--json").json["num_images"] == 1
    wrong = run("demo", "--out", tmp_path / "demo", "--images", 0)
    assert wrong.code == 2
    assert wrong.err == "error: val_images: input should be greater than 0, got 0.\n"


def test_data_synthetic_writes_what_it_draws(scenes: Path) -> None:
    dataset = open_coco_panoptic(scenes, "val")
    assert len(dataset) == 3
    assert dataset[0].image.shape == (64, 96, 3)


def test_train_passes_recipe_data_and_options(
    run: Any, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panoptic_deeplab import train

    given: dict[str, Any] = {}

    def pretend(experiment: Experiment, out: Path, **rest: Any) -> Path:
        given.update(experiment=experiment, out=out, **rest)
        return out / "model.safetensors"

    monkeypatch.setattr(train, "train", pretend)
    out = tmp_path / "run"
    words = ("--data", scenes, "--out", out, "--resume", "--schedule.iterations", 7)
    result = run("train", "--recipe", "nuclei", *words)
    assert (result.code, result.err) == (0, taken_for(scenes))
    assert result.out == f"{out / 'model.safetensors'}\n"
    experiment = given["experiment"]
    assert experiment.name == "nuclei"
    assert experiment.schedule.iterations == 7
    assert experiment.data.root == str(scenes)
    assert given["resume"] is True
    file = tmp_path / "experiment.json"
    file.write_text(experiment.model_dump_json())
    run("train", "--recipe", file, "--out", out, "--data", "synthetic")
    assert given["experiment"].schedule.iterations == 7
    assert given["experiment"].data.format == "synthetic"


# --- helpers --------------------------------------------------------------------------------


def taken_for(root: Path) -> str:
    """What a command says on stderr about a folder that `data synthetic` wrote."""
    return f"{root}: taken for COCO panoptic (found annotations/panoptic_val.json).\n"


def copy_of(scenes: Path, folder: Path) -> Path:
    """A data set whose list may be changed; pictures stay where they are."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").symlink_to(scenes / "val")
    (folder / "annotations" / "panoptic_val").symlink_to(scenes / "annotations" / "panoptic_val")
    listed = scenes / "annotations" / "panoptic_val.json"
    (folder / "annotations" / "panoptic_val.json").write_bytes(listed.read_bytes())
    return folder


def change(folder: Path, how: Any) -> None:
    path = folder / "annotations" / "panoptic_val.json"
    plain = json.loads(path.read_text())
    how(plain)
    path.write_text(json.dumps(plain))
