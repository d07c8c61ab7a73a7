"""Stand-ins for published weights: the publishers' formats, names and shapes, drawn numbers.

`reference/published/NAME.keys.json` lists the weights of a published file, NAME.npz what the
publisher's own code computes with the numbers drawn here.
"""

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

PUBLISHED = Path(__file__).parent / "reference" / "published"
PANOPTIC = tuple(sorted(path.stem for path in PUBLISHED.glob("*.npz")))
"""Names of whole networks."""

NAMES = tuple(sorted(path.name.removesuffix(".keys.json") for path in PUBLISHED.glob("*.json")))
"""Names of all."""


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The weights of a published file, by its names."""
    keys = json.loads((PUBLISHED / f"{name}.keys.json").read_text())
    return {key: tuple(shape) for key, shape in keys.items()}


def draw(key: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """The value of one weight: depends on its name and shape alone."""
    if key.endswith("num_batches_tracked"):
        return np.asarray(1, np.int64)
    generator = np.random.Generator(np.random.PCG64([0, zlib.crc32(key.encode())]))
    if key.endswith("running_mean"):
        values = generator.normal(0, 0.1, shape)
    elif len(shape) >= 2 and not key.endswith("running_var"):
        values = generator.normal(0, (1.0 / np.prod(shape[1:])) ** 0.5, shape)
    elif key.endswith("bias"):
        values = generator.normal(0, 0.1, shape)
    else:
        values = generator.uniform(0.8, 1.2, shape)
    return values.astype(np.float32)


def weights(name: str) -> dict[str, NDArray[np.generic]]:
    """All values of a file."""
    return {key: draw(key, shape) for key, shape in shapes(name).items()}


def write(name: str, folder: Path, *, form: str = "") -> Path:
    """Write a stand-in in its publisher's format.

    Args:
        name: one of `NAMES`.
        folder: where.
        form: "pickle", "torch", "wrapped" (in a run's dictionary, with `module.` in front),
            "legacy" (torch before 1.6) or "safetensors"; default: the publisher's own.
    """
    values = weights(name)
    form = form or ("pickle" if name.startswith("detectron2") else "torch")
    path = folder / f"{name}.{'pkl' if form == 'pickle' else 'pth'}"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"model": values, "__author__": "stand-in"}))
        return path
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in values.items()}
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(tensors, path)
    elif form == "wrapped":
        inner = {f"module.{key}": value for key, value in tensors.items()}
        torch.save({"epoch": 3, "state_dict": inner, "best": 0.5}, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form != "legacy")
    return path
