"""Reader of COCO's panoptic format: one JSON list, one PNG of segment ids per image.

A pixel's segment id is red + 256 green + 65536 blue, 0 is void. Pictures, PNGs and list may lie
in folders or in an uncompressed tar. Every image is checked against its list when it is read.
Format: cocodataset.org/#format-data, "Panoptic Segmentation"; ADE20K comes in it as well.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from panoptic_deeplab.areas import measure_areas
from panoptic_deeplab.data.base import read_image
from panoptic_deeplab.data.coco_list import (
    CocoList,
    ImageEntry,
    read_image_field,
    read_image_fields,
    read_list,
)
from panoptic_deeplab.data.png import fast_ids
from panoptic_deeplab.data.store import Place, Store, TarStore, open_place, open_store
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Sample, Segment

logger = logging.getLogger(__name__)


class CocoPanoptic:
    """Images with labels in COCO's panoptic format.

    Args:
        images: folder or tar of the pictures.
        annotations_json: the list.
        png_folder: folder or tar of the segment ids.
        name: of the label space.
        picture_name: where an entry's picture lies in the folder; None: where the list says.
        prepare: makes a whole list of one that lacks what its format takes for granted.
        known: the list as read before.

    Raises:
        FileNotFoundError: if a folder, the list, or the first listed picture or PNG is missing.
        ValueError: if the list is not as `coco_list.read_list` expects.
    """

    def __init__(
        self,
        images: str | Path | Place,
        annotations_json: str | Path | Place,
        png_folder: str | Path | Place,
        *,
        name: str = "coco",
        picture_name: Callable[[ImageEntry], str] | None = None,
        prepare: Callable[[bytes], bytes] | None = None,
        known: CocoList | None = None,
    ) -> None:
        self._list_source = annotations_json
        self._list = known or open_list(annotations_json, name, prepare)
        if picture_name is not None:
            named = (replace(e, file_name=picture_name(e)) for e in self._list.entries)
            self._list = replace(self._list, entries=tuple(named))
        first = self._list.entries[0]
        self._images = open_place(images, first.file_name)
        self._pngs = open_place(png_folder, first.png_name)
        self._area_reported = False
        for place, file_name in ((self._images, first.file_name), (self._pngs, first.png_name)):
            if not place.has(file_name):
                raise FileNotFoundError(self._missing(place, file_name))

    @property
    def labels(self) -> LabelSpace:
        """The categories of the list, by their ids."""
        return self._list.labels

    def __len__(self) -> int:
        """Number of images with labels."""
        return len(self._list.entries)

    def image_id(self, index: int, /) -> str:
        """The picture's name without ending, or its number in the list if that differs."""
        return self._list.entries[index].image_id

    def picture(self, index: int, /) -> bytes:
        """Content of an image's picture file.

        Raises:
            FileNotFoundError: if it is missing.
        """
        return self._read(self._images, self._list.entries[index].file_name)

    def listed_segments(self, index: int, /) -> tuple[Segment, ...]:
        """An image's segments as the list has them, without reading the image; area -1: none."""
        return self._list.segments_of(self._list.entries[index])

    def image_field(self, field: str) -> dict[str, str]:
        """What the list says of each image under a name such as "image_type", by image id.

        Raises:
            ValueError: if an image has no such field; the message names those there are.
        """
        content = _read_list_file(self._list_source)
        return read_image_field(content, field, name=self._list.name)

    def image_fields(self) -> Counter[str]:
        """Names of such fields, with the number of images that have them."""
        return read_image_fields(_read_list_file(self._list_source), name=self._list.name)

    def __getitem__(self, index: int, /) -> Sample:
        """Read one image and check it against the list.

        Raises:
            FileNotFoundError: naming a missing picture or PNG.
            ValueError: naming the file, and the segment, that is damaged or contradicts the list.
        """
        entry = self._list.entries[index]
        image_name = str(self._images.below(entry.file_name))
        image = read_image(self._read(self._images, entry.file_name), name=image_name)
        png_name = str(self._pngs.below(entry.png_name))
        ids = decode_ids(self._read(self._pngs, entry.png_name), name=png_name)
        if ids.shape != image.shape[:2]:
            raise ValueError(
                f"{png_name}: expected the size of its picture {image_name}, "
                f"{image.shape[0]}x{image.shape[1]} (height x width), got "
                f"{ids.shape[0]}x{ids.shape[1]}. Check that both belong together and that the "
                "picture is not meant to be turned."
            )
        return Sample(image, PanopticMap(ids, self._checked(entry, ids, png_name)), entry.image_id)

    def truth(self, index: int, /) -> PanopticMap:
        """The truth of an image alone, without its picture; checked against the list.

        Raises:
            FileNotFoundError: naming a missing PNG.
            ValueError: naming the PNG, and the segment, that is damaged or contradicts the list.
        """
        entry = self._list.entries[index]
        png_name = str(self._pngs.below(entry.png_name))
        ids = decode_ids(self._read(self._pngs, entry.png_name), name=png_name)
        return PanopticMap(ids, self._checked(entry, ids, png_name))

    def _read(self, place: Place, file_name: str) -> bytes:
        try:
            return place.read(file_name)
        except FileNotFoundError as error:
            raise FileNotFoundError(self._missing(place, file_name)) from error

    def _missing(self, place: Place, file_name: str) -> str:
        return (
            f"{place}: expected {file_name}, which {self._list.name} lists, found no such file. "
            "Restore it, or correct the folder or the list."
        )

    def _checked(
        self, entry: ImageEntry, ids: NDArray[np.int32], png_name: str
    ) -> tuple[Segment, ...]:
        """The image's segments with their counted areas."""
        areas = measure_areas(ids)
        areas.pop(VOID, None)
        segments = []
        for listed in self._list.segments_of(entry):
            area = areas.pop(listed.id, 0)
            if area == 0:
                raise ValueError(
                    f"{png_name}: expected pixels of segment {listed.id} "
                    f"({self.labels.names[listed.class_id]}), which {self._list.name} lists, "
                    "got none. Remove it from the list or restore its pixels."
                )
            self._compare_area(listed, area, png_name)
            is_right = listed.area_px == area  # as mostly; copies of thousands take their time
            segments.append(listed if is_right else replace(listed, area_px=area))
        if areas:
            some = ", ".join(map(str, sorted(areas)[:10])) + (", ..." if len(areas) > 10 else "")
            raise ValueError(
                f"{png_name}: expected only segments that {self._list.name} lists, got {some} "
                "too. List them, or make their pixels 0 (void)."
            )
        return tuple(segments)

    def _compare_area(self, listed: Segment, area: int, png_name: str) -> None:
        if listed.area_px in (area, -1) or self._area_reported:
            return
        self._area_reported = True  # once: a converter that errs, errs everywhere
        logger.warning(
            "%s: segment %d has %d pixels, %s lists %d. Areas are counted anew; further "
            "differences are not reported.",
            *(png_name, listed.id, area, self._list.name, listed.area_px),
        )


def open_coco_panoptic(root: str | Path, split: str) -> CocoPanoptic:
    """Find list, PNGs and pictures of a split in the usual layouts.

    The list is `annotations/panoptic_SPLIT.json`, the PNGs lie in the folder of that name beside
    it or beside `annotations`, the pictures in `SPLIT/` or `images/SPLIT/`, in a tar of that name,
    or in `images/`. A year may follow the split's name, as in val2017. All may lie in one tar.

    Args:
        root: folder of the data set, folder with a tar named `..._SPLIT.tar`, or the tar itself.
        split: such as "train" or "val".

    Raises:
        FileNotFoundError: saying what was looked for where.
        ValueError: if several files fit, or as `CocoPanoptic`.
    """
    store, listing = find_panoptic_list(Path(root), split)
    place = Place(store, listing)
    listed = PurePosixPath(listing).stem  # panoptic_val2017
    name = place.parent.parent.name.removesuffix(".tar").removesuffix(f"_{split}")
    known = open_list(place, name)
    entries = known.entries
    pngs = place.parent.below(listed)
    above = place.parent.parent.below(listed)
    if not pngs.has(entries[0].png_name) and above.has(entries[0].png_name):
        pngs = above
    if not pngs.has(entries[0].png_name):
        packed = place.parent.has(f"{listed}.zip")
        raise FileNotFoundError(
            f"{pngs}: expected the PNGs of {listing}, such as {entries[0].png_name}, found none. "
            + (f"Unpack {listed}.zip there." if packed else "Put them in this folder.")
        )
    folders = dict.fromkeys((listed.removeprefix("panoptic_"), split))
    images = _find_images(place.parent.parent, tuple(folders), entries[0].file_name)
    return CocoPanoptic(images, place, pngs, name=name, known=known)


def decode_ids(content: bytes, *, name: str) -> NDArray[np.int32]:
    """Read segment ids from a PNG.

    Args:
        content: of the PNG.
        name: of the file, for messages.

    Returns:
        (H, W) int32, red + 256 green + 65536 blue.

    Raises:
        ValueError: if it is no 8-bit RGB PNG or is damaged.
    """
    fast = fast_ids(content)
    if fast is not None:
        return fast
    try:
        with Image.open(BytesIO(content)) as image:
            kind = f"{image.format} of mode {image.mode}"
            plain = image.format == "PNG" and image.mode == "RGB" and content[24] == 8
    except (UnidentifiedImageError, OSError, SyntaxError):
        kind, plain = "something else", False
    except Image.DecompressionBombError:
        read_image(content, name=name)  # refuses it in words
    if not plain:
        raise ValueError(
            f"{name}: expected an 8-bit RGB PNG with segment ids as red + 256 green + 65536 blue, "
            f"got {kind}. Write the ids with `CocoPanopticWriter`."
        )
    rgb = read_image(content, name=name)
    rgba = np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA))
    ids = rgba.view("<i4")[..., 0] & 0xFFFFFF  # four bytes read as one number, alpha cleared
    return np.asarray(ids, np.int32)


def open_list(
    where: str | Path | Place,
    labels_name: str,
    prepare: Callable[[bytes], bytes] | None = None,
) -> CocoList:
    """Read and check a list; see `coco_list.read_list`."""
    if prepare is None:  # nothing here holds on to the content, which may be large
        return read_list(_read_list_file(where), name=str(where), labels_name=labels_name)
    whole = prepare(_read_list_file(where))
    return read_list(whole, name=str(where), labels_name=labels_name)


def _read_list_file(where: str | Path | Place) -> bytes:
    try:
        return where.content() if isinstance(where, Place) else Path(where).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{where}: expected the JSON that lists the labels, found no such file. Check the path."
        ) from error


def find_panoptic_list(root: Path, split: str) -> tuple[Store, str]:
    """Where the list of a split lies: in what, and under which name.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if there are several.
    """
    store = open_store(root)
    found = _lists_in(store, split)
    if not found and root.is_dir():
        tars = sorted(p for p in root.glob("*.tar") if re.search(_ending(split), "_" + p.stem))
        if len(tars) > 1:
            names = ", ".join(p.name for p in tars)
            raise ValueError(
                f"{root}: expected one tar of split {split!r}, got {names}. Name the tar itself."
            )
        if tars:
            store = TarStore(tars[0])
            found = _lists_in(store, split)
    if not found:
        raise FileNotFoundError(
            f"{store.root}: expected annotations/panoptic_{split}.json, there or in a folder or "
            f"a tar named ..._{split}.tar below it, found none. Check the folder and the split."
        )
    if len(found) > 1:
        raise ValueError(
            f"{store.root}: expected one list of split {split!r}, got {', '.join(found)}. Name "
            "the folder of one data set."
        )
    return store, found[0]


def _lists_in(store: Store, split: str) -> list[str]:
    """Lists of the split; with a year only if there is none without."""
    names = [n for n in store.names(".json") if PurePosixPath(n).name.startswith("panoptic_")]
    exact = [n for n in names if PurePosixPath(n).stem == f"panoptic_{split}"]
    fitting = [n for n in names if re.search(_ending(split), PurePosixPath(n).stem)]
    return exact or fitting


def _ending(split: str) -> str:
    return rf"[_-]{re.escape(split)}(\d{{4}})?$"


def picture_folders(folders: tuple[str, ...]) -> list[str]:
    """Where pictures may lie, in this order, as folders or as tars."""
    return [*folders, *(f"images/{name}" for name in folders), "images"]


def _find_images(base: Place, folders: tuple[str, ...], example: str) -> Place:
    tried = picture_folders(folders)
    for name in tried:
        if base.below(name).has(example):
            return base.below(name)
        if base.has(f"{name}.tar") and not isinstance(base.store, TarStore):
            return open_place(base.store.root / base.full(f"{name}.tar"), example)
    raise FileNotFoundError(
        f"{base}: expected the pictures, such as {example}, in one of the folders "
        f"{', '.join(tried)}, or a tar of that name, found none. Move them there."
    )
