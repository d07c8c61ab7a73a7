"""The network on a CPU: as built, in torch's own order of memory, against `optimize`'s copy."""

from collections.abc import Callable
from functools import partial

import torch
from rich.progress import Progress
from torch import Tensor, nn

from panoptic_deeplab.bench.measure import REFERENCE, Row, table
from panoptic_deeplab.config import ModelConfig, Size
from panoptic_deeplab.model import build_model


def bench_network(
    *,
    backbone: str = "resnet52",
    size: Size = (512, 1024),
    num_classes: int = 19,
    with_bfloat16: bool = True,
    repeats: int = 5,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Compare the network's forms on one random image, with random weights.

    Args:
        backbone: name in `BACKBONES`, or `timm:NAME`.
        size: (H, W).
        num_classes: K.
        with_bfloat16: time that form too; slow on processors without instructions for it.
        repeats: of each.
        progress: shows the rounds.

    Returns:
        For "float32", "bfloat16" and "reference" (plain, contiguous): milliseconds, speedup over
        the reference, peak_mb, floor_milliseconds (reading weights and image, writing the heads
        once), and error: the largest difference of a head to the reference's, in parts of that
        head's largest value.

    Raises:
        ValueError: if the backbone is unknown.
    """
    plain = build_model(ModelConfig(backbone=backbone), num_classes).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8)
    models: dict[str, nn.Module] = {"float32": plain.optimize_for_inference()}
    if with_bfloat16:
        models["bfloat16"] = plain.optimize_for_inference(dtype=torch.bfloat16)
    models[REFERENCE] = plain
    functions: dict[str, Callable[[], object]] = {
        name: partial(_run, model, image) for name, model in models.items()
    }
    with torch.inference_mode():
        expected = plain(image)
        num_bytes = image.numel() + 4 * sum(x.numel() for x in (*plain.parameters(), *expected))
        rows = table(functions, num_bytes=num_bytes, repeats=repeats, progress=progress)
        for name, model in models.items():
            rows[name]["error"] = max(
                float((a - b).abs().max() / b.abs().max())
                for a, b in zip(model(image), expected, strict=True)
            )
    return rows


def _run(model: nn.Module, image: Tensor) -> None:
    model(image)
