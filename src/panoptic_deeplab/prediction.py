"""What was found in one image: it draws and saves itself."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panoptic_deeplab import render
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.files import make_folder
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Segment


@dataclass(frozen=True)
class Prediction:
    """What was found in one image.

    Attributes:
        image: (H, W, 3) uint8 RGB, as the network saw it, at its own size; of an image that was
            looked at in tiles every `step`-th pixel along both axes.
        panoptic: the segments, at the image's own size.
        labels: their classes.
        step: 1, or more where the image was looked at in tiles and has over 16 megapixels.
    """

    image: NDArray[np.uint8]
    panoptic: PanopticMap
    labels: LabelSpace
    step: int = 1

    @property
    def segment_map(self) -> NDArray[np.int32]:
        """(H, W) int32, segment id per pixel, 0 where there is none."""
        return self.panoptic.segment_map

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Things in the order of their centers, then stuff."""
        return self.panoptic.segments

    def overlay(self, *, scale: int = 1) -> Image.Image:
        """The image with colours, outlines and names; see `render.overlay`."""
        shown = self.panoptic
        if self.step > 1:
            shown = reduced_map(shown, self.step)
        return Image.fromarray(render.overlay(self.image, shown, self.labels, scale=scale))

    def save(self, folder: str | Path, stem: str = "prediction") -> None:
        """Write `STEM.png` and `STEM.json` (COCO's panoptic form) and `STEM_overlay.png`.

        The segment id of a pixel of `STEM.png` is red + 256 green + 65536 blue. All three files
        are made in full before the first takes its place.

        Args:
            folder: made if missing; files of these names are replaced.
            stem: a file name without ending.

        Raises:
            ValueError: if `stem` is not a plain file name.
            OSError: if the folder cannot be written.
        """
        if not stem or Path(stem).name != stem:
            raise ValueError(f"stem must be a file name without folder or ending, got {stem!r}.")
        folder = make_folder(folder)
        with TemporaryDirectory(dir=folder, prefix=".part-") as part:
            with CocoPanopticWriter(part, self.labels, name=stem) as writer:
                writer.add(stem, self.panoptic)
            overlay = Path(part) / f"{stem}_overlay.png"
            self.overlay(scale=render.readable_scale(self.panoptic.size)).save(overlay)
            for file in (Path(part) / stem / f"{stem}.png", overlay, Path(part) / f"{stem}.json"):
                file.replace(folder / file.name)


def reduced_map(panoptic: PanopticMap, step: int) -> PanopticMap:
    """Each step-th pixel of a map along both axes, to look at; areas stay those of the whole."""
    return PanopticMap(
        np.ascontiguousarray(panoptic.segment_map[::step, ::step]), panoptic.segments
    )
