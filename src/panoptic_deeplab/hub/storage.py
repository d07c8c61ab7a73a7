"""Where downloaded files are kept, and whether the network may be used."""

import os
import sys
from pathlib import Path

CACHE_VARIABLE, OFFLINE_VARIABLE = "PANOPTIC_DEEPLAB_CACHE", "PANOPTIC_DEEPLAB_OFFLINE"
"""Environment variables: the folder itself; and any of 1, true, yes, on for no network."""

_FOLDER = "panoptic-deeplab"


def cache_folder() -> Path:
    """The folder of downloaded weights: set by a variable, else where the system keeps caches."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / _FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _FOLDER
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / _FOLDER / "Cache"
    return Path.home() / ".cache" / _FOLDER


def is_offline() -> bool:
    """Whether the user forbids the network."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")
