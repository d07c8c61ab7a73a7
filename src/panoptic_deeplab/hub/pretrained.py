"""Share a model: a folder, or a Hugging Face repository, with its weights and a model card.

    model.safetensors   the weights with all they need (`checkpoint.save_checkpoint`)
    config.json         the settings and classes again, for people and for the hub's pages
    README.md           the model card

Only publishing needs huggingface_hub (extra `hub`); a folder needs nothing.
"""

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from panoptic_deeplab.checkpoint import Checkpoint, save_checkpoint
from panoptic_deeplab.files import as_json, make_folder, write_whole
from panoptic_deeplab.hub.card import model_card
from panoptic_deeplab.hub.huggingface import (
    MODEL_FILE,
    SCHEME,
    as_sentence,
    endpoint,
    import_hub,
)

CONFIG_FILE, CARD_FILE = "config.json", "README.md"

_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

logger = logging.getLogger(__name__)


def save_pretrained(
    checkpoint: Checkpoint,
    folder: str | Path,
    *,
    repo: str = "",
    dtype: torch.dtype = torch.float32,
) -> list[Path]:
    """Write weights, settings and model card into a folder.

    Args:
        checkpoint: the model with its settings, classes and provenance.
        folder: made if missing. A model card that is there stays: people write in it.
        repo: ORG/REPO it shall be published as, for the card.
        dtype: of the weights in the file; see `save_checkpoint`.

    Returns:
        The files written.
    """
    folder = make_folder(folder)
    weights, config, card = (folder / name for name in (MODEL_FILE, CONFIG_FILE, CARD_FILE))
    save_checkpoint(
        weights,
        checkpoint.model,
        checkpoint.labels,
        checkpoint.experiment,
        checkpoint.provenance,
        dtype=dtype,
    )
    settings = {
        "library": "panoptic_deeplab",
        "experiment": checkpoint.experiment.model_dump(mode="json"),
        "labels": checkpoint.labels.to_dict(),
    }
    write_whole(config, as_json(settings))
    if card.exists():
        logger.warning("%s is kept as it is; remove it first to have it made anew.", card)
        return [weights, config]
    name = repo or checkpoint.experiment.name
    where = f"{SCHEME}{repo}" if repo else str(weights)
    write_whole(card, model_card(checkpoint, name, where).encode())
    return [weights, config, card]


def push_to_hub(
    checkpoint: Checkpoint,
    repo: str,
    *,
    private: bool | None = None,
    dtype: torch.dtype = torch.float32,
) -> str:
    """Publish weights, settings and model card as a repository of Hugging Face.

    The user must be logged in (`hf auth login`). A model card that is there stays.

    Args:
        checkpoint: the model with its settings, classes and provenance.
        repo: ORG/REPO; made if missing.
        private: whether a new repository is closed; None: what the organisation has as default.
        dtype: of the weights in the file; see `save_checkpoint`.

    Returns:
        The address of the repository.

    Raises:
        ImportError: without huggingface_hub.
        ValueError: if `repo` is of another form.
        PermissionError: if the user may not write there.
        ConnectionError: if the server cannot be reached.
    """
    repo = repo.removeprefix(SCHEME)
    if not _REPO.fullmatch(repo):
        raise ValueError(f"Expected ORG/REPO as a repository's name, got {repo!r}.")
    hub = import_hub()
    api = hub.HfApi(endpoint=endpoint(), library_name="panoptic_deeplab")
    with TemporaryDirectory() as folder:
        save_pretrained(checkpoint, folder, repo=repo, dtype=dtype)
        try:
            address = str(api.create_repo(repo, private=private, exist_ok=True))
            if api.file_exists(repo, CARD_FILE):
                (Path(folder) / CARD_FILE).unlink()
            api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message="Weights of panoptic_deeplab"
            )
        except Exception as error:
            raise as_sentence(error, f"{SCHEME}{repo}") from error
    return address


def pretrained_source(source: str | Path) -> str | Path:
    """What `hub.resolve` takes, from what people pass to `from_pretrained`.

    Args:
        source: a folder of `save_pretrained`, ORG/REPO, or anything `hub.resolve` takes.
    """
    if Path(source).is_dir():
        return Path(source) / MODEL_FILE
    if isinstance(source, str) and _REPO.fullmatch(source) and not Path(source).exists():
        return SCHEME + source
    return source
