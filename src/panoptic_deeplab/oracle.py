"""What better heads would bring: the truth in the place of some heads of a network.

In: a predictor and labelled samples. Out: predictions made of the network's heads, of which some
were replaced by what the truth says they should be. If PQ jumps with true offsets, offsets are
what to work on.

Grouping is the same; semantic logits of truth are far apart, so that the class probability of an
instance is 1; void of the truth keeps what the network says.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from panoptic_deeplab.grouping import group_outputs
from panoptic_deeplab.labels import IGNORED, LabelSpace, near_names
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.structures import Outputs, PanopticMap, Sample, Targets
from panoptic_deeplab.targets import make_targets

Head = Literal["semantic", "center", "offset"]
HEADS = ("semantic", "center", "offset")

SURE = 50.0
"""Logit of the true class, all others being 0; their softmax is below 1e-20."""


class Oracle:
    """Predicts samples with some heads replaced by the truth.

    Args:
        predictor: gives the other heads.
        heads: "semantic", "center", "offset", or several of them.
        sigma_px: of the Gaussians at true centers, in pixels of the network's input; paper: 8.

    Raises:
        ValueError: if a head is unknown.
    """

    def __init__(
        self, predictor: Predictor, heads: Sequence[Head], *, sigma_px: float = 8.0
    ) -> None:
        for head in heads:
            if head not in HEADS:
                raise ValueError(f"Unknown head {head!r}. {near_names(head, HEADS)}")
        self._predictor, self._heads, self._sigma_px = predictor, tuple(heads), sigma_px

    @property
    def labels(self) -> LabelSpace:
        """Classes of the predictor."""
        return self._predictor.labels

    def find(self, sample: Sample) -> Prediction:
        """Find the segments of one image with the help of its truth.

        Raises:
            ValueError: if the sample has no truth.
        """
        if sample.panoptic is None:
            raise ValueError(
                f"Image {sample.image_id!r} has no labels, an oracle is made of them. Leave it out "
                "of the split."
            )
        found = self._predictor.outputs(sample.image)
        size = (int(found.semantic.shape[2]), int(found.semantic.shape[3]))
        targets = make_targets(
            _resized(sample.panoptic, size), self.labels, sigma_px=self._sigma_px
        )
        heads = {name: getattr(found, name).cpu() for name in HEADS}
        heads |= {name: self._true_head(name, targets, heads[name]) for name in self._heads}
        (panoptic,) = group_outputs(
            Outputs(**heads),
            self.labels,
            size=size,
            output_size=(sample.image.shape[0], sample.image.shape[1]),
            align_corners=self._predictor.model.align_corners,
            **self._predictor.grouping.model_dump(),
        )
        return Prediction(sample.image, panoptic, self.labels)

    def _true_head(self, name: Head, targets: Targets, found: Tensor) -> Tensor:
        if name != "semantic":
            true: Tensor = getattr(targets, name)[None]
            return true
        classes = targets.semantic[None]
        is_known = classes != IGNORED
        known = torch.where(is_known, classes, 0)
        sure = torch.zeros_like(found).scatter_(1, known[:, None], SURE)
        return torch.where(is_known[:, None], sure, found)


def _resized(panoptic: PanopticMap, size: tuple[int, int]) -> PanopticMap:
    """The truth on the grid of the heads, by nearest pixel; ids stay, areas are not counted."""
    if panoptic.size == size:
        return panoptic
    # Ids pass through a float32 view: nearest resizing copies bits.
    floats = np.ascontiguousarray(panoptic.segment_map).view(np.float32)
    resized = cv2.resize(floats, size[::-1], interpolation=cv2.INTER_NEAREST)
    return replace(panoptic, segment_map=np.asarray(resized).view(np.int32))
