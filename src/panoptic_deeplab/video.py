"""Videos: frames in, frames with segments out, with ids that last.

In: a video file, a camera, or a folder of frames. Out: a video with overlays, or a folder like that
of `predict_files`. The next frame is read while the network looks at one, and the one before is
drawn and written meanwhile; of each there is one, so memory does not grow with the length.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from panoptic_deeplab.data.ahead import fetched_ahead
from panoptic_deeplab.data.coco_writer import CocoPanopticWriter
from panoptic_deeplab.data.images import read_image
from panoptic_deeplab.files import check_place, make_folder, write_whole
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.predict_files import LIST_NAME, OVERLAYS, encode_overlay, find_images
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.tracks import Tracks

VIDEO_ENDINGS = (".mp4", ".avi")
USUAL_RATE = 25.0
"""Frames per second where the source does not tell."""

logger = logging.getLogger(__name__)

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """Frames to come.

    Attributes:
        frames: (H, W, 3) uint8 RGB, one after the other.
        rate: per second.
        count: how many there should be; None: nobody knows.
    """

    frames: Iterator[Frame]
    rate: float
    count: int | None


@dataclass
class Summary:
    """What became of a video.

    Attributes:
        frames: done.
        things: different ones, by their lasting ids.
        seconds: in all.
        read_seconds: of them spent waiting for frames.
        predict_seconds: spent by network and grouping.
        write_seconds: of drawing and writing, most of it beside the rest.
        out: where the result is.
        interrupted: whether it was ended before its time.
    """

    frames: int = 0
    things: int = 0
    seconds: float = 0.0
    read_seconds: float = 0.0
    predict_seconds: float = 0.0
    write_seconds: float = 0.0
    out: str = ""
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with frames per second."""
        rate = self.frames / self.seconds if self.seconds else 0.0
        return asdict(self) | {"frames_per_second": round(rate, 3)}


def open_frames(source: str | int) -> Source:
    """Open a video file, a folder or pattern of frames, or a camera by its number.

    Raises:
        FileNotFoundError: if there is no such file or camera.
        ValueError: if the file is no video, or has no frame.
    """
    if isinstance(source, str) and (Path(source).is_dir() or not Path(source).is_file()):
        images = find_images([source])
        if not images[0].is_file():
            raise FileNotFoundError(f"Expected a video or a folder of frames at {source}.")
        return Source((read_image(path) for path in images), USUAL_RATE, len(images))
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        if isinstance(source, int):
            raise FileNotFoundError(f"There is no camera {source}, or another program has it.")
        raise ValueError(
            f"{source}: expected a video, OpenCV finds none in it. Check the file, or convert it "
            "to MP4."
        )
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    known = count if isinstance(source, str) and count > 0 else None
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return Source(_captured(capture, source, known), rate if rate > 0 else USUAL_RATE, known)


def _captured(capture: cv2.VideoCapture, source: str | int, count: int | None) -> Iterator[Frame]:
    done = 0
    try:
        while True:
            found, bgr = capture.read()
            if not found:
                break
            done += 1
            yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()
    if not done:
        raise ValueError(f"{source}: expected frames, the video has none. Was it cut short?")
    if count is not None and done < count:
        logger.warning("%s ends after %d of %d frames, it may be cut short.", source, done, count)


def predict_video(
    predictor: Predictor,
    source: Source,
    out: str | Path,
    *,
    most: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Predict frame by frame, link the things, draw and write.

    Args:
        predictor: see `predict.load`.
        source: see `open_frames`.
        out: a video (.mp4, .avi), which appears when it is whole, or a folder.
        most: frames; 0: all.
        progress: shows how far it is.

    Returns:
        What was done. Interrupted by Ctrl-C, what there is so far is a whole video or folder.

    Raises:
        ValueError: if a frame cannot be read, or nothing was.
        OSError: if the result cannot be written.
    """
    summary, seen = Summary(out=str(out)), set[int]()
    tracks = Tracks(predictor.labels)
    started = time.perf_counter()
    total = min(filter(None, (most or None, source.count)), default=None)
    task = progress.add_task("frames", total=total) if progress else None
    with ExitStack() as stack:
        write = stack.enter_context(_Writer(Path(out), predictor, source.rate))
        thread = stack.enter_context(ThreadPoolExecutor(1, "draw"))
        writing: Future[float] | None = None
        frames = fetched_ahead(source.frames)
        try:
            while not most or summary.frames < most:
                before = time.perf_counter()
                frame = next(frames, None)
                summary.read_seconds += time.perf_counter() - before
                if frame is None:
                    break
                before = time.perf_counter()
                found = predictor.predict(frame)
                linked = tracks.link(found.panoptic)
                summary.predict_seconds += time.perf_counter() - before
                seen |= {s.id for s in linked.segments if predictor.labels.is_thing(s.class_id)}
                if writing is not None:
                    summary.write_seconds += writing.result()
                writing = thread.submit(
                    _timed(write.add), replace(found, panoptic=linked), summary.frames
                )
                summary.frames += 1
                if progress is not None and task is not None:
                    progress.advance(task)
        except KeyboardInterrupt:
            summary.interrupted = True
        if writing is not None:
            summary.write_seconds += writing.result()
        if not summary.frames:
            raise ValueError("Expected frames, got none. Nothing was written.")
    summary.things = len(seen)
    summary.seconds = time.perf_counter() - started
    return summary


def _timed(work: Callable[[Prediction, int], None]) -> Callable[[Prediction, int], float]:
    def timed(prediction: Prediction, number: int) -> float:
        before = time.perf_counter()
        work(prediction, number)
        return time.perf_counter() - before

    return timed


class _Writer:
    """Writes frames, into a video beside its place or into a folder; whole at its end."""

    def __init__(self, out: Path, predictor: Predictor, rate: float) -> None:
        self._out, self._rate = out, rate
        self._video: cv2.VideoWriter | None = None
        self._list: CocoPanopticWriter | None = None
        self._done = 0
        if out.suffix.lower() in VIDEO_ENDINGS:
            check_place(out)
            self._part = out.with_name(f".{out.stem}.part{out.suffix}")
        elif out.suffix:
            raise ValueError(
                f"A result is a folder, or a video that ends in {' or '.join(VIDEO_ENDINGS)}, got "
                f"{out}."
            )
        else:
            self._list = CocoPanopticWriter(make_folder(out), predictor.labels, name=LIST_NAME)

    def __enter__(self) -> "_Writer":
        return self

    def add(self, prediction: Prediction, number: int) -> None:
        """Draw and write one frame."""
        if self._list is not None:
            name = f"{number:06d}"
            self._list.add(name, prediction.panoptic)
            write_whole(self._out / OVERLAYS / f"{name}.jpg", encode_overlay(prediction))
        else:
            picture = np.asarray(prediction.overlay())
            if self._video is None:
                kind = "mp4v" if self._out.suffix.lower() == ".mp4" else "MJPG"
                code = cv2.VideoWriter.fourcc(*kind)
                size = (picture.shape[1], picture.shape[0])
                self._video = cv2.VideoWriter(str(self._part), code, self._rate, size)
                if not self._video.isOpened():
                    raise OSError(f"OpenCV cannot write a video at {self._out}. Try a folder.")
            self._video.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._done += 1

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._video is not None:
            self._video.release()
            if kind is None:
                self._part.replace(self._out)
            else:
                self._part.unlink(missing_ok=True)
        if self._list is not None and self._done and kind is None:
            self._list.close()
