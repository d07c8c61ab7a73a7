import json

from PIL import Image

from panoptic_deeplab.curves import draw_curves, read_log


def line(step, kind, **more):
    return json.dumps({"kind": kind, "step": step, **more}) + "\n"


def test_a_run_without_things_and_with_a_cut_last_line_is_drawn(tmp_path):
    loss = {"total": 3.0, "semantic": 1.0, "center": 1.0, "offset": 1.0}
    quality = {"all": {"pq": 0.5}, "things": {"pq": None}}
    log = tmp_path / "log.jsonl"
    log.write_text(
        line(1, "train", loss=loss)
        + line(1, "validation", panoptic=quality, instance={"ap": None}, semantic={"mean": 0.25})
        + '{"kind": "tr'
    )
    assert [entry["kind"] for entry in read_log(log)] == ["train", "validation"]
    draw_curves(log, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").width > 800
