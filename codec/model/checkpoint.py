"""folder <-> codec: where checkpoints are found, and the checksums that say whether their files are
whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from codec.files import sha256

MANIFEST = "manifest.json"


def shipped_root() -> Path:
    """Folder of the shipped codecs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def shipped_names() -> list[str]:
    """Names of the codecs that ship with the library."""
    return sorted(p.parent.name for p in shipped_root().glob("*/codec.safetensors"))


def find_checkpoint(name: str | os.PathLike[str]) -> Path:
    """Folder of a codec: a local folder, a shipped name, or a hub id (downloaded).

    Raises:
        FileNotFoundError: none of these; the message lists the shipped names.
    """
    for folder in (Path(name), shipped_root() / name):
        if (folder / "config.json").is_file() and (folder / "codec.safetensors").is_file():
            return folder
    if Path(name).is_dir():
        missing = [
            f for f in ("config.json", "codec.safetensors") if not (Path(name) / f).is_file()
        ]
        raise FileNotFoundError(
            f"{name} is a folder without {' and '.join(missing)}: not a codec's checkpoint"
        )
    reason = ""
    if str(name).count("/") == 1 and not str(name).startswith((".", "/")):
        try:
            return _download(str(name))
        except Exception as error:
            reason = f" (hub: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    raise FileNotFoundError(
        f"no codec {str(name)!r}; shipped are: {', '.join(shipped_names()) or 'none'}{reason}"
    )


def find_backbone(reference: str, folder: Path) -> str:
    """Folder or hub id of the backbone a codec in `folder` names."""
    for place in (folder / reference, shipped_root() / reference, Path(reference)):
        if (place / "config.json").is_file():
            return str(place)
    return reference


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file under `folder` into its `manifest.json`."""
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, "README.md")
    )
    sums = {p.relative_to(folder).as_posix(): sha256(p) for p in files}
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=2) + "\n")


def check_manifest(folder: Path) -> None:
    """Check every file that `manifest.json` lists, where there is one.

    Raises:
        FileNotFoundError: a listed file is missing.
        ValueError: a file was altered.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    try:
        sums = json.loads(manifest.read_text())["sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest} is not a manifest of checksums") from error
    for name, expected in sums.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{folder.name} is incomplete: {name} is missing")
        if sha256(file) != expected:
            raise ValueError(f"{file} was altered: its SHA-256 is not the one in {MANIFEST}")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name))
