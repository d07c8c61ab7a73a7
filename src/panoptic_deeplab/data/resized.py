"""A data set whose images have one length of their longer side.

For validation. In training the same factor goes into the random scale, so that only the crop's
window is resized, not the whole image; see `transforms.augment`.
"""

from panoptic_deeplab.data.base import PanopticDataset, View
from panoptic_deeplab.structures import Sample
from panoptic_deeplab.transforms import Window, crop_ids, crop_image, recount


class Resized(View):
    """Images and truth resized as they are read; see `PanopticDataset`.

    Args:
        dataset: whose images are resized.
        long_side: of each in pixels, whether larger or smaller before.
    """

    def __init__(self, dataset: PanopticDataset, long_side: int) -> None:
        super().__init__(dataset)
        self._long_side = long_side

    def __getitem__(self, index: int, /) -> Sample:
        """Read an image and resize it."""
        sample = self._dataset[index]
        height, width = sample.image.shape[:2]
        factor = self._long_side / max(height, width)
        size = max(1, round(height * factor)), max(1, round(width * factor))
        if size == (height, width):
            return sample
        rows, columns = Window(0, height, size[0], 0), Window(0, width, size[1], 0)
        image = crop_image(sample.image, rows, columns, size)
        if sample.panoptic is None:
            return Sample(image, None, sample.image_id)
        ids = crop_ids(sample.panoptic.segment_map, rows, columns, size)
        return Sample(image, recount(ids, sample.panoptic.segments), sample.image_id)
