"""What every data set offers, whatever its files look like.

A data set is anything with `labels`, a length, and samples by index (`PanopticDataset`); readers
live in their own files, one per format, each with a `write_example(root)` that writes a tiny valid
copy of the format for tests and for trying things out. Pictures are read by `read_image`.
"""

from typing import Protocol, runtime_checkable

from panoptic_deeplab.data.images import read_image
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import PanopticMap, Sample

__all__ = ["PanopticDataset", "View", "read_image", "read_truth"]


@runtime_checkable
class PanopticDataset(Protocol):
    """Images with their truth, by index.

    Implementations can be pickled and hold no open files, so that worker processes may share
    them.
    """

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """Read one image and its truth; `index` is 0..len-1.

        Raises:
            ValueError: naming the file, if it is damaged or contradicts itself.
        """
        ...

    def image_id(self, index: int, /) -> str:
        """The name of one image, without reading it; unique in the data set."""
        ...


class View:
    """A data set seen in another way: named and counted as the one below.

    Args:
        dataset: the one below.
    """

    def __init__(self, dataset: PanopticDataset) -> None:
        self._dataset = dataset

    @property
    def labels(self) -> LabelSpace:
        """The classes."""
        return self._dataset.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._dataset)

    def image_id(self, index: int, /) -> str:
        """Name of an image."""
        return self._dataset.image_id(index)


def read_truth(dataset: PanopticDataset, index: int) -> PanopticMap:
    """The truth of one image, without decoding its picture where the data set can do that.

    Raises:
        FileNotFoundError: naming a missing file.
        ValueError: if a file is damaged, or the image has no truth.
    """
    alone = getattr(dataset, "truth", None)
    truth: PanopticMap | None = dataset[index].panoptic if alone is None else alone(index)
    if truth is None:
        raise ValueError(
            f"Image {dataset.image_id(index)!r} has no labels, evaluation compares with them. "
            "Leave it out of the split."
        )
    return truth
