"""What a run starts from, and whether it may go on with the settings it is given."""

import logging
from typing import Any

from panoptic_deeplab.backbone_weights import start_from_backbone
from panoptic_deeplab.checkpoint import Checkpoint, start_from
from panoptic_deeplab.find_weights import find_weights
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.model import PanopticDeepLab

logger = logging.getLogger(__name__)

FREE = {
    "run.pictures",
    "run.checkpoint_every",
    "run.checkpoint_minutes",
    "run.keep",
    "run.log_every",
    "run.wandb",
    "data.workers",
    "data.root",
    "schedule.shard_weights",
}
"""Changing these does not change what is learnt."""


def start_with(model: PanopticDeepLab, labels: LabelSpace, weights: str) -> None:
    """Load trained weights, or those of a backbone, and say what they left random.

    Args:
        model: to be trained.
        labels: of the data.
        weights: as `find_weights` takes them.
    """
    source = find_weights(weights)
    if isinstance(source, Checkpoint):
        fresh = start_from(model, labels, source)
        left = f"; left random, since the classes differ: {', '.join(fresh)}" if fresh else ""
        logger.info("Starting from %s%s.", weights, left)
        return
    unused = start_from_backbone(model, source)
    left = f"; not used: {', '.join(unused[:3])} and so on ({len(unused)})" if unused else ""
    logger.info("Backbone from %s, decoders and heads random%s.", weights, left)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Settings that changed and are not `FREE`, as "name was VALUE, now VALUE"."""
    found = []
    for key, value in new.items():
        name = prefix + key
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            found += differences(old[key], value, name + ".")
        elif old.get(key) != value and name not in FREE:
            found.append(f"{name} was {old.get(key)}, now {value}")
    return found
