"""name of a repository on the hub -> its folder here: how the hub is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

HUB_TIMEOUT_S = 10.0
"""How long the hub may take to say whether it has a repository."""


class Hub(NamedTuple):
    """How the hub is asked for a repository; each as in `huggingface_hub.snapshot_download`."""

    revision: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None


NO_HUB = Hub()
"""Nothing is said of it: its defaults are taken."""


def ask_hub(name: str) -> None:
    """Ask once whether the hub has a repository, unless it is in the cache: its own downloads try
    for half a minute where there is no network.

    Raises:
        OSError, ValueError: it has not, or cannot be reached; of the hub's library.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        HfApi().model_info(name, timeout=HUB_TIMEOUT_S)


def download(name: str, hub: Hub) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, **hub._asdict()))
