"""The model card: README.md of a shared model, made from what its file holds."""

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from panoptic_deeplab.checkpoint import Checkpoint
from panoptic_deeplab.hub.huggingface import SCHEME
from panoptic_deeplab.labels import LabelSpace

_PAPER = "https://arxiv.org/abs/1911.10194"

_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
)
"""As Hugging Face writes them."""


def model_card(checkpoint: Checkpoint, name: str, where: str) -> str:
    """Markdown with the front matter that Hugging Face reads.

    Args:
        checkpoint: what it describes.
        name: its title, such as ORG/REPO.
        where: what `hub.resolve` takes to find the weights, for the examples of use.
    """
    told = checkpoint.provenance
    model = checkpoint.experiment.model
    parts = [
        _front_matter(checkpoint),
        f"# {name}\n",
        f"A [Panoptic-DeepLab]({_PAPER}) network: every pixel gets a class, every countable thing "
        f"its own outline. Backbone `{model.backbone}`, output stride {model.output_stride}, "
        f"{checkpoint.labels.num_classes} classes of {checkpoint.labels.name}.\n",
        _usage(where),
        _results(told.get("metrics")),
        _classes(checkpoint.labels),
        _origin(told),
        _licence(told),
    ]
    return "\n".join(part for part in parts if part)


def figures(metrics: Any) -> dict[str, float]:
    """PQ, AP and mIoU in percent, of a report's plain form, as far as it has them."""
    places = {
        "PQ": ("panoptic", "all", "pq"),
        "PQ of things": ("panoptic", "things", "pq"),
        "PQ of stuff": ("panoptic", "stuff", "pq"),
        "AP": ("instance", "ap"),
        "mIoU": ("semantic", "mean"),
    }
    found = {}
    for name, path in places.items():
        value: Any = metrics
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            found[name] = 100 * float(value)
    return found


def _front_matter(checkpoint: Checkpoint) -> str:
    """See https://huggingface.co/docs/hub/model-cards for the fields."""
    fields: dict[str, Any] = {
        "library_name": "panoptic_deeplab",
        "pipeline_tag": "image-segmentation",
        "tags": ["panoptic-segmentation", "panoptic-deeplab"],
    }
    licence = str(checkpoint.provenance.get("licence") or "")
    identifier = licence.lower().replace(" ", "-")
    if identifier in _LICENCES:
        fields = {"license": identifier} | fields
    elif licence:
        fields = {"license": "other", "license_name": licence} | fields
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def _usage(where: str) -> str:
    extra = "[hub]" if where.startswith(SCHEME) else ""
    return f"""## Use it

```
pip install "panoptic-deeplab{extra}"
panoptic-deeplab predict photo.jpg --out results --weights {where}
```

```python
import panoptic_deeplab

model = panoptic_deeplab.load({where!r})
result = model.predict("photo.jpg")
result.overlay().save("overlay.png")
```
"""


def _results(metrics: Any) -> str:
    found = figures(metrics)
    if not found:
        return "## Results\n\nNone are stored with these weights.\n"
    rows = "".join(f"| {name} | {value:.1f} |\n" for name, value in found.items())
    counted = metrics.get("num_images") if isinstance(metrics, Mapping) else None
    on = f"On {counted} validation images" if counted else "On validation images"
    return f"## Results\n\n{on}, in percent:\n\n| | |\n|---|--:|\n{rows}"


def _classes(labels: LabelSpace) -> str:
    rows = "".join(
        f"| {c.dataset_id} | {_cell(c.name)} | {'thing' if c.is_thing else 'stuff'} |\n"
        for c in labels.classes
    )
    return f"## Classes\n\n| id | name | |\n|--:|---|---|\n{rows}"


def _origin(told: Mapping[str, Any]) -> str:
    rows = []
    for key, value in told.items():
        if key in ("metrics", "licence", "credit"):
            continue
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items() if v not in ("", None))
            if isinstance(value, Mapping)
            else value
        )
        rows.append(f"| {_cell(key.replace('_', ' '))} | {_cell(shown)} |\n")
    if not rows:
        return "## Training\n\nNothing is stored with these weights.\n"
    return f"## Training\n\n| | |\n|---|---|\n{''.join(rows)}"


def _licence(told: Mapping[str, Any]) -> str:
    licence = told.get("licence") or "None is stored with these weights; ask whoever shared them."
    credit = f"\n\n{told['credit']}" if told.get("credit") else ""
    return f"## Licence\n\n{licence}{credit}\n"


def _cell(text: object) -> str:
    """Text that cannot end its cell or begin a tag."""
    plain = str(text).replace("\n", " ")
    for special in "\\|<`":
        plain = plain.replace(special, f"\\{special}")
    return plain
