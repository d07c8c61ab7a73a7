"""What is shown elsewhere: the right numbers at the right step, or a sentence why not."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from panoptic_deeplab.boards import WANDB_ID, WeightsAndBiases, open_boards

PICTURE = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture
def wandb(monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return wandb


def test_a_run_there_is_gone_on_with(wandb, tmp_path):
    for step in (1, 2):
        (board,) = [b for b in open_boards(tmp_path, "p", {}) if isinstance(b, WeightsAndBiases)]
        board.plot(step, {"loss/total": 1 / step})
        board.show(step, "image_0", PICTURE)
        board.close(failed=False)
    files = {path.name for path in tmp_path.glob("wandb/offline-run-*/run-*.wandb")}
    assert len(files) == 1  # of one run, though in two folders
    assert (tmp_path / WANDB_ID).exists()


def test_what_is_sent(wandb, tmp_path, monkeypatch):
    told = []
    run = SimpleNamespace(
        log=lambda values, step: told.append((step, values)),
        finish=lambda exit_code: told.append(exit_code),
    )

    def init(**how):
        told.append(how)
        return run

    monkeypatch.setattr(wandb, "init", init)
    board = WeightsAndBiases(tmp_path / "mine", "team/cells", {"run": {"seed": 3}})
    board.plot(20, {"loss/total": 0.5, "learning_rate": 1e-3})
    board.show(20, "image_0", PICTURE)
    board.close(failed=False)
    how, values, picture, code = told
    assert code == 0
    assert (how["entity"], how["project"], how["name"]) == ("team", "cells", "mine")
    assert how["config"] == {"run": {"seed": 3}}
    assert values == (20, {"loss/total": 0.5, "learning_rate": 1e-3})
    assert picture[0] == 20
    assert picture[1]["image_0"].image.size == (6, 4)


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r'pip install "panoptic-deeplab\[wandb\]"'):
        open_boards(tmp_path, "p", {})


def test_a_refusal_is_told(wandb, tmp_path, monkeypatch):
    def refuse(**_):
        raise wandb.errors.UsageError("no API key")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConnectionError, match=r"in a/b: no API key\. Log in with `wandb login`"):
        WeightsAndBiases(tmp_path, "a/b", {})
