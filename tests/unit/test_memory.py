"""Estimates of memory."""

from pathlib import Path

import pytest

from panoptic_deeplab.memory import available_bytes, forward_bytes
from panoptic_deeplab.model import PanopticDeepLab


def test_estimate_grows_with_the_area(tiny_model: PanopticDeepLab) -> None:
    one, four = forward_bytes(tiny_model, (500, 500)), forward_bytes(tiny_model, (1000, 1000))
    assert four == pytest.approx(4 * one)
    # The stem's 16 maps at half the size, read and written, are already 32 bytes a pixel.
    assert one > 32 * 500 * 500
    assert not any(m._forward_hooks for m in tiny_model.modules())


def test_there_is_some_memory_or_the_system_does_not_tell() -> None:
    free = available_bytes()
    assert free is None or free > 0


def test_unknown_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    assert available_bytes() is None
