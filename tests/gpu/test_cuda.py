"""What runs on a GPU gives what a CPU gives: `make test-gpu`, on a machine with CUDA.

Convolutions and products compute in full float32 here, so that results can be compared; the lower
precisions have bounds of their own.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import panoptic_deeplab
from panoptic_deeplab.bench.scenes import draw_heads, label_space
from panoptic_deeplab.config import (
    AugmentConfig,
    DataConfig,
    Experiment,
    GroupingConfig,
    InferenceConfig,
    LossConfig,
    RunConfig,
    ScheduleConfig,
)
from panoptic_deeplab.data.loading import TrainingSet
from panoptic_deeplab.data.synthetic import LABELS, MIN_SIZE, SyntheticStreets
from panoptic_deeplab.evaluate import evaluate
from panoptic_deeplab.grouping import group_outputs
from panoptic_deeplab.model import build_model
from panoptic_deeplab.predict import Predictor
from panoptic_deeplab.processes import ALONE
from panoptic_deeplab.stepping import Gradients, backward, backward_that_fits, compiled
from panoptic_deeplab.structures import Batch, Outputs, PanopticMap
from panoptic_deeplab.train import run, train
from panoptic_deeplab.training import build
from tiny import TINY_MODEL

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA"),
]

CUDA = torch.device("cuda")
SIZE = (MIN_SIZE, MIN_SIZE)
HEADS = label_space(19)


@pytest.fixture(autouse=True)
def _full_float32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def settings(**schedule: object) -> Experiment:
    return Experiment(
        model=TINY_MODEL.model_copy(update={"aspp_dropout": 0.0}),
        data=DataConfig(size=SIZE, val_images=3, train_images=8, workers=2),
        augment=AugmentConfig(crop_size=SIZE, min_scale=1.0),
        loss=LossConfig(hardest_fraction=1.0),
        grouping=GroupingConfig(threshold=0.0, top_k=20, stuff_area_px=1),
        schedule=ScheduleConfig(
            **{"iterations": 6, "batch_size": 4, "precision": "float32", **schedule}  # type: ignore[arg-type]
        ),
        run=RunConfig(log_every=1, validate_every=3, checkpoint_every=3, pictures=1),
    )


def batch(device: torch.device) -> Batch:
    stream = TrainingSet(SyntheticStreets(SIZE, 4, 0), settings())
    made = torch.utils.data.default_collate([stream[i] for i in range(4)])
    return Batch(made.image.to(device), type(made.targets)(*(t.to(device) for t in made.targets)))


def step(device: torch.device, dtype: torch.dtype = torch.float32, **changed: object) -> Gradients:
    """Losses and the gradients' norm of the first step."""
    torch.manual_seed(0)
    model = build_model(settings().model, LABELS.num_classes).train()
    model.backbone.checkpointing = bool(changed.get("checkpointing"))
    model.to(device, memory_format=torch.channels_last)
    network = compiled(model, device) if changed.get("compile") else model
    return backward(network, model, batch(device), settings(), ALONE, parts=1, dtype=dtype)


@pytest.fixture(scope="module")
def on_cpu() -> Gradients:
    return step(torch.device("cpu"))


def assert_close(found: Gradients, expected: Gradients, tolerance: float) -> None:
    for name, ours, theirs in zip(
        expected.losses._fields, found.losses, expected.losses, strict=True
    ):
        assert ours.item() == pytest.approx(theirs.item(), rel=tolerance), name
    assert found.is_finite
    assert found.norm == pytest.approx(expected.norm, rel=10 * tolerance)


@pytest.mark.parametrize("kind", ["eager", "compile", "checkpointing"])
def test_a_step_equals_the_cpus(kind: str, on_cpu: Gradients) -> None:
    assert_close(step(CUDA, **{kind: True}), on_cpu, 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_in_lower_precision(dtype: torch.dtype, on_cpu: Gradients) -> None:
    assert_close(step(CUDA, dtype), on_cpu, 3e-2)


def test_a_batch_that_does_not_fit_is_computed_in_parts() -> None:
    images = torch.randint(0, 256, (16, 3, 257, 257), dtype=torch.uint8, device=CUDA)
    whole = batch(CUDA)
    targets = type(whole.targets)(
        *(
            torch.nn.functional.interpolate(
                t[:, None].float() if t.ndim == 3 else t.float(), size=(257, 257)
            ).repeat(4, 1, 1, 1)
            for t in whole.targets
        )
    )
    shaped = type(targets)(
        *(
            new[:, 0].to(old.dtype) if old.ndim == 3 else new.to(old.dtype)
            for new, old in zip(targets, whole.targets, strict=True)
        )
    )
    model = build_model(settings().model, LABELS.num_classes).train().to(CUDA)

    def attempt() -> tuple[Gradients, int]:
        model.zero_grad(set_to_none=True)
        return backward_that_fits(
            model,
            model,
            Batch(images, shaped),
            settings(),
            ALONE,
            parts=1,
            dtype=torch.float32,
        )

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert attempt()[1] == 1
    base, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((base + 0.6 * (peak - base)) / total)
    try:
        found, parts = attempt()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert parts > 1
    assert found.is_finite


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"precision": "bfloat16", "ema_decay": 0.9, "clip_norm": 5.0, "accumulate": 2},
        {"precision": "float16"},
    ],
    ids=["float32", "bfloat16", "float16"],
)
def test_a_run_ends_and_resumes(changed: dict[str, object], tmp_path: Path) -> None:
    experiment, out = settings(**changed), tmp_path / "run"
    model = train(experiment, out)
    assert panoptic_deeplab.load(model).device.type == "cuda"
    losses = losses_of(out)
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]

    stopped = build(experiment, tmp_path / "stopped", resume=False, device=None)
    stopped.stop = True  # after its first step
    with stopped.journal:
        run(stopped, None)
    train(experiment, tmp_path / "stopped", resume=True)
    assert losses_of(tmp_path / "stopped") == pytest.approx(losses, rel=0.05)


def losses_of(out: Path) -> dict[int, float]:
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {entry["step"]: entry["loss"]["total"] for entry in entries if entry["kind"] == "train"}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("things", [0, 5, 80])
@pytest.mark.parametrize("resized", [False, True])
def test_the_tensor_back_end_equals_the_plain_one(
    align_corners: bool, things: int, resized: bool
) -> None:
    outputs = Outputs(*(head.to(CUDA) for head in draw_heads((256, 512), things, HEADS)))
    size = (253, 509) if align_corners else (256, 512)
    sizes = {"crop_size": (240, 500), "output_size": (361, 750)} if resized else {}

    def group(backend: str) -> PanopticMap:
        (found,) = group_outputs(
            outputs,
            HEADS,
            size=size,
            align_corners=align_corners,
            backend=backend,  # type: ignore[arg-type]
            **sizes,
        )
        return found

    ours, plain = group("tensor"), group("plain")
    np.testing.assert_array_equal(ours.segment_map, plain.segment_map)
    assert [(s.class_id, s.area_px) for s in ours.segments] == [
        (s.class_id, s.area_px) for s in plain.segments
    ]
    for one, other in zip(ours.segments, plain.segments, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_a_scene_is_segmented_as_on_the_cpu(flip: bool) -> None:
    scenes = SyntheticStreets((256, 512), 2, 7)
    scales = (0.75, 1.0) if flip else (1.0,)
    found = []
    for device in ("cpu", "cuda"):
        predictor = panoptic_deeplab.load("default", device=device)
        predictor.inference = predictor.inference.model_copy(
            update={"flip": flip, "scales": scales}
        )
        found.append([predictor.predict(scenes[i].image).panoptic for i in range(2)])
    for ours, theirs in zip(*found, strict=True):
        assert [s.class_id for s in ours.segments] == [s.class_id for s in theirs.segments]
        assert (ours.segment_map != theirs.segment_map).mean() < 1e-3


def test_tiles_and_evaluation() -> None:
    predictor = panoptic_deeplab.load("default", device="cuda")
    scenes = SyntheticStreets((256, 512), 2, 7)
    whole = evaluate(predictor, scenes).panoptic.all.pq
    predictor.inference = InferenceConfig(
        **predictor.inference.model_dump() | {"tile": 512, "tile_overlap": 128}
    )
    tiled = evaluate(predictor, scenes).panoptic.all.pq
    assert whole is not None
    assert tiled == pytest.approx(whole, abs=0.05)


def test_the_form_for_predicting_equals_the_network() -> None:
    torch.manual_seed(0)
    model = build_model(TINY_MODEL, LABELS.num_classes).eval().to(CUDA)
    image = torch.randint(0, 256, (1, 3, 129, 193), dtype=torch.uint8, device=CUDA)
    with torch.inference_mode():
        expected = model(image)
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
            found = model.optimize_for_inference(dtype=dtype)(image)
            for ours, theirs in zip(found, expected, strict=True):
                scale = theirs.abs().max()
                assert (ours - theirs).abs().max() <= tolerance * scale


def test_heads_stay_on_the_device() -> None:
    predictor = panoptic_deeplab.load("default", device="cuda")
    assert isinstance(predictor, Predictor)
    outputs = predictor.outputs(SyntheticStreets((256, 512), 1, 7)[0].image)
    assert {head.device.type for head in outputs} == {"cuda"}
