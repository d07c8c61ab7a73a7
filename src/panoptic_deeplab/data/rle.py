"""Masks as run lengths, COCO's form: down the columns, first the zeros, compressed or as numbers.

The compressed form packs each number into characters of six bits (five of value, one saying that
more follow), from the fourth number on as the difference to the one two before. Format:
pycocotools, `maskApi.c`; the tests compare with it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def decode_rle(rle: Mapping[str, Any], *, name: str = "RLE") -> Mask:
    """Decode an RLE object.

    Args:
        rle: "size" (height, width) and "counts", a string or a list of numbers.
        name: for messages.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: if a part is missing or damaged, or the runs do not fill the size.
    """
    size, counts = rle.get("size", ()), rle.get("counts")
    whole = isinstance(size, list | tuple) and [type(n) for n in size] == [int, int]
    if not whole or min(size) < 0 or not isinstance(counts, str | bytes | list):
        raise ValueError(
            f"{name}: expected 'size' (height, width) and 'counts', text or numbers, got "
            f"{str(dict(rle))[:60]}. Correct this entry."
        )
    height, width = size
    runs = np.array(counts, np.int64) if isinstance(counts, list) else _unpack(counts, name)
    if runs.ndim != 1 or runs.min(initial=0) < 0 or int(runs.sum()) != height * width:
        raise ValueError(
            f"{name}: expected runs of {height * width} pixels in all (height x width), got "
            f"{int(runs.sum())}. The entry is damaged or belongs to a picture of another size."
        )
    values = np.zeros(len(runs), bool)
    values[1::2] = True
    return np.asarray(np.repeat(values, runs).reshape(width, height).T, bool)


def encode_rle(mask: Mask) -> dict[str, Any]:
    """Encode a mask (H, W) as a compressed RLE object; "counts" is text."""
    flat = np.asarray(mask, bool).T.reshape(-1)
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], ends, [flat.size])))
    if flat.size and flat[0]:
        runs = np.concatenate(([0], runs))
    return {"size": [int(n) for n in mask.shape], "counts": _pack(runs.tolist())}


def _unpack(counts: str | bytes, name: str) -> NDArray[np.int64]:
    text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{name}: expected counts as COCO packs them, got {text[:20]!r}.")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"{name}: expected counts that end with a whole number. It was cut short.")
    return np.array(runs, np.int64)


def _pack(runs: list[int]) -> str:
    text = bytearray()
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text.append(48 + (bits if done else bits | 32))
            if done:
                break
    return text.decode()
