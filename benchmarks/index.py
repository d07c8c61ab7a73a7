"""How long a hundred thousand small images take to be listed, and how much memory that needs.

    python benchmarks/index.py

Makes, in a temporary folder, a COCO panoptic list with ten segments per image, Cityscapes' folders
with empty files, and tar shards of empty files, and opens each in a process of its own. Needs
Linux, for the memory.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from panoptic_deeplab.data.shard_store import ShardWriter

OPEN = """
import sys, time
from pathlib import Path
from panoptic_deeplab.data.format import Source
from panoptic_deeplab.data.formats import DATASETS
def most_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
before, start = most_mb(), time.perf_counter()
dataset = DATASETS[sys.argv[1]].open(Source(Path(sys.argv[2]), "train"))
seconds = time.perf_counter() - start
print(f"{sys.argv[1]:16}{len(dataset):8} images {seconds:6.1f} s {most_mb():5} MB, {before} before")
"""


def make_coco(root: Path, count: int) -> None:
    """A list; of pictures and PNGs only the first, which opening looks for."""
    chance = random.Random(0)
    categories = [{"id": i + 1, "name": f"class {i}", "isthing": int(i < 80)} for i in range(133)]
    images = [
        {"id": i, "file_name": f"{i:012d}.jpg", "height": 64, "width": 64} for i in range(count)
    ]
    annotations = [
        {
            "image_id": i,
            "file_name": f"{i:012d}.png",
            "segments_info": [
                {
                    "id": number,
                    "category_id": chance.randrange(1, 134),
                    "area": chance.randrange(1, 4096),
                    "bbox": [chance.randrange(54), chance.randrange(54), 10, 10],
                    "iscrowd": 0,
                }
                for number in chance.sample(range(1, 2**24), 10)
            ],
        }
        for i in range(count)
    ]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    for path in ("train/000000000000.jpg", "annotations/panoptic_train/000000000000.png"):
        (root / path).parent.mkdir(parents=True)
        (root / path).touch()
    (root / "annotations/panoptic_train.json").write_text(json.dumps(whole))


def make_cityscapes(root: Path, count: int) -> None:
    """A hundred cities."""
    for city in range(100):
        for folder, ending in (
            ("leftImg8bit", "leftImg8bit"),
            ("gtFine", "gtFine_instanceIds"),
        ):
            place = root / folder / "train" / f"city{city:02d}"
            place.mkdir(parents=True)
            for i in range(count // 100):
                (place / f"city{city:02d}_{i:06d}_000000_{ending}.png").touch()


def make_tar_shards(root: Path, count: int) -> None:
    """The same list, with as many files in tars as it names."""
    make_coco(root, count)
    writer = ShardWriter(root / "shards", "train")
    for i in range(count):
        name = f"{i:012d}"
        writer.add({f"{name}.jpg": b"", f"{name}.png": b"", f"{name}.json": b""})
    writer.close()


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    makers = {
        "coco_panoptic": make_coco,
        "cityscapes": make_cityscapes,
        "tar_shards": make_tar_shards,
    }
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), count)
            subprocess.run([sys.executable, "-c", OPEN, name, folder], check=True)


if __name__ == "__main__":
    main()
