"""Picture files on their way from one data set to another: copied where possible, else as PNG."""

from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.structures import Sample

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
"""By these a file is taken for a picture, in any case of letters."""

_ORIENTATION = 0x0112  # EXIF tag
_COMPRESSION = 3  # zlib level; pictures hardly get smaller above it


@dataclass(frozen=True)
class PictureFile:
    """A picture as it lies on disk, or is to lie there.

    Attributes:
        content: of the file.
        ending: ".jpg" or ".png".
    """

    content: bytes
    ending: str

    def as_png(self, sample: Sample) -> bytes:
        """The same pixels as a PNG, for formats that have nothing else."""
        return self.content if self.ending == ".png" else encode_picture(sample.image)


def picture_of(dataset: PanopticDataset, index: int, sample: Sample) -> PictureFile:
    """The file of a sample's picture: the data set's own where any reader sees the same in it.

    That is an 8-bit RGB JPEG or PNG without rotation notes. Everything else is written anew as PNG
    with the pixels of the sample.
    """
    read = getattr(dataset, "picture", None)
    content = read(index) if read is not None else b""
    ending = _plain_ending(content) if content else None
    if ending is None:
        return PictureFile(encode_picture(sample.image), ".png")
    return PictureFile(content, ending)


def encode_picture(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    ok, content = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])
    assert ok, "OpenCV writes any uint8 RGB array"
    return content.tobytes()


def _plain_ending(content: bytes) -> str | None:
    with Image.open(BytesIO(content)) as image:
        plain = image.mode == "RGB" and "transparency" not in image.info
        if image.format == "PNG":
            plain = plain and content[24] == 8 and b"eXIf" not in content
            return ".png" if plain else None
        if image.format == "JPEG":  # MPO and the like have more than one picture
            return ".jpg" if plain and image.getexif().get(_ORIENTATION, 1) == 1 else None
    return None
