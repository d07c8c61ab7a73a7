"""Reproducible stand-ins for published weights, and features computed from them elsewhere.

`tests/reference/features/<name>.npz` holds what the publisher's own code computed, with weights
drawn by `draw`, on the image stored beside: entries `os<output stride>/<channels>` with every
sixteenth channel of one feature map, `branch<i>` with every fourth of HRNet's, `logits`. Loading
a backbone with the same weights under the publisher's names must give the same numbers.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import publishers

FEATURES = Path(__file__).parent / "reference" / "features"
KEPT_CHANNELS = slice(None, None, 16)

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def draw(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight a publisher's key gets."""
    return torch.from_numpy(np.array(publishers.draw(key, shape)))


def standin(build: Callable[[], nn.Module], publisher_key: Callable[[str], str]) -> nn.Module:
    """A module in eval mode with the stand-in weights of the publisher's keys."""
    with torch.device("meta"):  # no need to draw weights that are replaced at once
        module = build().eval()
    state = {k: draw(publisher_key(k), tuple(v.shape)) for k, v in module.state_dict().items()}
    module.load_state_dict(state, assign=True)
    return module


def reference_image(file: np.lib.npyio.NpzFile) -> Tensor:
    """(1, 3, H, W), normalised with ImageNet's mean and deviation."""
    image = torch.from_numpy(file["image"]).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def relative_error(ours: Tensor, theirs: np.ndarray) -> float:
    """Norm of the difference over the norm of the reference."""
    reference = torch.from_numpy(theirs)
    return float((ours - reference).norm() / reference.norm())


def assert_features_equal(
    build: Callable[[int], nn.Module], name: str, publisher_key: Callable[[str], str]
) -> None:
    """Compare every feature map stored for `name`; `build` takes the output stride."""
    with np.load(FEATURES / f"{name}.npz") as file:
        x = reference_image(file)
        entries = [key for key in file.files if key.startswith("os")]
        for output_stride in sorted({key.split("/")[0] for key in entries}):
            stride = int(output_stride.removeprefix("os"))
            model = standin(partial(build, stride), publisher_key)
            with torch.no_grad():
                features = {f.shape[1]: f[0, KEPT_CHANNELS] for f in model(x)}
            for key in entries:
                if key.startswith(output_stride + "/"):
                    ours = features[int(key.split("/")[1])]
                    assert relative_error(ours, file[key]) < 1e-5, key
