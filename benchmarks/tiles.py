"""A mosaic of pictures looked at in tiles: memory, time, and quality against its truth.

    python benchmarks/tiles.py                          # 12,000 x 9,000 pixels, tiles of 1024
    python benchmarks/tiles.py --size 1536 3072 --whole # also in one look, to compare quality
    python benchmarks/tiles.py --data facades --weights facades --size 3072 4096 --whole

Drawn street scenes, or validation pictures of a data set, are laid side by side. Scenes are
enlarged twice, as the embedded weights want them. Prediction runs in a process of its own that maps
the mosaic into memory; its peak includes Python and torch. Pooling over the whole map is replaced
by pooling over a window, since a mosaic has another mean than what the weights were trained on.
Needs Linux, for the memory.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from panoptic_deeplab.config import DataConfig
from panoptic_deeplab.data import build_dataset
from panoptic_deeplab.data.base import PanopticDataset
from panoptic_deeplab.data.synthetic import SyntheticStreets
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics import PanopticQuality
from panoptic_deeplab.structures import PanopticMap, Segment, count_ids

Pictures = PanopticDataset | SyntheticStreets

SCENE = (192, 384)
"""Height and width of a scene before it is enlarged."""

PREDICT = """
import sys, time
from pathlib import Path
import numpy as np
from panoptic_deeplab.predict import load
folder, tile, overlap, window = Path(sys.argv[1]), *map(int, sys.argv[3:6])
predictor = load(sys.argv[2])
scale = float(sys.argv[6])
settings = {"tile": tile, "tile_overlap": overlap, "scale": scale, "flip": False}
predictor.inference = predictor.inference.model_copy(update=settings)
predictor.grouping = predictor.grouping.model_copy(update={"top_k": 20_000})  # as tiles allow
for branch in (predictor.model.semantic_decoder, predictor.model.instance_decoder):
    branch.aspp.pooled.window = (window, window)
start = time.perf_counter()
found = predictor.predict(folder / "image.npy" if tile else np.load(folder / "image.npy"))
seconds = time.perf_counter() - start
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM"))
np.save(folder / "found.npy", found.panoptic.segment_map)
np.save(folder / "classes.npy", [(s.id, s.class_id) for s in found.segments])
print(f"{seconds:.1f} {peak:.2f}")
"""


def make_mosaic(folder: Path, size: tuple[int, int], pictures: Pictures) -> PanopticMap:
    """Write `image.npy`; returns the truth, stuff of a class being one segment."""
    height, width = size
    image = np.lib.format.open_memmap(
        folder / "image.npy", mode="w+", dtype=np.uint8, shape=(height, width, 3)
    )
    labels = pictures.labels
    ids = np.zeros(size, np.int32)
    classes = {i + 1: c for i, c in enumerate(labels.stuff_ids)}
    segment_of = {c: i for i, c in classes.items()}
    numbers = itertools.cycle(range(len(pictures)))
    enlarge = 2 if isinstance(pictures, SyntheticStreets) else 1
    tall, wide = (enlarge * side for side in pictures[0].image.shape[:2])
    for top, left in itertools.product(range(0, height, tall), range(0, width, wide)):
        sample = pictures[next(numbers)]
        while sample.image.shape[:2] != (tall // enlarge, wide // enlarge):
            sample = pictures[next(numbers)]
        assert sample.panoptic is not None
        own = np.zeros(sample.panoptic.segment_map.max() + 1, np.int32)
        for segment in sample.panoptic.segments:
            is_thing = labels.is_thing(segment.class_id)
            own[segment.id] = len(classes) + 1 if is_thing else segment_of[segment.class_id]
            if is_thing:
                classes[len(classes) + 1] = segment.class_id
        place = ids[top : top + tall, left : left + wide]
        large = own[sample.panoptic.segment_map].repeat(enlarge, 0).repeat(enlarge, 1)
        place[:] = large[: place.shape[0], : place.shape[1]]
        shown = cv2.resize(sample.image, (wide, tall), interpolation=cv2.INTER_LINEAR)
        image[top : top + tall, left : left + wide] = shown[: place.shape[0], : place.shape[1]]
    image.flush()
    areas = count_ids(ids)
    segments = tuple(Segment(i, classes[i], n) for i, n in areas.items() if i)
    return PanopticMap(ids, segments)


def measure(
    folder: Path, truth: PanopticMap, labels: LabelSpace, words: list[str]
) -> tuple[float, float, float, float]:
    """Seconds, gigabytes at most, PQ and PQ of the things."""
    command = [sys.executable, "-c", PREDICT, str(folder), *words]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    ids = np.load(folder / "found.npy")
    areas = count_ids(ids)
    pairs = np.load(folder / "classes.npy").tolist()
    found = PanopticMap(ids, tuple(Segment(i, c, areas[i]) for i, c in pairs if i in areas))
    metric = PanopticQuality(labels)
    metric.update(found, truth)
    result = metric.result()
    return float(told[0]), float(told[1]), 100 * (result.all.pq or 0), 100 * (result.things.pq or 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(9000, 12000))
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=256)
    parser.add_argument("--window", type=int, default=16, help="of the pooling, at stride 32")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--data", help="folder of a data set; default: drawn street scenes")
    parser.add_argument("--whole", action="store_true")
    chosen = parser.parse_args()
    pictures: Pictures = SyntheticStreets(SCENE, count=400, seed=7)
    if chosen.data:
        config = DataConfig(format="auto", root=chosen.data)
        pictures = build_dataset(config, "val")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = make_mosaic(folder, tuple(chosen.size), pictures)
        things = sum(pictures.labels.is_thing(segment.class_id) for segment in truth.segments)
        print(f"{chosen.size[1]} x {chosen.size[0]}, {things} things")
        for tile in (chosen.tile, 0) if chosen.whole else (chosen.tile,):
            how = f"tiles of {tile}" if tile else "one look"
            words = [chosen.weights, *map(str, (tile, chosen.overlap, chosen.window, chosen.scale))]
            seconds, peak, quality, of_things = measure(folder, truth, pictures.labels, words)
            told = f"{seconds:7.1f} s {peak:6.2f} GB  PQ {quality:.2f}, things {of_things:.2f}"
            print(f"{how:14}{told}", flush=True)


if __name__ == "__main__":
    main()
