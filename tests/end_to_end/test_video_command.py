import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from panoptic_deeplab.data.images import read_image
from panoptic_deeplab.predict import load

FRAMES = 5


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (64, 120, 3), np.uint8)
    for i in range(FRAMES):
        Image.fromarray(scene[:, 2 * i : 2 * i + 96]).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def clip(frames: Path, tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for image in sorted(frames.iterdir()):
        writer.write(cv2.imread(str(image)))
    writer.release()
    return path


def test_a_folder_to_a_folder(run: Any, frames: Path, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("video", frames, "--out", out, "--weights", tiny_weights, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.json["frames"] == FRAMES
    listed = json.loads((out / "predictions.json").read_text())
    assert [image["file_name"] for image in listed["images"]] == [
        f"{i:06d}.png" for i in range(FRAMES)
    ]
    # The same segments as one by one, whatever they are called.
    predictor = load(tiny_weights)
    for i, annotation in enumerate(listed["annotations"]):
        alone = predictor.predict(read_image(frames / f"{i:03d}.png"))
        assert sorted(s["area"] for s in annotation["segments_info"]) == sorted(
            s.area_px for s in alone.segments
        )
    assert len(list((out / "overlays").iterdir())) == FRAMES


def test_a_video_to_a_video(run: Any, clip: Path, tiny_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen.mp4"
    result = run("video", clip, "--out", out, "--weights", tiny_weights, "--frames", 3)
    assert result.code == 0, result.err
    assert "frames per second" in result.out
    capture = cv2.VideoCapture(str(out))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == 3
    assert [p.name for p in tmp_path.glob("*.mp4")] == ["seen.mp4"]


def test_a_video_cut_short(run: Any, clip: Path, tiny_weights: Path, tmp_path: Path) -> None:
    raw = clip.read_bytes()
    for share, code in ((0.6, 0), (0.01, 2)):
        clip.write_bytes(raw[: int(share * len(raw))])
        out = tmp_path / f"out{code}.avi"
        result = run("video", clip, "--out", out, "--weights", tiny_weights)
        assert result.code == code
        assert out.exists() == (code == 0)
        assert not list(tmp_path.glob(".*part*"))


def test_slips(run: Any, clip: Path, tiny_weights: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    (tmp_path / "empty").mkdir()
    for source, out, message in (
        (text, "a.mp4", "expected a video, OpenCV finds none in it"),
        (tmp_path / "gone.mp4", "a.mp4", "Expected a video or a folder of frames"),
        (tmp_path / "empty", "a.mp4", "the folder has none"),
        ("camera:x", "a.mp4", "A camera is named camera:0"),
        ("camera:97", "a.mp4", "There is no camera 97"),
        (clip, "a.txt", "A result is a folder, or a video that ends in .mp4 or .avi"),
    ):
        result = run("video", source, "--out", tmp_path / out, "--weights", tiny_weights)
        assert result.code == 2, source
        assert message in result.err
        assert not (tmp_path / out).exists()
