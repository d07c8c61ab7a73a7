"""Files of Hugging Face repositories: hf://ORG/REPO[/FILE][@REVISION].

By the package huggingface_hub (extra `hub`), with its own cache, which other programs share, and
its own login for closed repositories. `HF_ENDPOINT` names another server.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from panoptic_deeplab.hub.storage import OFFLINE_VARIABLE, is_offline

SCHEME = "hf://"

MODEL_FILE = "model.safetensors"
"""Of a repository, unless another file is named."""

_FORM = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII
)


class HubFile(NamedTuple):
    """One file of a repository; `revision` is a branch, a tag or a commit, None for the newest."""

    repo: str
    file: str
    revision: str | None


def parse_hub(address: str) -> HubFile:
    """Take an hf:// address apart.

    Raises:
        ValueError: if it is of another form.

    Example:
        >>> parse_hub("hf://org/repo@v1")
        HubFile(repo='org/repo', file='model.safetensors', revision='v1')
    """
    found = _FORM.fullmatch(address)
    if found is None or ".." in PurePosixPath(found["file"] or "").parts:
        raise ValueError(
            f"Expected hf://ORG/REPO, hf://ORG/REPO/FILE or either with @REVISION, got {address!r}."
        )
    return HubFile(found["repo"], found["file"] or MODEL_FILE, found["revision"])


def fetch_from_hub(address: str) -> Path:
    """The file on this machine; fetched if it is not there.

    Raises:
        ImportError: without huggingface_hub.
        FileNotFoundError: if there is no such repository, revision or file, or if it is not in
            the cache while the network is forbidden.
        PermissionError: if the repository is closed to this user.
        ConnectionError: if the server cannot be reached.
        ValueError: if the address is of another form.
    """
    wanted = parse_hub(address)
    hub = import_hub()
    try:
        path = hub.hf_hub_download(
            wanted.repo,
            wanted.file,
            revision=wanted.revision,
            endpoint=endpoint(),
            local_files_only=is_offline(),
        )
    except Exception as error:
        raise as_sentence(error, address) from error
    return Path(path)


def endpoint() -> str | None:
    """Another server than huggingface.co, if one is set."""
    return os.environ.get("HF_ENDPOINT") or None


def import_hub() -> Any:
    """The package huggingface_hub, or which extra has it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            'Hugging Face repositories need huggingface_hub: pip install "panoptic-deeplab[hub]"'
        ) from error
    return huggingface_hub


def as_sentence(error: Exception, address: str) -> Exception:
    """What went wrong at the hub, in words that tell what to do; other errors as they are."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return PermissionError(
            f"{address} asks for an agreement first. Accept it on the repository's page, log in "
            "with `hf auth login`, and run the same again."
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if is_offline():
            return FileNotFoundError(
                f"{address} is not in the cache, and {OFFLINE_VARIABLE} forbids the network. Unset "
                "it once to fetch the file."
            )
        return ConnectionError(
            f"{address} is not in the cache and cannot be fetched. Check the connection, and "
            "HF_HUB_OFFLINE."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{address}: the repository has no such revision. Check it.")
    if isinstance(error, errors.EntryNotFoundError):
        return FileNotFoundError(
            f"{address}: the repository has no file {MODEL_FILE!r} or the one named. See its list "
            "of files and pass hf://ORG/REPO/FILE."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"{address}: there is no such repository, or it is closed. Check the name; for a "
            "closed one log in with `hf auth login`."
        )
    if isinstance(error, errors.HfHubHTTPError):
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None)
        if status in (401, 403):
            return PermissionError(
                f"{address}: you may not do this (HTTP {status}). Log in with `hf auth login` as a "
                "user who may."
            )
        said = f"the server answered HTTP {status}" if status else str(error).splitlines()[0]
        return ConnectionError(f"{address}: {said}. Try again later.")
    if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests"):
        return ConnectionError(f"{address}: the server cannot be reached ({error}).")
    return error
