"""Which of several processes this one is, as `torchrun` says in the environment.

A process that was started by itself is alone. How processes talk is `distributed`'s; this needs no
torch, whose import takes seconds, so that evaluating what was saved does not wait for it.
"""

import os
from typing import NamedTuple


class Processes(NamedTuple):
    """Which of how many processes this one is.

    Attributes:
        rank: from 0; the one with 0 writes files.
        world: how many there are.
        local_rank: from 0 on this machine; which GPU is its own.
        restarts: how often `torchrun` has started the run anew.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    restarts: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes files and talks."""
        return self.rank == 0


ALONE = Processes()


def from_environment() -> Processes:
    """Read what `torchrun` has set; `ALONE` where it has set nothing."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    rank, world, local, restarts = (int(os.environ.get(name, "0")) for name in names)
    return Processes(rank, world, local, restarts)
