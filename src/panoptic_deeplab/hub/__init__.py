"""Weights from anywhere: path, web address, name or Hugging Face repository -> a file here.

`resolve` is the one place that decides what a user meant; everything that takes weights calls it.
What comes out is a path on this machine, fetched and verified where need be. Nothing is read from
the file here.
"""

import hashlib
import re
from contextlib import ExitStack
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import unquote, urlsplit

from panoptic_deeplab.hub.catalogue import Entry, published
from panoptic_deeplab.hub.download import fetch
from panoptic_deeplab.hub.http import check_address
from panoptic_deeplab.hub.huggingface import SCHEME, fetch_from_hub
from panoptic_deeplab.hub.storage import cache_folder
from panoptic_deeplab.hub.verify import Expected, parse_digest
from panoptic_deeplab.labels import near_names

_kept_open = ExitStack()  # of a package that lies in a zip, until the program ends


def resolve(source: str | Path) -> Path:
    """Find the file of weights that a user means, and fetch it if it is not on this machine.

    Args:
        source: a name of `embedded_weights()` or of `published()`; hf://ORG/REPO, with /FILE and
            @REVISION if wanted; an http or https address, with #sha256=HEX to verify it; or a
            path. Names go before files; write ./NAME for a file of such a name.

    Returns:
        The path of an existing file, complete and, as far as there is something to verify it
        against, verified.

    Raises:
        FileNotFoundError: if there is none, or if it is not in the cache while the network is
            forbidden.
        ValueError: if what comes is not the published file.
        OSError: if it cannot be fetched or stored.
        ImportError: for hf:// without huggingface_hub.
    """
    text = str(source)
    if text in embedded_weights():
        return _embedded(text)
    if text in published():
        return _from_catalogue(published()[text])
    if text.startswith(SCHEME):
        return fetch_from_hub(text)
    if "://" in text:
        return _from_web(text)
    if Path(text).is_file():
        return Path(text)
    raise FileNotFoundError(_nowhere(text))


def embedded_weights() -> tuple[str, ...]:
    """Names of the weights that come with the package."""
    folder = files("panoptic_deeplab") / "weights"
    if not folder.is_dir():
        return ()
    names = (Path(f.name) for f in folder.iterdir())
    return tuple(sorted(n.stem for n in names if n.suffix == ".safetensors"))


def place_of(entry: Entry) -> Path:
    """Where a file of the catalogue lies once it is here."""
    if entry.embedded:
        return _embedded(entry.name)
    return cache_folder() / "named" / entry.name / (entry.file or f"{entry.name}.pth")


@cache
def _embedded(name: str) -> Path:
    resource = files("panoptic_deeplab") / "weights" / f"{name}.safetensors"
    return _kept_open.enter_context(as_file(resource))


def _from_catalogue(entry: Entry) -> Path:
    if entry.embedded:
        raise FileNotFoundError(
            f"No weights named {entry.name!r}: this installation has none. Pass a checkpoint file."
        )
    target = place_of(entry)
    if entry.url or target.is_file():
        return fetch(entry.url, target, Expected(entry.digest, entry.size_bytes))
    raise FileNotFoundError(
        f"{entry.name} is published at {entry.browser}, which needs a browser. Open that page, "
        f"save the file and pass its path; or put it at {target}, then the name works too."
    )


def _from_web(address: str) -> Path:
    check_address(address)
    url, _, fragment = address.partition("#")
    name, _, digits = fragment.partition("=")
    digest = parse_digest(f"{name}:{digits}") if fragment else ""
    # A folder per address, so that files of the same name do not meet.
    folder = hashlib.sha256(f"{url}#{digest}".encode()).hexdigest()[:16]
    return fetch(url, cache_folder() / "web" / folder / file_name(url), Expected(digest))


def file_name(url: str) -> str:
    """A harmless file name, made from the last part of an address.

    Example:
        >>> file_name("https://example.org/a/..%2fmodel%20final.pkl?raw=true")
        'model_final.pkl'
    """
    last = unquote(urlsplit(url).path).replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", last, flags=re.ASCII).lstrip(".")[-100:] or "weights"


def _nowhere(name: str) -> str:
    path = Path(name)
    if path.is_dir():
        # The state of a run is for resuming only.
        models = sorted(str(f) for f in path.glob("*.safetensors") if f.stem != "state")
        hint = f"Pass {' or '.join(models)}." if models else "It holds no .safetensors file."
        return f"Expected a weights file, {name} is a folder. {hint}"
    if path.suffix or len(path.parts) > 1:
        return f"Expected a weights file at {name}, there is none. Check the path."
    return f"No weights named {name!r}, and no such file. {near_names(name, list(published()))}"
