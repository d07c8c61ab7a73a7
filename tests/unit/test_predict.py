"""From images of any kind and size to predictions, and what they save."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from panoptic_deeplab import hub, predict
from panoptic_deeplab.config import GroupingConfig, InferenceConfig
from panoptic_deeplab.data.coco import decode_ids
from panoptic_deeplab.data.synthetic import LABELS
from panoptic_deeplab.hub import embedded_weights
from panoptic_deeplab.inputs import to_rgb
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.looks import pad
from panoptic_deeplab.model import PanopticDeepLab
from panoptic_deeplab.predict import Predictor, load

RGB = np.random.default_rng(3).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (33, 33), (64, 96), (65, 97), (50, 71)])
def test_prediction_has_the_size_of_its_image(
    tiny_predictor: Predictor, size: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    prediction = tiny_predictor.predict(image)
    assert prediction.segment_map.shape == size
    assert (prediction.image == image).all()
    prediction.panoptic.check()


def test_every_way_of_passing_an_image_gives_the_same(
    tiny_predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)
    expected = tiny_predictor.predict(RGB)
    assert expected.segments
    for image in (path, str(path), Image.fromarray(RGB)):
        prediction = tiny_predictor.predict(image)
        assert (prediction.segment_map == expected.segment_map).all()
        assert prediction.segments == expected.segments


@pytest.mark.parametrize(
    ("size", "stride", "align_corners", "expected"),
    [
        ((65, 97), 32, True, (65, 97)),
        ((64, 98), 32, True, (65, 129)),
        ((1, 33), 16, True, (33, 33)),
        ((64, 98), 32, False, (64, 128)),
        ((20, 20), 16, False, (48, 48)),  # 33 is the least, 48 the next multiple
    ],
)
def test_pad(
    size: tuple[int, int], stride: int, align_corners: bool, expected: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    padded = pad(image, stride, align_corners=align_corners)
    assert padded.shape == (*expected, 3)
    assert (padded[: size[0], : size[1]] == image).all()
    assert (padded[size[0] - 1 :, : size[1]] == image[-1]).all()


def test_scale_keeps_the_size_of_the_result(tiny_model: PanopticDeepLab) -> None:
    for scale in (0.5, 2.0, 1.37):
        predictor = Predictor(tiny_model, LABELS, GroupingConfig(), InferenceConfig(scale=scale))
        assert predictor.predict(RGB).segment_map.shape == (40, 56)


def test_grey_and_deep_arrays_are_seen_as_in_files() -> None:
    grey = RGB[..., 0]
    assert (to_rgb(grey) == grey[..., None]).all()
    assert (to_rgb(RGB.astype(np.uint16) * 257) == RGB).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pillow_modes(mode: str) -> None:
    image = Image.fromarray(RGB)
    if mode == "LAB":
        image = Image.new("LAB", image.size)
    elif mode in ("I", "LA"):
        image = image.convert("L").convert(mode)
    else:
        image = image.convert(mode)
    seen = to_rgb(image)
    assert seen.shape == RGB.shape
    if mode in ("RGBA", "CMYK", "YCbCr", "HSV"):
        assert np.abs(seen.astype(int) - RGB).mean() < 3


def test_pillow_image_of_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="image: expected whole numbers of 8 or 16 bits"):
        to_rgb(Image.fromarray(RGB[..., 0].astype(np.float32)))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_pillow_image_is_turned_as_its_file(mode: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.jpg", exif=exif)
    from_file = to_rgb(tmp_path / "a.jpg")
    assert from_file.shape == (56, 40, 3)
    assert (to_rgb(Image.open(tmp_path / "a.jpg")) == from_file).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RGB / 255, r"must be uint8 \(0\.\.255\) or uint16, got float64"),
        (RGB.astype(np.int64), r"got int64"),
        (RGB > 128, r"got bool"),
        (RGB.transpose(2, 0, 1), r"got \(3, 40, 56\).*transpose"),
        (np.zeros((9, 9, 4), np.uint8), r"got \(9, 9, 4\).*alpha"),
        (np.zeros((0, 9, 3), np.uint8), r"not empty, got \(0, 9, 3\)"),
        (np.zeros(9, np.uint8), r"got \(9,\)"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_rgb(array)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"got Tensor\. Of a tensor \(3, H, W\) pass"):
        to_rgb(torch.zeros(3, 9, 9))  # type: ignore[arg-type]


def test_predictor_is_in_evaluation_mode_and_leaves_no_gradients(
    tiny_model: PanopticDeepLab,
) -> None:
    tiny_model.train()
    predictor = Predictor(tiny_model, LABELS, GroupingConfig())
    assert not tiny_model.training
    outputs = predictor(torch.zeros(1, 3, 33, 33, dtype=torch.uint8))
    assert not any(head.requires_grad for head in outputs)


def test_other_number_of_classes_is_refused(
    tiny_model: PanopticDeepLab, toy_labels: LabelSpace
) -> None:
    with pytest.raises(ValueError, match=r"has 11 classes, label space 'toy' has 3"):
        Predictor(tiny_model, toy_labels, GroupingConfig())


def test_load_gives_the_same_predictor(tiny_predictor: Predictor, tiny_weights: Path) -> None:
    loaded = load(tiny_weights)
    assert loaded.labels == LABELS
    assert loaded.grouping == tiny_predictor.grouping
    assert loaded.predict(RGB).segments == tiny_predictor.predict(RGB).segments


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"No weights named 'nucleus'.*Did you mean 'nuclei'"
    ):
        load("nucleus")
    with pytest.raises(FileNotFoundError, match=r"Expected a weights file at .*gone\.safetensors"):
        load(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match=r"is a folder\. It holds no \.safetensors file"):
        load(tmp_path)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "state.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"is a folder\. Pass \S+model\.safetensors\.$"):
        load(tmp_path)
    monkeypatch.setattr(hub, "embedded_weights", tuple)
    with pytest.raises(FileNotFoundError, match=r"'default': this installation has none"):
        load()


@pytest.mark.parametrize("name", embedded_weights())
def test_embedded_weights_work(name: str) -> None:
    assert load(name).predict(RGB).segment_map.shape == (40, 56)


def test_saved_files_say_what_was_predicted(tiny_predictor: Predictor, tmp_path: Path) -> None:
    prediction = tiny_predictor.predict(RGB)
    out = tmp_path / "new" / "folder"
    prediction.save(out, "a.b")
    assert sorted(p.name for p in out.iterdir()) == ["a.b.json", "a.b.png", "a.b_overlay.png"]
    ids = decode_ids((out / "a.b.png").read_bytes(), name="a.b")
    assert (ids == prediction.segment_map).all()
    listed = json.loads((out / "a.b.json").read_text())
    (annotation,) = listed["annotations"]
    assert annotation["file_name"] == "a.b.png"
    assert [s["id"] for s in annotation["segments_info"]] == [s.id for s in prediction.segments]
    assert Image.open(out / "a.b_overlay.png").size == (13 * 56, 13 * 40)


def test_save_leaves_nothing_when_it_fails(
    tiny_predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = tiny_predictor.predict(RGB)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        prediction.save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stem", ["", "a/b", "../a", "."])
def test_save_refuses_a_stem_that_is_a_path(
    tiny_predictor: Predictor, tmp_path: Path, stem: str
) -> None:
    with pytest.raises(ValueError, match="stem must be a file name"):
        tiny_predictor.predict(RGB).save(tmp_path, stem)


def test_too_large_for_the_memory(
    tiny_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "available_bytes", lambda: 100_000_000)
    image = np.zeros((6000, 8000, 3), np.uint8)
    with pytest.raises(MemoryError, match=r"8000x6000 pixels.*needs about .* GB, 0\.1 GB are free"):
        tiny_predictor.predict(image)


def test_torch_out_of_memory_becomes_a_sentence(
    tiny_predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr(predict, "group_outputs", fail)
    with pytest.raises(MemoryError, match=r"56x40 pixels .* needs more memory than there is"):
        tiny_predictor.predict(RGB)


def test_overlay_is_an_image(tiny_predictor: Predictor) -> None:
    prediction = tiny_predictor.predict(cv2.resize(RGB, (120, 90)))
    assert prediction.overlay().size == (120, 90)
    assert prediction.overlay(scale=2).size == (240, 180)
