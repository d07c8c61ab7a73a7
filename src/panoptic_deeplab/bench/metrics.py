"""Panoptic quality of one image: joint counts against one mask per pair of segments."""

from collections.abc import Callable

import numpy as np
from rich.progress import Progress

from panoptic_deeplab.bench.measure import REFERENCE, Row, table
from panoptic_deeplab.bench.scenes import Scene, disturb, draw_map, label_space
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.metrics import AveragePrecision, MeanIoU, PanopticQuality
from panoptic_deeplab.metrics.joint import count_joint
from panoptic_deeplab.structures import VOID, PanopticMap


def masked_reference(
    prediction: PanopticMap, truth: PanopticMap, labels: LabelSpace
) -> tuple[int, int, int, float]:
    """Count matches with masks: of each pair of segments of one class, their common pixels.

    Returns:
        Matches, false alarms, misses, and the sum of the matches' IoUs, over all classes.
    """
    matches, iou_sum = 0, 0.0
    true_masks = [(s.class_id, truth.segment_map == s.id) for s in truth.segments]
    void = truth.segment_map == VOID
    excused = 0
    for segment in prediction.segments:
        mask = prediction.segment_map == segment.id
        found = False
        for class_id, true_mask in true_masks:
            if class_id != segment.class_id:
                continue
            common = (mask & true_mask).sum()
            iou = common / ((mask | true_mask).sum() - (mask & void).sum())
            if iou > 0.5:
                matches, iou_sum, found = matches + 1, iou_sum + float(iou), True
        excused += not found and (mask & void).sum() / mask.sum() > 0.5
    num_predicted = len(prediction.segments)
    return matches, num_predicted - matches - excused, len(truth.segments) - matches, iou_sum


def bench_metrics(
    scene: Scene,
    *,
    repeats: int = 5,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Compare panoptic quality, and all three metrics together, with the reference's PQ.

    Args:
        scene: what is drawn.
        repeats: of each.
        progress: shows the rounds.

    Returns:
        For "panoptic quality", "all metrics" and "reference": milliseconds, speedup over the
        reference, peak_mb and floor_milliseconds (reading both maps once).
    """
    labels = label_space(scene.num_classes)
    rng = np.random.default_rng(0)
    truth = draw_map(scene.size, scene.num_things, labels, rng)
    prediction = disturb(truth, rng)

    def all_metrics() -> None:
        joint = count_joint(prediction, truth)
        PanopticQuality(labels).update(prediction, truth, joint=joint)
        MeanIoU(labels).update(prediction, truth, joint=joint)
        AveragePrecision(labels).update(prediction, truth, joint=joint)

    functions: dict[str, Callable[[], object]] = {
        "panoptic quality": lambda: PanopticQuality(labels).update(prediction, truth),
        "all metrics": all_metrics,
        REFERENCE: lambda: masked_reference(prediction, truth, labels),
    }
    num_bytes = 8 * scene.size[0] * scene.size[1]
    return table(functions, num_bytes=num_bytes, repeats=repeats, progress=progress)
