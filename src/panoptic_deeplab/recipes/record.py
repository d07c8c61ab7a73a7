"""What a recipe is: an experiment, and what is known about it."""

from collections.abc import Callable
from dataclasses import dataclass

from panoptic_deeplab.config import Experiment
from panoptic_deeplab.family import Published


@dataclass(frozen=True)
class Recipe:
    """A named experiment.

    Attributes:
        experiment: makes its settings.
        about: what it trains, in a sentence.
        hardware: what it was run on, and for how long.
        expected: results, with their source.
        sources: where the settings that are not defaults come from.
    """

    experiment: Callable[[], Experiment]
    about: str
    hardware: str
    expected: Published
    sources: str
