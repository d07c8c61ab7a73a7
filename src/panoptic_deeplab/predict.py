"""From an image to its segments: load weights, run the network, group its heads.

Comes in: weights by name, path or address, and images as files, arrays or Pillow
images of any size. Goes out: a `Prediction` at the image's own size.

    import panoptic_deeplab
    predictor = panoptic_deeplab.load("default")
    prediction = predictor.predict("street.jpg")
    prediction.save("out")
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from panoptic_deeplab.checkpoint import Checkpoint
from panoptic_deeplab.config import GroupingConfig, InferenceConfig
from panoptic_deeplab.data.windows import Windows
from panoptic_deeplab.find_weights import find_checkpoint
from panoptic_deeplab.grouping import group_outputs
from panoptic_deeplab.hub.pretrained import pretrained_source, push_to_hub, save_pretrained
from panoptic_deeplab.inputs import ImageLike, to_rgb, to_windows
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.looks import Member, look, padded_size, scale_image, scaled_size
from panoptic_deeplab.memory import available_bytes, forward_bytes
from panoptic_deeplab.model import PanopticDeepLab
from panoptic_deeplab.prediction import Prediction
from panoptic_deeplab.structures import Outputs, PanopticMap
from panoptic_deeplab.tiled import check_tiles, needs_tiles, tiled_heads
from panoptic_deeplab.views import MeanOutputs, View

_SHOWN_PX = 16_000_000
"""Most pixels of an overlay of an image that was looked at in tiles; our choice."""

_TILES = "look at it in tiles: --tile 1024, or inference.tile from Python"

_CHECK_MEMORY_PX = 4_000_000  # smaller images fit wherever torch itself does


class Predictor(nn.Module):
    """A network with its classes and its way of grouping, ready for images.

    Args:
        model: put into evaluation mode.
        labels: its classes.
        grouping: see `GroupingConfig`.
        inference: see `InferenceConfig`; None: its defaults.
        others: further networks of the same classes, whose heads are averaged with the model's.
        share: how much the model counts among them.

    Raises:
        ValueError: if model and labels have different numbers of classes, or a share is not
            positive.
    """

    def __init__(
        self,
        model: PanopticDeepLab,
        labels: LabelSpace,
        grouping: GroupingConfig,
        inference: InferenceConfig | None = None,
        *,
        others: Sequence[Member] = (),
        share: float = 1.0,
    ) -> None:
        super().__init__()
        if model.num_classes != labels.num_classes:
            raise ValueError(
                f"The model has {model.num_classes} classes, label space {labels.name!r} has "
                f"{labels.num_classes}. Pass the label space the model was trained on."
            )
        if min([share, *(other.share for other in others)]) <= 0:
            shares = [share, *(other.share for other in others)]
            raise ValueError(f"Each network's share must be above 0, got {shares}.")
        # Pixels come as (H, W, 3); with weights in the same order the network takes 0.6 to 0.8 of
        # the time (compact model, 193 x 385 to 1025 x 1025, one core).
        for network in (model, *(other.model for other in others)):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model
        self.other_models = nn.ModuleList(other.model for other in others)
        self._others, self._share = tuple(others), share
        self.labels = labels
        self.grouping = grouping
        self.inference = inference or InferenceConfig()
        self.origin: Checkpoint | None = None  # where it was loaded from, for `save_pretrained`
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @classmethod
    def from_pretrained(cls, source: str | Path, *, device: str | None = None) -> "Predictor":
        """Load what `save_pretrained` or `push_to_hub` stored; see `hub.pretrained`.

        Args:
            source: a folder, a repository ORG/REPO of Hugging Face, or anything `load` takes.
            device: as for `load`.
        """
        return load(pretrained_source(source), device=device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights, settings and a model card into a folder; see `hub.pretrained`."""
        save_pretrained(self.checkpoint(), folder)

    def push_to_hub(self, repo: str, *, private: bool | None = None) -> str:
        """Publish weights, settings and a model card at Hugging Face; see `hub.pretrained`."""
        return push_to_hub(self.checkpoint(), repo, private=private)

    def settings(self) -> str:
        """What a result depends on beside weights, in one line, to tell predictors apart."""
        members = [tuple(member[1:]) for member in self._members]
        return f"{self.grouping} {self.inference} {members}"

    def checkpoint(self) -> Checkpoint:
        """What a file of these weights holds, with the grouping and inference set now.

        Raises:
            ValueError: if the predictor was not made from a checkpoint, so that nobody knows how
                its network is built.
        """
        if self.origin is None:
            raise ValueError(
                "This predictor was not loaded from a checkpoint, so the settings of its network "
                "are unknown. Use checkpoint.save_checkpoint with its Experiment."
            )
        settings = {"grouping": self.grouping, "inference": self.inference}
        experiment = self.origin.experiment.model_copy(update=settings)
        return Checkpoint(self.model, self.labels, experiment, self.origin.provenance)

    def forward(self, images: Tensor) -> Outputs:
        """Run the network alone; see `PanopticDeepLab.forward`."""
        with torch.inference_mode():
            outputs: Outputs = self.model(images)
        return outputs

    def predict(self, image: ImageLike) -> Prediction:
        """Find the segments of one image.

        Args:
            image: path of a file; (H, W, 3) RGB or (H, W) grey array of uint8 or uint16 (wider
                values are scaled as in files, see `to_eight_bits`); or a Pillow image. Any size.

        Raises:
            FileNotFoundError: if there is no such file.
            TypeError: if it is none of these.
            ValueError: if it is no picture, or an array of another shape or type.
            MemoryError: if the image is too large for the memory there is.
        """
        if self.inference.tile:
            windows = to_windows(image)
            if needs_tiles(self._members, self.inference, windows.size):
                return self._predict_tiles(windows)
        pixels = to_rgb(image)
        size = (pixels.shape[0], pixels.shape[1])
        self._check_memory(size)
        try:
            panoptic = self._group(*self._heads(pixels), size)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise MemoryError(_too_large(size)) from error
        return Prediction(pixels, panoptic, self.labels)

    def _predict_tiles(self, windows: Windows) -> Prediction:
        """Find the segments of an image that is read, and looked at, in tiles."""
        with torch.inference_mode():
            outputs, view, tiles = tiled_heads(self._members, self.inference, windows)
        # The limit on centers is one per look, so per tile here.
        panoptic = self._group(outputs, view, windows.size, top_k=self.grouping.top_k * tiles)
        step = max(1, ceil((windows.size[0] * windows.size[1] / _SHOWN_PX) ** 0.5))
        return Prediction(windows.reduced(step), panoptic, self.labels, step)

    def _group(
        self, outputs: Outputs, view: View, size: tuple[int, int], **changed: int
    ) -> PanopticMap:
        """Group heads, at the image's own size."""
        (panoptic,) = group_outputs(
            outputs,
            self.labels,
            size=view.network,
            crop_size=view.size,
            output_size=size,
            align_corners=view.align_corners,
            **self.grouping.model_dump() | changed,
        )
        return panoptic

    def outputs(self, image: ImageLike) -> Outputs:
        """What the heads say about one image, for pictures and for study.

        Args:
            image: as for `predict`.

        Returns:
            float32 on the image's grid times `inference.scale` (and the largest of `scales`), with
            B = 1. Averaged ones have logarithms of probabilities in the place of logits.
        """
        outputs, view = self._heads(to_rgb(image))
        height, width = view.size
        with torch.inference_mode():
            full = self.model.upsample(outputs, view.network)
        return Outputs(*(head[:, :, :height, :width].float() for head in full))

    def check_settings(self) -> None:
        """Refuse settings that no image could be looked at with.

        Raises:
            ValueError: if tiles are too small, or overlap too much or too little.
        """
        check_tiles(self._members, self.inference)

    @property
    def _members(self) -> tuple[Member, ...]:
        own = self.inference
        return (Member(self.model, own.scale, self._share, own.long_side), *self._others)

    def _heads(self, pixels: NDArray[np.uint8]) -> tuple[Outputs, View]:
        """On the grid of the largest look of the first network: its own, or the mean of all."""
        members = self._members
        # The largest look comes first: its grid is the mean's.
        factors = sorted(self.inference.scales, reverse=True)
        if len(factors) == len(members) == 1 and not self.inference.flip:
            scale = members[0].factor(pixels.shape[:2]) * factors[0]
            return look(self.model, scale_image(pixels, scale))
        mean: MeanOutputs | None = None
        with torch.inference_mode():
            for member in members:
                for factor in factors:
                    scaled = scale_image(pixels, member.factor(pixels.shape[:2]) * factor)
                    for mirrored in (False, True)[: 1 + self.inference.flip]:
                        outputs, view = look(member.model, scaled, mirrored=mirrored)
                        if mean is None:
                            mean, target = MeanOutputs(view), view
                        mean.add(outputs, view, member.share)
                        del outputs
            assert mean is not None, "settings have at least one scale"
            return mean.result(), target

    def _check_memory(self, size: tuple[int, int]) -> None:
        """Refuse in words what the system would end without one."""
        if self.device.type != "cpu":
            return
        for member in self._members:
            model = member.model
            scaled = scaled_size(size, member.factor(size) * max(self.inference.scales))
            network = padded_size(scaled, member.stride, align_corners=model.align_corners)
            if network[0] * network[1] < _CHECK_MEMORY_PX:
                continue
            needed, free = forward_bytes(model, network), available_bytes()
            if free is not None and needed > free:
                raise MemoryError(_too_large(size, needed, free))


def load(source: str | Path = "default", *, device: str | None = None) -> Predictor:
    """Make a predictor from weights, wherever they are.

    Args:
        source: a name such as "nuclei" (`panoptic-deeplab weights list`), a file such as a run's
            `model.safetensors` or one that `convert` knows, a web address, or hf://ORG/REPO; see
            `hub.resolve`.
        device: torch's name; None: a GPU if there is one, else the CPU.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if the file is damaged, of no known origin, or a backbone alone.
        OSError: if it cannot be fetched.
    """
    return as_predictor(find_checkpoint(source)).to(_device(device))


def load_ensemble(
    sources: Sequence[str | Path],
    *,
    shares: Sequence[float] = (),
    device: str | None = None,
) -> Predictor:
    """Make one predictor of several weights, whose heads are averaged (supplement, Mapillary).

    Backbones, strides and decoders may differ, the classes must be the same ones in the same
    order. Grouping and the grid of the mean are those of the first; each sees images at the
    `inference.scale` that it was made for.

    Args:
        sources: as for `load`.
        shares: how much each counts; empty: all the same.
        device: as for `load`.

    Raises:
        ValueError: if there are none, classes differ, or shares are not one positive number each.
    """
    if not sources or (shares and len(shares) != len(sources)):
        raise ValueError(
            f"An ensemble needs weights and a share for each, or none, got {len(sources)} weights "
            f"and {len(shares)} shares."
        )
    first, *rest = (find_checkpoint(source) for source in sources)
    counts = list(shares) or [1.0] * len(sources)
    names = [(c.name, c.is_thing) for c in first.labels.classes]
    for source, checkpoint in zip(sources[1:], rest, strict=True):
        if [(c.name, c.is_thing) for c in checkpoint.labels.classes] != names:
            raise ValueError(
                f"The networks of an ensemble need the same classes, {source} was trained on "
                f"{checkpoint.labels.name!r} ({checkpoint.labels.num_classes} classes), "
                f"{sources[0]} on {first.labels.name!r} ({first.labels.num_classes}). Drop one."
            )
    others = [
        Member(
            found.model,
            found.experiment.inference.scale,
            count,
            found.experiment.inference.long_side,
        )
        for found, count in zip(rest, counts[1:], strict=True)
    ]
    return as_predictor(first, others=others, share=counts[0]).to(_device(device))


def as_predictor(
    checkpoint: Checkpoint, *, others: Sequence[Member] = (), share: float = 1.0
) -> Predictor:
    """Make a predictor from a checkpoint, where its weights are; see `Predictor`."""
    experiment = checkpoint.experiment
    predictor = Predictor(
        checkpoint.model,
        checkpoint.labels,
        experiment.grouping,
        experiment.inference,
        others=others,
        share=share,
    )
    predictor.origin = checkpoint
    return predictor


def _device(name: str | None) -> str:
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _is_out_of_memory(error: Exception) -> bool:
    """Torch tells on a CPU only by words."""
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "can't allocate memory" in words or "not enough memory" in words
    )


def _too_large(size: tuple[int, int], needed: int | None = None, free: int | None = None) -> str:
    shape = f"An image of {size[1]}x{size[0]} pixels (width x height)"
    if needed is None or free is None:
        return f"{shape} needs more memory than there is. Make it smaller, or {_TILES}."
    factor = 0.9 * (free / needed) ** 0.5
    return (
        f"{shape} needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free. Scale it to "
        f"{int(size[1] * factor)}x{int(size[0] * factor)} or less, or {_TILES}."
    )
