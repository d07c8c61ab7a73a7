from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from panoptic_deeplab.config import InferenceConfig
from panoptic_deeplab.data.windows import ArrayWindows, ScaledWindows, open_windows
from panoptic_deeplab.looks import Member
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.structures import Outputs
from panoptic_deeplab.tiled import needs_tiles, tiled_heads
from panoptic_deeplab.tiles import Span, tile_parts, tile_spans


@given(st.integers(1, 200), st.integers(4, 40), st.integers(2, 20), st.booleans())
def test_tiles_cover_the_axis(steps: int, side: int, shared: int, align_corners: bool) -> None:
    stride, extra = 32, int(align_corners)
    length, overlap = steps * stride + extra, min(shared, side // 2) * stride
    spans = tile_spans(length, side * stride, overlap, stride, align_corners=align_corners)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert len({span.stop - span.start for span in spans}) == 1
    for span, following in pairwise(spans):
        assert following.start % stride == 0
        assert span.stop - following.start >= overlap - stride
    places = np.arange(extra and 0, length, 4) + (0 if align_corners else 1.5)
    parts = tile_parts(spans, places, overlap)
    total = np.zeros(len(places))
    for span, part in zip(spans, parts, strict=True):
        used = slice(part.first, part.first + len(part.weight))
        assert (places[used] >= span.start).all()
        assert (places[used] < span.stop).all()
        total[used] += part.weight
    assert np.allclose(total, 1)


def test_a_small_axis_is_one_tile() -> None:
    spans = tile_spans(65, 128, 64, 32, align_corners=True)
    assert spans == (Span(0, 65),)
    assert tile_parts(spans, np.arange(0.0, 65, 4), 64)[0].weight.tolist() == [1] * 17


@pytest.mark.parametrize("overlap", [0, 63, 129])
def test_tiles_that_overlap_too_little_or_too_much(overlap: int) -> None:
    with pytest.raises(ValueError, match=f"must overlap by 64 pixels or more .*, got {overlap}"):
        tile_spans(1025, 256, overlap, 32, align_corners=True)


class Known(torch.nn.Module):
    """A network that says what stands in its pixels, at stride 4."""

    def __init__(self, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.anywhere = torch.nn.Parameter(torch.zeros(1))
        self.backbone = type("Backbone", (), {"strides": (4, 32)})

    def forward(self, images: torch.Tensor) -> Outputs:
        start = 0 if self.align_corners else 2
        seen = images[:, :, start::4, start::4].float()
        semantic = torch.cat([seen[:, :1], 255 - seen[:, :1]], dim=1) / 50
        return Outputs(semantic, seen[:, 1:2] / 255, seen[:, :2] - 100)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(y / (31 + 9 * i) + x / (57 - 8 * i)) for i in range(3)]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("align_corners", [True, False])
def test_heads_are_those_of_one_look(align_corners: bool) -> None:
    """What a tile says does not depend on the tile here, so blending must change nothing."""
    image = smooth(300, 421)
    member = Member(Known(align_corners=align_corners))  # type: ignore[arg-type]
    tiled = InferenceConfig(tile=128, tile_overlap=64)
    found, view, tiles = tiled_heads([member], tiled, ArrayWindows(image))
    whole, same, one = tiled_heads(
        [member], InferenceConfig(tile=1024, tile_overlap=64), ArrayWindows(image)
    )
    assert tiles > 12
    assert one == 1
    assert view == same
    for ours, theirs in zip(found, whole, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_tiles_of_a_real_network(tiny_predictor: Predictor) -> None:
    """Other scales and mirrored looks too; the network pools over each tile, so only nearly."""
    image = smooth(200, 260)
    plain = InferenceConfig(scales=(0.5, 1.0), flip=True)
    tiled = plain.model_copy(update={"tile": 160, "tile_overlap": 64})
    before = tiny_predictor.inference
    try:
        tiny_predictor.inference = plain
        whole = tiny_predictor.predict(image)
        tiny_predictor.inference = tiled
        found = tiny_predictor.predict(image)
    finally:
        tiny_predictor.inference = before
    assert found.segment_map.shape == whole.segment_map.shape == (200, 260)
    assert found.image.shape == image.shape


def test_a_mirrored_tile_counts_like_a_plain_one(tiny_predictor: Predictor) -> None:
    model = tiny_predictor.model
    image = smooth(160, 290)
    settings = InferenceConfig(tile=160, tile_overlap=64, flip=True)
    found, _, _ = tiled_heads([Member(model)], settings, ArrayWindows(image))
    turned, _, _ = tiled_heads(
        [Member(model)], settings, ArrayWindows(np.ascontiguousarray(image[:, ::-1]))
    )
    # 290 is padded to 321 on the right, where the turned image begins: only far from it alike.
    assert found.offset.shape == turned.offset.shape
    assert torch.isfinite(found.semantic).all()


def test_which_images_need_tiles() -> None:
    member = Member(Known(align_corners=True), scale=2.0)  # type: ignore[arg-type]
    settings = InferenceConfig(tile=512)
    assert not needs_tiles([member], settings, (256, 200))
    assert needs_tiles([member], settings, (257, 200))
    assert needs_tiles([member], settings.model_copy(update={"scales": (2.0,)}), (129, 9))
    assert not needs_tiles([member], InferenceConfig(), (9000, 9000))


@pytest.mark.parametrize("size", [(37, 51), (74, 102), (91, 119), (20, 30), (11, 17)])
def test_scaled_windows_are_cuts_of_the_whole(size: tuple[int, int]) -> None:
    image = smooth(37, 51)
    scaled = ScaledWindows(ArrayWindows(image), size)
    whole = scaled.read(0, 0, *size)
    assert whole.shape == (*size, 3)
    top, left = size[0] // 3, size[1] // 2
    part = scaled.read(top, left, size[0], left + 5)
    assert np.array_equal(part, whole[top:, left : left + 5])
    import cv2

    way = cv2.INTER_AREA if size[0] < 37 else cv2.INTER_LINEAR
    theirs = cv2.resize(image, size[::-1], interpolation=way)
    assert np.abs(whole.astype(int) - theirs).max() <= 1


def test_memory_maps_and_deep_arrays(tmp_path: Path) -> None:
    image = smooth(40, 50)
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "deep.npy", image[..., 0].astype(np.uint16) * 16 + 15)
    plain = open_windows(tmp_path / "a.npy")
    assert np.array_equal(plain.read(3, 5, 20, 30), image[3:20, 5:30])
    assert np.array_equal(plain.reduced(7), image[::7, ::7])
    deep = open_windows(tmp_path / "deep.npy")
    grey = deep.read(0, 0, 40, 50)
    assert np.abs(grey[..., 2].astype(int) - image[..., 0]).max() <= 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5), np.float32), "uint8 or uint16, got .* of float32"),
        (np.zeros((4, 5, 2), np.uint8), r"got \(4, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), "expected pixels, got none"),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message):
        open_windows(tmp_path / "a.npy")


def test_arrays_with_code_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy: expected an array of pixels"):
        open_windows(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"b\.npy: expected an array of pixels"):
        open_windows(tmp_path / "b.npy")


class Broken:
    """A store of chunks that cannot be decoded."""

    shape, dtype = (40, 50, 3), np.dtype(np.uint8)

    def __getitem__(self, place: object) -> None:
        raise RuntimeError("bad data")


def test_a_damaged_store_is_named() -> None:
    with pytest.raises(ValueError, match=r"big\.tif: .* reading a part failed .*bad data"):
        ArrayWindows(Broken(), "big.tif").read(0, 0, 3, 3)
