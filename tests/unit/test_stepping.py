import math

import pytest
import torch
from torch import nn

from panoptic_deeplab.config import Experiment, LossConfig, ScheduleConfig
from panoptic_deeplab.data.synthetic import LABELS
from panoptic_deeplab.loss_scale import STEPS_TO_DOUBLE, LossScale
from panoptic_deeplab.model import PanopticDeepLab, build_model
from panoptic_deeplab.moving_average import MovingAverage
from panoptic_deeplab.processes import ALONE
from panoptic_deeplab.scaling import scale_schedule
from panoptic_deeplab.stepping import (
    backward,
    backward_that_fits,
    compiled,
    compute_dtype,
    learning_rate,
    make_optimizer,
)
from panoptic_deeplab.structures import Batch, Targets
from tiny import TINY_MODEL


def experiment(**schedule: object) -> Experiment:
    """No dropout, norms of single images, and all pixels count: parts sum to the whole exactly."""
    return Experiment(
        model=TINY_MODEL.model_copy(update={"norm": "group", "aspp_dropout": 0.0}),
        loss=LossConfig(hardest_fraction=1.0),
        schedule=ScheduleConfig(**schedule),
    )


def network(settings: Experiment) -> PanopticDeepLab:
    torch.manual_seed(0)
    return build_model(settings.model, LABELS.num_classes).train()


def batch(count: int = 4) -> Batch:
    """Weights differ from image to image, as they do with things of different number."""
    torch.manual_seed(1)
    size = (count, 48, 64)
    weight = (torch.rand(size) < torch.linspace(0.1, 0.9, count)[:, None, None]).float()
    targets = Targets(
        torch.randint(0, LABELS.num_classes, size),
        torch.rand(count, 1, 48, 64),
        torch.randn(count, 2, 48, 64) * 9,
        torch.ones(size),
        weight,
        weight.flip(0),
    )
    return Batch(torch.randint(0, 256, (count, 3, 48, 64), dtype=torch.uint8), targets)


def gradients(
    settings: Experiment, parts: int, **options: object
) -> tuple[dict[str, torch.Tensor], object]:
    model = network(settings)
    options = {"dtype": torch.float32, **options}
    found = backward(model, model, batch(), settings, ALONE, parts=parts, **options)
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, found


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_parts_sum_to_the_whole_batch(parts: int) -> None:
    whole, one = gradients(experiment(), 1)
    split, several = gradients(experiment(), parts)
    assert whole.keys() == split.keys()
    scale = max(float(g.abs().max()) for g in whole.values())
    for name, gradient in whole.items():
        assert torch.allclose(split[name], gradient, rtol=1e-3, atol=1e-5 * scale), name
    for ours, theirs in zip(several.losses, one.losses, strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert several.norm == pytest.approx(one.norm, rel=1e-3)


def test_clipping_keeps_the_direction() -> None:
    free, found = gradients(experiment(), 1)
    clipped, same = gradients(experiment(clip_norm=0.5), 1)
    assert same.norm == pytest.approx(found.norm, rel=1e-5), "the norm told is that before"
    factor = 0.5 / found.norm
    for name, gradient in free.items():
        assert torch.allclose(clipped[name], gradient * factor, rtol=1e-3, atol=1e-9)


def assert_close(
    ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float
) -> None:
    """All gradients together, in parts of the largest of them."""
    assert ours.keys() == theirs.keys()
    largest = max(float(g.abs().max()) for g in theirs.values())
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).abs().max() <= tolerance * largest, name


def test_a_loss_scale_leaves_no_trace() -> None:
    """A power of two shifts exponents and no digits."""
    plain, _ = gradients(experiment(), 1)
    scaled, found = gradients(experiment(), 1, loss_scale=2.0**12)
    assert_close(scaled, plain, 1e-6)
    assert found.is_finite


def test_bfloat16_gives_nearly_the_same() -> None:
    plain, one = gradients(experiment(), 1)
    lower, other = gradients(experiment(), 1, dtype=torch.bfloat16)
    assert_close(lower, plain, 0.1)
    assert other.losses.total.item() == pytest.approx(one.losses.total.item(), rel=1e-2)


def test_gradients_that_overflow_are_told() -> None:
    _, found = gradients(experiment(), 1, loss_scale=2.0**127)
    assert not found.is_finite


def test_float16_is_for_gpus() -> None:
    settings = experiment(precision="float16")
    assert compute_dtype(settings, torch.device("cuda")) == torch.float16
    with pytest.raises(ValueError, match=r"bfloat16 or auto on a CPU, got float16"):
        compute_dtype(settings, torch.device("cpu"))


def test_the_loss_scale_by_hand() -> None:
    scale = LossScale(4.0)
    for _ in range(STEPS_TO_DOUBLE - 1):
        scale.keep()
    assert scale == LossScale(4.0, STEPS_TO_DOUBLE - 1)
    scale.keep()
    assert scale == LossScale(8.0, 0)
    scale.keep()
    assert [scale.lower() for _ in range(4)] == [True, True, True, False]
    assert scale == LossScale(1.0, 0)


@pytest.mark.parametrize("memory", ["contiguous", "checkpointing"])
def test_order_of_memory_and_checkpointing_change_nothing(memory: str) -> None:
    """`backward` hands images over in channels-last order; weights may lie in either."""
    plain, one = gradients(experiment(), 1)
    model = network(experiment())
    if memory == "contiguous":
        model = model.to(memory_format=torch.contiguous_format)
    else:
        model = model.to(memory_format=torch.channels_last)
        model.backbone.checkpointing = True
    found = backward(model, model, batch(), experiment(), ALONE, parts=1, dtype=torch.float32)
    ours = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert_close(ours, plain, 1e-5)
    assert found.losses.total.item() == pytest.approx(one.losses.total.item(), rel=1e-6)


@pytest.mark.slow
def test_compiling_changes_nothing() -> None:
    plain, one = gradients(experiment(), 1)
    model = network(experiment())
    fast = compiled(model, torch.device("cpu"))
    found = backward(fast, model, batch(), experiment(), ALONE, parts=1, dtype=torch.float32)
    ours = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert_close(ours, plain, 1e-4)
    assert found.losses.total.item() == pytest.approx(one.losses.total.item(), rel=1e-5)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, found none"):
        compiled(network(experiment()), torch.device("cpu"))


def test_memory_that_does_not_suffice_halves_the_parts() -> None:
    settings = experiment()
    model = network(settings)
    sizes = []

    class Small(nn.Module):
        def forward(self, images: torch.Tensor) -> object:
            sizes.append(len(images))
            if len(images) > 1:
                raise torch.OutOfMemoryError
            return model(images)

    found, parts = backward_that_fits(
        Small(), model, batch(), settings, ALONE, parts=1, dtype=torch.float32
    )
    assert parts == 4
    assert sizes == [4, 2, 1, 1, 1, 1]
    _, one = gradients(settings, 1)
    assert found.losses.total.item() == pytest.approx(one.losses.total.item(), rel=1e-5)
    assert model.backbone.stem.conv.weight.grad is not None


@pytest.mark.parametrize(("pooling", "fewest"), [("norm", 2), ("bias", 1)])
def test_parts_are_never_too_small_for_a_norm(pooling: str, fewest: int) -> None:
    """One image alone would give the pooled branch's norm a single value per channel."""
    settings = Experiment(model=TINY_MODEL.model_copy(update={"aspp_pooling": pooling}))
    model, sizes = network(settings), []

    class Full(nn.Module):
        def forward(self, images: torch.Tensor) -> object:
            sizes.append(len(images))
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        backward_that_fits(Full(), model, batch(), settings, ALONE, parts=1, dtype=torch.float32)
    assert min(sizes) == fewest


def test_one_step_of_adam_by_hand() -> None:
    """Bias-corrected moments: the first step is the rate times the gradient's sign, nearly."""
    model = network(experiment())
    optimizer = make_optimizer(model, ScheduleConfig(learning_rate=0.01))
    weight = model.center_head.predict.weight
    before = weight.detach().clone()
    gradient = torch.linspace(-2, 2, weight.numel()).view_as(weight)
    for _ in range(2):
        weight.grad = gradient.clone()
        optimizer.step()
    expected = before.clone().double()
    first, second = torch.zeros_like(expected), torch.zeros_like(expected)
    for n in (1, 2):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected -= 0.01 * (first / (1 - 0.9**n)) / ((second / (1 - 0.999**n)).sqrt() + 1e-8)
    assert torch.allclose(weight.double(), expected, atol=1e-7)


def test_the_poly_schedule_at_ten_steps() -> None:
    """(1 - step / 10) ** 0.9 by a pocket calculator, and a warm-up of two steps."""
    schedule = ScheduleConfig(iterations=10, learning_rate=1.0)
    rates = [1.0, 0.90953, 0.81805, 0.72542, 0.63145, 0.53589, 0.43838, 0.33839, 0.23492, 0.12589]
    assert [learning_rate(schedule, s) for s in range(10)] == pytest.approx(rates, abs=1e-5)
    assert learning_rate(schedule, 10) == 0
    warm = ScheduleConfig(iterations=10, learning_rate=1.0, warmup_iterations=2)
    expected = [0.5, 0.90953, 0.81805]
    assert [learning_rate(warm, s) for s in range(3)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("batch", "rate", "steps", "warmup"), [(8, 2.5e-4, 240_000, 4000), (64, 2e-3, 30_000, 500)]
)
def test_another_batch_sees_as_many_images(
    batch: int, rate: float, steps: int, warmup: int
) -> None:
    paper = ScheduleConfig(warmup_iterations=1000)
    scaled = scale_schedule(paper, batch)
    assert (scaled.learning_rate, scaled.iterations) == (pytest.approx(rate), steps)
    assert scaled.warmup_iterations == warmup
    assert scaled.iterations * batch == paper.iterations * paper.batch_size
    assert scale_schedule(paper, 32) == paper


def test_the_backbone_has_its_own_rate_or_none() -> None:
    model = network(experiment())
    slow = make_optimizer(model, ScheduleConfig(backbone_rate_factor=0.1))
    assert [group["factor"] for group in slow.param_groups] == [0.1, 1.0]
    assert len(slow.param_groups[0]["params"]) == len(list(model.backbone.parameters()))
    model.backbone.requires_grad_(False)
    frozen = make_optimizer(model, ScheduleConfig(backbone_rate_factor=0.1))
    assert [group["factor"] for group in frozen.param_groups] == [1.0]
    assert len(make_optimizer(model, ScheduleConfig()).param_groups) == 1


def test_the_moving_average_by_hand() -> None:
    layer = nn.BatchNorm2d(1)
    mean = MovingAverage(layer, 0.5)
    values, expected = [3.0, 5.0, 9.0], 1.0
    for n, value in enumerate(values):
        with torch.no_grad():
            layer.weight.fill_(value)
        layer.num_batches_tracked.fill_(n)
        mean.update(layer)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert mean.model.weight.item() == pytest.approx(expected)
    assert mean.model.num_batches_tracked.item() == 2
    assert not mean.model.weight.requires_grad


def test_a_gradient_that_is_not_finite_is_told() -> None:
    settings = experiment()
    model = network(settings)
    with torch.no_grad():
        model.offset_head.predict.bias.fill_(math.inf)
    found = backward(model, model, batch(), settings, ALONE, parts=2, dtype=torch.float32)
    assert not found.is_finite
