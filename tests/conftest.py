"""What many tests share: a toy label space and sample, and the smallest working model."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_deeplab.checkpoint import save_checkpoint
from panoptic_deeplab.config import Experiment, GroupingConfig
from panoptic_deeplab.data.synthetic import LABELS
from panoptic_deeplab.labels import ClassInfo, LabelSpace
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.structures import PanopticMap, Sample, Segment
from tiny import TINY_MODEL

# A random network is sure of nothing: with the usual thresholds it would find no segment at all.
TINY = Experiment(
    name="tiny",
    model=TINY_MODEL,
    grouping=GroupingConfig(threshold=0.0, top_k=20, stuff_area_px=1),
)


def pytest_configure(config: pytest.Config) -> None:
    """All tests but those for GPUs expect a CPU's results, on machines with a GPU too."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def toy_labels() -> LabelSpace:
    """One stuff and two thing classes."""
    return LabelSpace(
        "toy",
        (
            ClassInfo("road", 7, False, (128, 64, 128)),
            ClassInfo("car", 26, True, (0, 0, 142)),
            ClassInfo("person", 24, True, (220, 20, 60)),
        ),
    )


@pytest.fixture
def toy_sample() -> Sample:
    """48 x 64: void above, road below, two cars side by side on the road's edge."""
    segment_map = np.zeros((48, 64), np.int32)
    segment_map[16:] = 1
    segment_map[12:28, 8:24] = 2
    segment_map[12:28, 24:40] = 3
    areas = [int((segment_map == i).sum()) for i in (1, 2, 3)]
    segments = tuple(Segment(i + 1, (0, 1, 1)[i], areas[i]) for i in range(3))
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return Sample(image, PanopticMap(segment_map, segments), "toy")


@pytest.fixture(scope="session")
def tiny_model() -> PanopticDeepLab:
    """The smallest network, random weights, for the classes of the drawn street scenes."""
    torch.manual_seed(0)
    return build_model(TINY.model, LABELS.num_classes).eval()


@pytest.fixture(scope="session")
def tiny_predictor(tiny_model: PanopticDeepLab) -> Predictor:
    """It, ready for images."""
    return Predictor(tiny_model, LABELS, TINY.grouping)


@pytest.fixture(scope="session")
def tiny_weights(tiny_model: PanopticDeepLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, as a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, tiny_model, LABELS, TINY, {"made_for": "tests"})
    return path
