"""Many image files in, a folder of results out; a file that cannot be read does not stop the rest.

The folder gets what any reader of COCO's panoptic format opens, and pictures to look at:

    predictions.json            all images: segments with class, area, box and score
    predictions/NAME.png        segment ids as red + 256 green + 65536 blue
    overlays/NAME.jpg           colours, outlines and names over the image

Results of an earlier run are replaced where names agree and stay where they do not, with a
warning. The list names those of this run; where not one image can be done, the old list stays.
"""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.progress import Progress

from panoptic_deeplab.data.coco_list import image_number
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.files import make_folder, write_whole
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.render import readable_scale

LIST_NAME = "predictions"
OVERLAYS = "overlays"

IMAGE_SUFFIXES = frozenset(
    ".bmp .gif .jpeg .jpg .jp2 .pbm .pgm .png .pnm .ppm .tif .tiff .webp .avif".split()
)
"""What is taken from a folder; a file named by itself may have any suffix."""


@dataclass
class FileResults:
    """What became of each file.

    Attributes:
        done: path -> its segments as plain dicts: class, area in pixels, score.
        failed: path -> what was wrong, in a sentence.
    """

    done: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dicts, for JSON."""
        return {
            "images": [{"image": str(p), "segments": s} for p, s in self.done.items()],
            "failed": [{"image": str(p), "error": e} for p, e in self.failed.items()],
        }


def find_images(inputs: Sequence[str]) -> list[Path]:
    """Turn files, folders and glob patterns into a list of files, in order, each once.

    Args:
        inputs: a folder stands for the images directly in it; `**` in a pattern for any depth.

    Raises:
        FileNotFoundError: if one of them stands for nothing.
    """
    found: dict[str, Path] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not images:
                raise FileNotFoundError(_empty_folder(path))
        elif path.exists() or not glob.has_magic(name):
            images = [path]  # if it is missing, that is reported with the other failures
        else:
            fitting = glob.glob(name, recursive=True)  # noqa: PTH207 - Path.glob: no absolute ones
            images = sorted(p for p in map(Path, fitting) if p.is_file())
            if not images:
                raise FileNotFoundError(f"No file fits the pattern {name!r}. Check the path.")
        for image in images:
            found.setdefault(os.path.abspath(image), image)  # noqa: PTH100 - resolves "..", not links
    if not found:
        raise FileNotFoundError("Expected at least one image file, folder or pattern, got none.")
    return list(found.values())


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: str | Path,
    *,
    progress: Progress | None = None,
) -> FileResults:
    """Predict images and write the results; see the head of this file.

    Args:
        predictor: see `predict.load`.
        paths: of the images.
        out: folder, made if missing.
        progress: shows how far it is.

    Returns:
        What was done, and what failed because it could not be read or was too large.

    Raises:
        OSError: if the folder cannot be written.
    """
    results = FileResults()
    out = make_folder(out)
    names = _names(paths)
    task = progress.add_task("predicting", total=len(paths)) if progress else None
    writer = CocoPanopticWriter(out, predictor.labels, name=LIST_NAME)
    for path in paths:
        try:
            prediction = predictor.predict(path)
        except (ValueError, OSError, MemoryError) as error:  # nothing is written here
            results.failed[path] = str(error)
        else:
            writer.add(names[path], prediction.panoptic, file_name=path.name)
            write_whole(out / OVERLAYS / f"{names[path]}.jpg", encode_overlay(prediction))
            results.done[path] = _listed(prediction)
        if progress is not None and task is not None:
            progress.advance(task)
    if results.done:
        writer.close()
    return results


def encode_overlay(prediction: Prediction) -> bytes:
    """The overlay as a JPEG, small images enlarged so that names can be read."""
    buffer = BytesIO()
    picture: Image.Image = prediction.overlay(scale=readable_scale(prediction.panoptic.size))
    picture.save(buffer, "JPEG", quality=92)  # by eye: no visible fringes around thin outlines
    return buffer.getvalue()


def _listed(prediction: Prediction) -> list[dict[str, Any]]:
    names = prediction.labels.names
    return [
        {"id": s.id, "class": names[s.class_id], "area_px": s.area_px, "score": s.score}
        for s in prediction.segments
    ]


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each image's results: its path below the common folder, without its suffix.

    Where that would be the same for two images (a.jpg and a.png, or 7.png and 007.png, which a
    list knows by one number), the suffix stays.
    """
    absolute = [Path(os.path.abspath(p)) for p in paths]  # noqa: PTH100 - resolves "..", not links
    base = os.path.commonpath([p.parent for p in absolute])
    below = [p.relative_to(base) for p in absolute]
    whole = {p.as_posix() for p in below}
    bare = [p.with_suffix("").as_posix() for p in below]
    alike = Counter(map(image_number, bare))
    return {
        path: short if alike[image_number(short)] == 1 and short not in whole else long.as_posix()
        for path, short, long in zip(paths, bare, below, strict=True)
    }


def _empty_folder(path: Path) -> str:
    suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
    if any(p.is_dir() for p in path.iterdir()):
        hint = f"For images in its subfolders pass the pattern '{path}/**/*.jpg'."
    else:
        hint = "Check the path."
    return f"{path}: expected images ({suffixes}), the folder has none. {hint}"
