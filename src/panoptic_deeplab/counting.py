"""Parameters and multiply-adds of a network, exactly, without running it.

In: a configuration and an image size. Out: `Counts`. Everything happens on the meta device, so
the largest network at the largest size takes less than a second and no memory. Multiply-adds are
one per weight and output position of every convolution (what this package reports), or what
TensorFlow's profiler would have said, which is what the papers print. That convention was worked
out by matching 19 published figures to 0.15 G; see `MultiplyAdds`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from panoptic_deeplab.backbones import Backbone, build_backbone
from panoptic_deeplab.config import ModelConfig
from panoptic_deeplab.decoder import Branch
from panoptic_deeplab.layers import Size
from panoptic_deeplab.meta import QuickMeta
from panoptic_deeplab.model import PanopticDeepLab, build_model, complete_model

UNEXPLAINED_PER_PIXEL = 58.5
"""Multiply-adds per input pixel that the supplement's two figures have beyond all terms named in
`MultiplyAdds`; probably the grouping. Calibrated on these two, it fits
13 others."""


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of one image, by origin. All but the first count half an operation each.

    Attributes:
        convolution: one per weight and output position, classifiers included.
        padding: what dilated convolutions add when they are computed on a grid padded to a
            multiple of the dilation, as TensorFlow did.
        addition: of residuals and fused maps.
        pooling: one operation per element of every average's or maximum's window.
        normalization: one operation per element behind a norm or a bias.
        full_resolution: input scaling, soft-max, arg-max and the peak search, per input pixel.
    """

    convolution: int
    padding: int
    addition: float
    pooling: float
    normalization: float
    full_resolution: float = 0.0

    @property
    def profiler(self) -> float:
        """All terms together: floating-point operations of TensorFlow's profiler, over two."""
        named = (self.padding, self.addition, self.pooling, self.normalization)
        return self.convolution + sum(named) + self.full_resolution

    def __add__(self, other: "MultiplyAdds") -> "MultiplyAdds":
        """Of two parts together, term by term."""
        mine, others = astuple(self), astuple(other)
        return MultiplyAdds(*(a + b for a, b in zip(mine, others, strict=True)))


@dataclass(frozen=True)
class Part:
    """A main part of a network: a stage of the backbone, an ASPP, a decoder, a head.

    Attributes:
        name: of its module; parameters begin with it.
        parameters: as in `Counts`.
        multiply_adds: of its convolutions, for one image.
    """

    name: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Counts:
    """What a network costs.

    Attributes:
        parameters: weights and biases of convolutions, scale and shift of norms; no statistics.
        multiply_adds: of one image.
        published: what a paper would print: the profiler's and `UNEXPLAINED_PER_PIXEL`.
    """

    parameters: int
    multiply_adds: MultiplyAdds
    published: float


def count(config: ModelConfig, num_classes: int, size: Size) -> Counts:
    """Count a whole network.

    Args:
        config: with `aspp_pooling_size` set to the training crop where the published figure
            was counted so.
        num_classes: K.
        size: (H, W) of the image.

    Example:
        >>> count(ModelConfig(backbone="mobilenet_v3_large_reduced"), 19, (1025, 2049)).parameters
        3641302
    """
    backbone = _count_backbone(_backbone_settings(config), size)
    with torch.device("meta"), QuickMeta():
        rest = complete_model(backbone.stand_in, config, num_classes)
    has_instances = config.instance_branch != "none"
    multiply_adds = backbone.multiply_adds + count_multiply_adds(
        rest, size, per_pixel=_full_resolution(num_classes, has_instances)
    )
    unexplained = UNEXPLAINED_PER_PIXEL * size[0] * size[1] if has_instances else 0.0
    parameters = backbone.parameters + count_parameters(rest)
    return Counts(parameters, multiply_adds, multiply_adds.profiler + unexplained)


def build_on_meta(config: ModelConfig, num_classes: int) -> PanopticDeepLab:
    """The network without weights."""
    with torch.device("meta"), QuickMeta():
        return build_model(config, num_classes)


class _StandIn(Backbone):
    """In a counted backbone's place: gives maps of the same shapes.

    Args:
        backbone: the one it stands for.
        shapes: of the maps.
    """

    def __init__(self, backbone: Backbone, shapes: Sequence[torch.Size]) -> None:
        super().__init__()
        self.channels, self.strides = backbone.channels, backbone.strides
        self.shapes = shapes

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        return [torch.empty(shape, device="meta") for shape in self.shapes]


class _CountedBackbone(NamedTuple):
    parameters: int
    multiply_adds: MultiplyAdds
    stand_in: _StandIn


def _backbone_settings(config: ModelConfig) -> str:
    """What the count of a backbone depends on, as a key: all norms count alike."""
    return config.model_dump_json(include={"backbone", "backbone_options", "output_stride"})


@lru_cache(maxsize=1)
def _build_backbone(settings: str) -> Backbone:
    config = ModelConfig.model_validate_json(settings)
    with torch.device("meta"), QuickMeta():
        return build_backbone(
            config.backbone,
            output_stride=config.output_stride,
            options=config.backbone_options,
        )


@lru_cache(maxsize=8)
def _count_backbone(settings: str, size: Size) -> _CountedBackbone:
    """Networks often differ in all but their backbone, which takes most of the time to count."""
    backbone = _build_backbone(settings)
    counter, features = _run(backbone, size, {})
    stand_in = _StandIn(backbone, [m.shape for m in features])
    return _CountedBackbone(count_parameters(backbone), counter.multiply_adds(), stand_in)


def count_parts(module: nn.Module, size: Size) -> list[Part]:
    """Count the main parts of a network.

    Stages of the backbone, ASPPs, projections and convolutions of the decoders, heads.

    Args:
        module: on the meta device, takes images.
        size: (H, W) of the image.

    Returns:
        In the order of the module, without those that have no weights.
    """
    parts = dict(_main_parts(module))
    counter, _ = _run(module, size, parts)
    return [
        Part(name, count_parameters(part), counter.convolutions[name])
        for name, part in parts.items()
        if count_parameters(part)
    ]


def count_parameters(module: nn.Module) -> int:
    """Number of weights, biases, scales and shifts, each shared one once."""
    return sum(p.numel() for p in module.parameters())


def count_multiply_adds(module: nn.Module, size: Size, *, per_pixel: float = 0.0) -> MultiplyAdds:
    """Count a network, or a part of one that takes images.

    Args:
        module: on the meta device.
        size: (H, W) of the image.
        per_pixel: further operations per image pixel; halved like all others.

    Raises:
        ValueError: if the module holds real weights.
    """
    counter, _ = _run(module, size, {})
    return counter.multiply_adds(full_resolution=per_pixel * size[0] * size[1] / 2)


def _run(module: nn.Module, size: Size, parts: Mapping[str, nn.Module]) -> tuple["_Counter", Any]:
    """Send an image through a module on the meta device and count, part by part."""
    if any(not p.is_meta for p in module.parameters()):
        raise ValueError(
            "Counting needs a module on the meta device, got one with real weights. Build it "
            "inside `with torch.device('meta'):`, or move a copy with .to('meta')."
        )
    image = torch.empty(1, 3, *size, device="meta")
    counter = _Counter()
    # Every module inside a part: a list is never called, its members are.
    hooks = [
        hook
        for name, part in parts.items()
        for inner in part.modules()
        for hook in counter.watch(name, inner)
    ]
    was_training = module.training
    try:
        with torch.no_grad(), counter:
            result = module.eval()(image)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return counter, result


def _main_parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules; see `count_parts`."""
    for name, child in module.named_children():
        if not isinstance(child, (Backbone, Branch)):
            yield name, child
            continue
        for inner_name, part in child.named_children():
            path = f"{name}.{inner_name}"
            if isinstance(child, Backbone) and isinstance(part, nn.ModuleList):
                yield from ((f"{path}.{i}", member) for i, member in enumerate(part))
            else:
                yield path, part


def _full_resolution(num_classes: int, has_instances: bool) -> int:
    """Operations per pixel outside the network proper."""
    scaling = 2 * 3  # two for each of three channels
    soft_max, arg_max = 5 * num_classes, num_classes
    peaks = 7 * 7 if has_instances else 0  # the 7 x 7 maximum filter
    return scaling + soft_max + arg_max + peaks


class _Counter(QuickMeta):  # type: ignore[no-untyped-call]
    """Sees every operation of a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: dict[str, int] = defaultdict(int)  # by the watched part
        self._inside = [""]  # names of the watched parts that run, outermost first
        self.padding = 0
        self.addition = 0
        self.pooling = 0
        self.normalization = 0
        aten = torch.ops.aten
        self._rules: dict[Any, Callable[[tuple[Any, ...], Tensor], None]] = {
            aten.convolution.default: self._convolution,
            aten.addmm.default: self._linear,
            aten.add.Tensor: self._addition,
            aten.add_.Tensor: self._addition,
            aten.mean.dim: self._whole_map,
            aten.avg_pool2d.default: self._window,
            aten.max_pool2d_with_indices.default: self._window,
            aten.native_batch_norm.default: self._norm,
            aten.native_group_norm.default: self._norm,
        }

    def multiply_adds(self, full_resolution: float = 0.0) -> MultiplyAdds:
        """What was seen; all but the convolutions are operations, half as many."""
        return MultiplyAdds(
            convolution=sum(self.convolutions.values()),
            padding=self.padding,
            addition=self.addition / 2,
            pooling=self.pooling / 2,
            normalization=self.normalization / 2,
            full_resolution=full_resolution,
        )

    def watch(self, name: str, part: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        """Count what happens inside a module under its name."""

        def enter(*_: Any) -> None:
            self._inside.append(name)

        def leave(*_: Any) -> None:
            self._inside.pop()

        return part.register_forward_pre_hook(enter), part.register_forward_hook(leave)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        rule = self._rules.get(func)
        if rule is not None:
            rule(args, result[0] if isinstance(result, tuple) else result)
        return result

    def _convolution(self, args: tuple[Any, ...], out: Tensor) -> None:
        weight, bias, dilation = args[1], args[2], args[5]
        height, width = out.shape[-2:]
        self.convolutions[self._inside[-1]] += weight.numel() * height * width
        down, right = dilation
        padded = (height + -height % down) * (width + -width % right)
        self.padding += weight.numel() * (padded - height * width)
        if bias is not None:
            self.normalization += out.numel()

    def _linear(self, args: tuple[Any, ...], out: Tensor) -> None:
        # A 1x1 convolution on one position.
        self.convolutions[self._inside[-1]] += args[2].numel()
        self.normalization += out.numel()

    def _addition(self, args: tuple[Any, ...], out: Tensor) -> None:
        self.addition += out.numel()

    def _whole_map(self, args: tuple[Any, ...], out: Tensor) -> None:
        self.pooling += args[0].numel()

    def _window(self, args: tuple[Any, ...], out: Tensor) -> None:
        self.pooling += args[1][0] * args[1][1] * out.numel()

    def _norm(self, args: tuple[Any, ...], out: Tensor) -> None:
        self.normalization += out.numel()
