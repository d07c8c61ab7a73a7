"""The mean of several sets of weights of one network, such as snapshots of a run.

One network that costs no more than each, where an ensemble runs all of them. It needs snapshots
that went the same way for long (arXiv:1803.05407); those of separate starts average to nothing.
"""

from collections.abc import Sequence

import torch

from panoptic_deeplab.checkpoint import Checkpoint


def average_weights(checkpoints: Sequence[Checkpoint], shares: Sequence[float] = ()) -> Checkpoint:
    """Average weights and batch norms' statistics.

    Args:
        checkpoints: of one network and the same classes; the first is changed in place, and gives
            settings and provenance.
        shares: how much each counts; empty: all the same.

    Returns:
        The first, with the means. Whole numbers, such as counters, stay the first's.

    Raises:
        ValueError: if there are fewer than two, networks or classes differ, or shares are not one
            positive number each.
    """
    if len(checkpoints) < 2:
        raise ValueError(f"Averaging needs two sets of weights or more, got {len(checkpoints)}.")
    counts = list(shares) or [1.0] * len(checkpoints)
    if len(counts) != len(checkpoints) or min(counts) <= 0:
        raise ValueError(
            f"Averaging {len(checkpoints)} sets of weights needs a share above 0 for each, or "
            f"none, got {counts}."
        )
    first = checkpoints[0]
    for number, other in enumerate(checkpoints[1:], 2):
        if other.experiment.model != first.experiment.model:
            raise ValueError(
                f"Only weights of the same network can be averaged, number {number} is of other "
                "settings than the first. Use predict --ensemble, which takes any."
            )
        if other.labels.classes != first.labels.classes:
            raise ValueError(
                f"Only weights for the same classes can be averaged, number {number} knows "
                f"{other.labels.name!r}, the first {first.labels.name!r}."
            )
    states = [checkpoint.model.state_dict() for checkpoint in checkpoints]
    with torch.no_grad():
        for name, weight in states[0].items():
            if weight.is_floating_point():
                parts = zip(states, counts, strict=True)
                total = sum(state[name].double() * count for state, count in parts)
                weight.copy_(total / sum(counts))
    return first
