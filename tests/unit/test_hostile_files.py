"""Damaged and malicious files of weights: one sentence, nothing executed, no memory reserved."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from panoptic_deeplab.convert import read_tensors

MARK = "executed"
"""A file that code in a weights file would leave behind."""


class Code:
    """Something whose pickle runs a command when it is read carelessly."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARK}",)


class Called:
    """Something whose pickle calls a function with these arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def pickled(value: Any) -> bytes:
    return pickle.dumps({"model": value}, protocol=2)


def torch_zip(value: Any, *, compress: bool = False, **replaced: bytes) -> bytes:
    """What torch.save writes, with some entries of the zip replaced or added."""
    plain = io.BytesIO()
    torch.save(value, plain)
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(out, "w", kind) as new:
        for name in old.namelist():
            new.writestr(name, replaced.pop(name.split("/", 1)[1], old.read(name)))
    return out.getvalue()


def array_of_shape(shape: tuple[int, ...]) -> bytes:
    """An honest array of one number, whose pickle then claims another shape."""
    honest = pickled({"w": np.zeros((7,), np.float32)})
    return honest.replace(b"K\x07\x85", pickle.dumps(shape, protocol=2)[2:-1], 1)


def rebuilt(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A torch file whose only tensor claims this size and stride over a storage of 16 numbers."""
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(16)}, plain)
    with zipfile.ZipFile(plain) as file:
        program = file.read(next(n for n in file.namelist() if n.endswith("data.pkl")))
    head, tail = b"K\x10\x85", b"K\x01\x85"
    assert head in program
    assert tail in program
    program = program.replace(head, pickle.dumps(size, protocol=2)[2:-1], 1)
    program = program.replace(tail, pickle.dumps(stride, protocol=2)[2:-1], 1)
    return torch_zip({"w": torch.zeros(16)}, **{"data.pkl": program})


def legacy(value: Any, change: Callable[[bytes], bytes] = bytes) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=False)
    return change(out.getvalue())


def safetensors(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def deep(levels: int) -> bytes:
    return b"\x80\x02" + b"(" * levels + b"t" * levels + b"."


GOOD = pickled({"w": np.zeros((64, 3, 3, 3), np.float32)})

HOSTILE: dict[str, bytes] = {
    "code in a pickle": pickled(Code()),
    "code in a torch zip": torch_zip({"state_dict": Code()}),
    "code in an old torch file": legacy({"state_dict": Code()}),
    "code by way of a hidden function": pickled(Called(getattr, "", "join")),
    "a file opened": pickled(Called(open, MARK, "w")),
    "an array of a trillion numbers": array_of_shape((1_000_000, 1_000_000)),
    "an array of negative shape": array_of_shape((-1, -7)),
    "an array of objects": pickled({"w": np.array([Code()], dtype=object)}),
    "a tensor of a trillion numbers": rebuilt((1_000_000, 1_000_000), (0, 0)),
    "a tensor beyond its storage": rebuilt((16,), (2,)),
    "a storage of a trillion numbers": legacy(
        {"w": torch.zeros(16)},
        lambda raw: raw.replace(b"K\x10N", b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"N", 1),
    ),
    "a zip bomb": torch_zip({"w": torch.zeros(5_000_000)}, compress=True),
    "a zip that promises too much": torch_zip({"w": torch.zeros(64)}).replace(
        struct.pack("<L", 256), struct.pack("<L", 2**31)
    ),
    "bytes of a trillion": pickled(Called(bytearray, 10**12)),
    "text unfolded again and again": b"\x80\x02(c_codecs\nencode\nq\x00X\x10\x27\x00\x00"
    + b"x" * 10_000
    + b"q\x010"
    + b"h\x00h\x01\x85R" * 2_000
    + b"t.",
    "a huge entry of the machine's table": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a string longer than the file": b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"x.",
    "a truncated pickle": GOOD[: len(GOOD) // 2],
    "a truncated torch zip": torch_zip({"w": torch.zeros(500)})[:900],
    "a truncated old torch file": legacy({"w": torch.zeros(500)}, lambda raw: raw[:-1000]),
    "nothing but brackets": deep(200_000),
    "a header of a quintillion bytes": struct.pack("<Q", 10**18) + b'{"w":1}',
    "a safetensors tensor beyond the file": safetensors(
        {"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    ),
    "a web page": b"<!DOCTYPE html><html>Sign in to continue</html>",
    "an empty file": b"",
    "no dictionary": pickle.dumps([1, 2, 3]),
    "words among the weights": pickled({"w": "seven"}),
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=r"weights\.pth") as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert not (tmp_path / MARK).exists()


def test_code_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(HOSTILE["code in a pickle"])
    system = f"{os.system.__module__}.system"
    with pytest.raises(ValueError, match=f"was not read: it asks for {system}, weights are arrays"):
        read_tensors(path)


def test_memory_stays_where_it_is(tmp_path: Path) -> None:
    """All in one process, whose peak is compared with what it was before."""
    for i, raw in enumerate(HOSTILE.values()):
        (tmp_path / f"{i}.pth").write_bytes(raw)
    script = """
import resource, sys
from pathlib import Path
from panoptic_deeplab.convert import read_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).glob("*.pth")):
    try:
        read_tensors(path)
    except ValueError:
        continue
    sys.exit(f"{path} was read")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(found.stdout) * unit < 100_000_000  # the largest of the files has 20 MB


def test_honest_files_are_read(tmp_path: Path) -> None:
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(0.5)}
    values["c"] = np.asfortranarray(values["a"])
    values["d"] = np.arange(3, dtype=">i4")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(OrderedDict(values), protocol=protocol))
        tensors = read_tensors(path)
        assert list(tensors) == ["a", "b", "c", "d"]
        for name, value in values.items():
            assert np.array_equal(tensors[name].numpy(), value)


def test_torch_files_with_views_are_read(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    values = {"whole": whole, "part": whole[1:, ::2].t(), "scalar": torch.tensor(3)}
    for new in (True, False):
        path = tmp_path / f"{new}.pth"
        torch.save(values, path, _use_new_zipfile_serialization=new)
        tensors = read_tensors(path)
        assert all(torch.equal(tensors[name], value) for name, value in values.items())
