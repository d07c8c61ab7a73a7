"""TensorFlow's checkpoints, read by TensorFlow itself, as tensors of torch's names and layout.

A checkpoint is `NAME.index` beside `NAME.data-*`. Slashes become dots, kernels are transposed, the
four arrays of batch norms get torch's names; what optimizers keep is left out.
"""

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ENDING = ".index"

LEAVES = {
    "weights": "weight",
    "depthwise_weights": "weight",
    "biases": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Last part of a name in slim -> torch's."""

_BESIDE = re.compile(
    r"global_step|(^|/)(Momentum|Adam(_\d)?|RMSProp(_\d)?|ExponentialMovingAverage)$|beta\d_power"
)
"""What training keeps beside the weights."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint.

    Args:
        path: its `.index` file.

    Raises:
        ImportError: without TensorFlow.
        ValueError: if it is damaged, or promises more than its data files hold.
    """
    try:
        import tensorflow  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            f"{path} is a checkpoint of TensorFlow, which is needed to read it: "
            'pip install "panoptic-deeplab[tensorflow]". Convert it once, then it is not.'
        ) from error
    prefix = path.with_suffix("")
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        return dict(tensors_of(reader, data_bytes(prefix)))
    except (ValueError, RuntimeError, OSError, tensorflow.errors.OpError) as error:
        words = str(error).splitlines()[0][:200]
        raise ValueError(f"TensorFlow cannot read the checkpoint ({words})") from error


def data_bytes(prefix: Path) -> int:
    """Size of the files that hold a checkpoint's numbers."""
    start = f"{prefix.name}.data-"
    return sum(f.stat().st_size for f in prefix.parent.iterdir() if f.name.startswith(start))


def tensors_of(reader: Any, held: int) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a checkpoint.

    Args:
        reader: of TensorFlow.
        held: bytes of the data files.

    Raises:
        ValueError: if the shapes need more than that.
    """
    shapes = reader.get_variable_to_shape_map()
    kinds = reader.get_variable_to_dtype_map()
    wanted = [name for name in sorted(shapes) if not _BESIDE.search(name)]
    needed = sum(prod(shapes[name]) * int(kinds[name].size) for name in wanted)
    if needed > held:
        raise ValueError(f"its tensors need {needed} bytes, the data files have {held}")
    for name in wanted:
        value = np.asarray(reader.get_tensor(name))
        if value.dtype.kind not in "fiu":
            continue  # graphs of objects and the like
        *scope, last = name.split("/")
        yield ".".join([*scope, LEAVES.get(last, last)]), torch.from_numpy(_turned(value, last))


def _turned(value: np.ndarray[Any, Any], last: str) -> np.ndarray[Any, Any]:
    """Kernels from (height, width, in, out) to (out, in, height, width); the rest as it is."""
    if value.ndim == 4 and last == "depthwise_weights":
        height, width, channels, copies = value.shape
        value = value.transpose(2, 3, 0, 1).reshape(channels * copies, 1, height, width)
    elif value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    return np.array(value, order="C")
