"""A recipe's schedule for another batch than its own."""

from panoptic_deeplab.config import ScheduleConfig


def scale_schedule(schedule: ScheduleConfig, batch_size: int) -> ScheduleConfig:
    """Adapt learning rate and steps to a batch, so that as many images are seen.

    The rate grows with the batch, the steps and the warm-up shrink with it (linear scaling,
    arXiv:1706.02677). That rule was found with SGD from 256 to 8,192 images; with Adam and batches
    a quarter or less of the recipe's, try a higher rate too.

    Args:
        schedule: of the recipe.
        batch_size: images per step, over all processes.

    Raises:
        ValueError: if the batch is not positive.

    Example:
        >>> small = scale_schedule(ScheduleConfig(batch_size=32, iterations=60_000), 8)
        >>> small.learning_rate, small.iterations
        (0.00025, 240000)
    """
    if batch_size < 1:
        raise ValueError(f"A batch has one image or more, got {batch_size}.")
    factor = batch_size / schedule.batch_size
    return schedule.model_copy(
        update={
            "batch_size": batch_size,
            "learning_rate": schedule.learning_rate * factor,
            "iterations": max(1, round(schedule.iterations / factor)),
            "warmup_iterations": round(schedule.warmup_iterations / factor),
        }
    )
