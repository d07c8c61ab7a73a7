"""The command as a user meets it, in this process: importing torch once is enough."""

import json
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from panoptic_deeplab.cli import main


class Ended(NamedTuple):
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Run `panoptic-deeplab` with these words, on a terminal wide enough for its sentences."""
    monkeypatch.setenv("COLUMNS", "150")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        log = logging.getLogger()
        before = log.level, log.handlers[:]
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        # Else the next test would log to a stream that is closed by then.
        log.level, log.handlers[:] = before
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run
