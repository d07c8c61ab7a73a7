"""COCO's panoptic list with pictures and PNGs in tar shards, for sets larger than a local disk.

`annotations/panoptic_SPLIT.json` beside `shards/SPLIT-000000.tar` and so on. A sample is named as
WebDataset has it, all its files having one stem: `NAME.jpg` (or .png), `NAME.panoptic.png` with the
segment ids, `NAME.json` with its entry of the list. The last is for programs that stream the tars
without the list; it is not read here.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab.data.coco import CocoPanoptic, find_panoptic_list, open_list
from panoptic_deeplab.data.coco_list import CocoList
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.data.examples import coco_names, write_examples
from panoptic_deeplab.data.format import Format, Source
from panoptic_deeplab.data.pictures import PictureFile
from panoptic_deeplab.data.shard_store import SHARD_BYTES, ShardStore, ShardWriter
from panoptic_deeplab.data.store import Place
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import Sample

FOLDER = "shards"
"""Of the tars, in the data set's root."""


class ShardedPanoptic(CocoPanoptic):
    """Images with labels in tar shards.

    Args:
        store: the shards.
        listing: the COCO list.
        known: the list as read before.

    Raises:
        FileNotFoundError: if the list names a file that no shard has.
        ValueError: if the list is faulty.
    """

    def __init__(self, store: ShardStore, listing: Place, known: CocoList) -> None:
        super().__init__(Place(store), listing, Place(store), known=known)
        self._shards = np.empty(len(self), np.int64)
        for i, entry in enumerate(self._list.entries):
            for file_name in (entry.file_name, entry.png_name):
                if not store.has(file_name):
                    raise FileNotFoundError(self._missing(Place(store), file_name))
            self._shards[i] = store.shard_of(entry.file_name)

    @property
    def shards(self) -> NDArray[np.int64]:
        """(N,), the number of the shard that each image lies in; see `order.shard_order`."""
        return self._shards


class TarShardWriter:
    """Writes shards, and their list at the end.

    Args:
        root: of the data set.
        split: such as "train".
        labels: classes of the segments.
        shard_bytes: when a shard is full.
    """

    def __init__(
        self, root: Path, split: str, labels: LabelSpace, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._shards = ShardWriter(root / FOLDER, split, shard_bytes)
        self._pngs: dict[str, bytes] = {}
        self._writer = CocoPanopticWriter(
            root / "annotations", labels, name=f"panoptic_{split}", put=self._pngs.__setitem__
        )

    def add(self, sample: Sample, picture: PictureFile) -> str:
        """Write an image; dots in its name become underscores, since a dot ends the stem."""
        assert sample.panoptic is not None
        name = sample.image_id.replace(".", "_")
        file_name, png_name = f"{name}{picture.ending}", f"{name}.panoptic.png"
        self._writer.add(name, sample.panoptic, file_name=file_name, png_name=png_name)
        self._shards.add(
            {
                file_name: picture.content,
                png_name: self._pngs.pop(png_name),
                f"{name}.json": json.dumps(self._writer.last).encode(),
            }
        )
        return name

    def close(self) -> None:
        """Close the last shard, then write the list."""
        self._shards.close()
        self._writer.close()


def find_shards(source: Source) -> tuple[Path, Place]:
    """The folder of the shards, and the list of a split.

    Raises:
        FileNotFoundError: if either is missing.
    """
    folder = source.root / FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: expected the tars of the data set there, found no such folder. Write them "
            "with `data convert --to tar-shards`."
        )
    store, listing = find_panoptic_list(source.root, source.split)
    return folder, Place(store, listing)


def detect_tar_shards(root: Path) -> str | None:
    """Know it by a first shard beside a list."""
    for path in sorted(root.glob(f"{FOLDER}/*-000000.tar")):
        split = path.stem.removesuffix("-000000")
        if (root / "annotations" / f"panoptic_{split}.json").is_file():
            return str(path.relative_to(root))
    return None


def _open(source: Source) -> ShardedPanoptic:
    folder, listing = find_shards(source)
    # The list first: reading it takes more memory for a while, which the index then gets.
    known = open_list(listing, source.root.resolve().name)
    return ShardedPanoptic(ShardStore(folder, source.split), listing, known)


TAR_SHARDS = Format(
    title="COCO panoptic in tar shards",
    open=_open,
    detect=detect_tar_shards,
    writer=TarShardWriter,
    write_example=partial(write_examples, TarShardWriter, names=coco_names),
)
