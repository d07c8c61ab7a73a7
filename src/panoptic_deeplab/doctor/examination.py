"""Examines all images of a data set, in several processes, and sums up what was found."""

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import cv2
from rich.progress import Progress

from panoptic_deeplab.data.format import Source
from panoptic_deeplab.doctor.across import compare
from panoptic_deeplab.doctor.examined import Facts, Split
from panoptic_deeplab.doctor.faults import Finding
from panoptic_deeplab.doctor.open_splits import open_split
from panoptic_deeplab.doctor.report import Report

USUAL = ("train", "val", "test")
"""Splits that are looked for; a missing test split is not worth a word."""

_CHUNK = 8  # images per task: enough to hide the cost of handing them over
_ALONE = 32  # up to so many images, starting processes would take longer than reading


def check(
    format_name: str,
    source: Source,
    *,
    splits: Sequence[str] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Look for every fault of `FAULTS` in a data set.

    Args:
        format_name: in `DATASETS`.
        source: where it lies; its split does not matter.
        splits: which parts; default: those of `USUAL` that are there.
        workers: processes; 0: one per processor.
        progress: shows how far it is.

    Raises:
        FileNotFoundError: if a named split is not there, or none of the usual ones.
        ValueError: if a process ended before its time.
    """
    opened, findings = _open(format_name, source, splits)
    facts = _examine(list(opened.values()), workers or os.cpu_count() or 1, progress)
    by_split = dict(zip(opened, facts, strict=True))
    labels = {name: split.labels for name, split in opened.items()}
    for name, split in opened.items():
        findings += split.findings
        findings += [f for fact in by_split[name] for f in fact.findings]
    if opened:
        findings += compare(by_split, labels)
    return Report(str(source.root), format_name, opened, by_split, _once(findings))


def _open(
    format_name: str, source: Source, splits: Sequence[str]
) -> tuple[dict[str, Split], list[Finding]]:
    opened: dict[str, Split] = {}
    findings: list[Finding] = []
    missing: list[FileNotFoundError] = []
    for name in splits or USUAL:
        try:
            found = open_split(format_name, replace(source, split=name))
        except FileNotFoundError as error:
            if splits:
                raise
            missing.append(error)
            if name != "test":
                findings.append(Finding("missing-split", name, str(source.root), str(error)))
            continue
        if isinstance(found, list):
            findings += found
        else:
            opened[name] = found
    if not opened and len(missing) == len(splits or USUAL):
        raise missing[0]
    return opened, findings


def _once(findings: list[Finding]) -> list[Finding]:
    """Without doubles: splits drawn by a rule meet the same lonely files."""
    return list({(f.kind, f.where, f.what): f for f in findings}.values())


def _examine(splits: list[Split], workers: int, progress: Progress | None) -> list[list[Facts]]:
    total = sum(map(len, splits))
    task = progress.add_task("checking", total=total) if progress is not None else None
    tasks = [
        (number, range(first, min(first + _CHUNK, len(split))))
        for number, split in enumerate(splits)
        for first in range(0, len(split), _CHUNK)
    ]
    found: list[list[Facts]] = [[] for _ in splits]

    def take(number: int, facts: list[Facts]) -> None:
        found[number] += facts
        if progress is not None and task is not None:
            progress.advance(task, len(facts))

    if workers == 1 or total <= _ALONE:
        for number, indices in tasks:
            take(number, _facts(splits[number], indices))
        return found
    pool = ProcessPoolExecutor(workers, initializer=_begin, initargs=(splits,))
    try:
        futures = {pool.submit(_work, *task): task[0] for task in tasks}
        for future in as_completed(futures):
            take(futures[future], future.result())
    except BrokenProcessPool as error:
        raise ValueError(
            "A process that examined images was ended from outside, mostly for want of memory. "
            "Use fewer: --workers 1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return [sorted(facts, key=lambda f: f.index) for facts in found]


_splits: list[Split] = []  # of a worker process


def _begin(splits: list[Split]) -> None:
    _splits[:] = splits
    cv2.setNumThreads(0)  # processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides when to end


def _work(number: int, indices: range) -> list[Facts]:
    return _facts(_splits[number], indices)


def _facts(split: Split, indices: range) -> list[Facts]:
    return [split.examine(index).facts for index in indices]
