"""Which segment a crop is placed on: one of a rare class, or a small thing.

Comes in: the map of a whole image. Goes out: a segment's id, or None to leave the crop's place to
chance. It is a function of the generator alone, so that the stream stays repeatable.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.structures import PanopticMap, Segment


@dataclass(frozen=True)
class Focus:
    """Draws segments to place crops on.

    Attributes:
        share: of the crops that are placed on a segment, 0 to 1.
        rule: "rare_classes": a class that the image holds, in proportion to `weights`, then any
            of its segments, so that a small one is as likely as a large one. "small_things": a
            thing, in proportion to one by its area.
        weights: (K,) by class id.
        things: (K,) which classes are things.
    """

    share: float
    rule: Literal["rare_classes", "small_things"]
    weights: NDArray[np.float64]
    things: NDArray[np.bool_]

    def __call__(self, panoptic: PanopticMap, generator: np.random.Generator) -> int | None:
        """Id of a segment, or None. Crowd regions are never chosen."""
        if generator.random() >= self.share:
            return None
        found = [s for s in panoptic.segments if not s.is_crowd and self._fits(s)]
        if not found:
            return None
        return found[_draw(generator, self._chances(found))].id

    def _fits(self, segment: Segment) -> bool:
        if self.rule == "small_things":
            return bool(self.things[segment.class_id]) and segment.area_px > 0
        return bool(self.weights[segment.class_id] > 0)

    def _chances(self, segments: list[Segment]) -> NDArray[np.float64]:
        if self.rule == "small_things":
            return np.array([1 / s.area_px for s in segments])
        classes = np.array([s.class_id for s in segments])
        return np.asarray(self.weights[classes] / np.bincount(classes)[classes])


def _draw(generator: np.random.Generator, chances: NDArray[np.float64]) -> int:
    """A place, in proportion to its chance."""
    ends = np.cumsum(chances)
    place = np.searchsorted(ends, generator.random() * ends[-1], side="right")
    return int(min(place, len(ends) - 1))
