"""The public names: what users may rely on stands in api.txt and resolves."""

import subprocess
import sys
from pathlib import Path

import pytest

import panoptic_deeplab

NAMES = Path(__file__).with_name("api.txt").read_text().split()


def test_list_and_package_agree() -> None:
    assert sorted(panoptic_deeplab.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves_and_is_explained(name: str) -> None:
    value = getattr(panoptic_deeplab, name)
    assert name in dir(panoptic_deeplab)
    if name != "__version__":
        assert value.__doc__


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Predictr'"):
        panoptic_deeplab.Predictr  # noqa: B018


def test_evaluating_saved_predictions_needs_no_torch() -> None:
    """Its import takes seconds, and each process of an evaluation would wait for it."""
    code = (
        "import sys, panoptic_deeplab.evaluate, panoptic_deeplab.data.predictions,"
        "panoptic_deeplab.commands.evaluate, panoptic_deeplab.commands.data,"
        "panoptic_deeplab.evaluation_page, panoptic_deeplab.doctor.examination;"
        "from importlib.util import find_spec;"
        "find_spec('numba') and __import__('panoptic_deeplab.kernels.joint');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_package_is_cheap() -> None:
    """Neither the package nor the help of its command needs torch."""
    code = (
        "import sys, panoptic_deeplab, panoptic_deeplab.cli;"
        "sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
