"""name -> folder of a checkpoint, and what its manifest says: which files it has, whether they are
whole, and the fingerprint of the codec.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from codec.coding.container import BitstreamError, inspect, is_of
from codec.files import read_json, sha256, whole_file
from codec.model.hub import NO_HUB, Hub, download

MANIFEST, CONFIG, WEIGHTS = "manifest.json", "config.json", "codec.safetensors"
NEEDED = (
    CONFIG,
    "generation_config.json",
    WEIGHTS,
    "model*.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
"""The files that a codec or a backbone is read from: a manifest lists all that are there."""


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says: the SHA-256 of each file in hex, by its path in the folder; and,
    of a codec, its fingerprint.
    """

    sums: dict[str, str]
    fingerprint: bytes | None


def shipped_root() -> Path:
    """Folder of the shipped codecs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def shipped_names() -> list[str]:
    """Names of the codecs that ship with the library."""
    return sorted(p.parent.name for p in shipped_root().glob(f"*/{WEIGHTS}"))


def shipped_fingerprints() -> dict[str, bytes]:
    """Fingerprint of each shipped codec by its name, from the manifests alone. They are read once;
    one that cannot be read, or has none, is left out.
    """
    return dict(_fingerprints_in(shipped_root()))


@functools.cache
def _fingerprints_in(root: Path) -> tuple[tuple[str, bytes], ...]:
    found = []
    for weights in sorted(root.glob(f"*/{WEIGHTS}")):
        try:
            manifest = read_manifest(weights.parent)
        except (ValueError, OSError):
            continue
        if manifest is not None and manifest.fingerprint is not None:
            found.append((weights.parent.name, manifest.fingerprint))
    return tuple(found)


def named_by(blob: bytes) -> str | None:
    """Name of the shipped codec that wrote a blob, None where none did; no codec is loaded."""
    try:
        inspect(blob)
    except BitstreamError:
        return None
    return next((name for name, own in shipped_fingerprints().items() if is_of(blob, own)), None)


def is_path(name: str | os.PathLike[str]) -> bool:
    """Whether a name can be nothing but a path: a hub id has one slash, between two parts, and a
    first part that no folder here is called.
    """
    text = os.fspath(name)
    parts = Path(text).parts
    return (
        not isinstance(name, str)
        or text.startswith((".", "~", os.sep))
        or "\\" in text
        or text.endswith("/")
        or len(parts) > 2
        or (len(parts) == 2 and Path(parts[0]).is_dir())
    )


def find_checkpoint(name: str | os.PathLike[str], hub: Hub = NO_HUB) -> Path:
    """Folder of a codec: a shipped name, a local folder, or a hub id (downloaded).

    A folder in the working directory is meant only where the name looks like a path, as `./name`
    does: what a bare name means does not depend on where a command runs.

    Raises:
        FileNotFoundError: none of these; the message lists the shipped names.
        ValueError: a revision is asked for of a codec that is here.
    """
    path = is_path(name)
    folder = Path(name) if path else shipped_root() / name
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        if hub.revision is not None:
            raise ValueError(
                f"revision {hub.revision!r} names a version on the hub; {name} is in {folder}"
            )
        return folder
    if path and folder.is_dir():
        missing = [f for f in (CONFIG, WEIGHTS) if not (folder / f).is_file()]
        raise FileNotFoundError(
            f"{name} is a folder without {' and '.join(missing)}: not a codec's checkpoint"
        )
    here = not path and name and Path(name).is_dir()
    reason = f" (for the folder, write ./{name})" if here else ""
    if not path and "/" in str(name):
        try:
            return download(str(name), hub)
        except Exception as error:
            said = (str(error).splitlines() or [""])[0]
            reason = f" (hub: {type(error).__name__}: {said})"
    raise FileNotFoundError(
        f"no codec {str(name)!r}; shipped are: {', '.join(shipped_names()) or 'none'}{reason}"
    )


def find_backbone(reference: str, folder: Path) -> str:
    """Folder or hub id of the backbone that a codec names.

    Args:
        folder: of the codec: what is inside comes first. Where there is no codec yet it is the
            working directory, and what ships comes first, but for `./name`.
    """
    own, shipped = folder / reference, shipped_root() / reference
    named = (folder / WEIGHTS).is_file() or reference.startswith((".", "~", os.sep))
    for place in (own, shipped) if named else (shipped, own):
        if (place / CONFIG).is_file():
            return str(place)
    return reference


def needed_files(folder: Path, pattern: str = "**/") -> list[Path]:
    """The files under `folder` that are read when it is loaded, as paths in it, sorted.

    Args:
        pattern: which folders: `**/` for all, "" for this one alone.
    """
    found = {p for name in NEEDED for p in folder.glob(pattern + name) if p.is_file()}
    paths = {p.relative_to(folder) for p in found}
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.parts))


def write_manifest(folder: Path, fingerprint: bytes | None = None) -> None:
    """Write `manifest.json`: the SHA-256 of every file under `folder` but README.md, and the
    fingerprint, where it is a codec's.
    """
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name not in (MANIFEST, "README.md")
    )
    values: dict[str, object] = {} if fingerprint is None else {"fingerprint": fingerprint.hex()}
    values["sha256"] = {p.relative_to(folder).as_posix(): sha256(p) for p in files}
    with whole_file(folder / MANIFEST) as file:
        file.write_text(json.dumps(values, indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """What `manifest.json` says, None where there is none.

    Raises:
        ValueError: it is not a manifest.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return None
    try:
        values = read_json(file)
        sums, fingerprint = values["sha256"], values.get("fingerprint")
        if not isinstance(sums, dict) or not all(isinstance(s, str) for s in sums.values()):
            raise TypeError("sha256 is an object of texts")
        for name in sums:
            if not set(name.split("/")).isdisjoint(("", ".", "..")) or "\\" in name or "\0" in name:
                raise ValueError(f"{name[:60]!r} is not a file in the folder")
        own = None if fingerprint is None else bytes.fromhex(fingerprint)
        if own is not None and len(own) != 32:
            raise ValueError("a fingerprint has 32 bytes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not a manifest of checksums: {error}") from error
    return Manifest(sums, own)


def check_manifest(folder: Path, needed: list[Path] | None = None) -> Manifest | None:
    """Check the files that are read against `manifest.json`, where there is one.

    Args:
        folder: of a codec or a backbone.
        needed: the files that will be read, as paths in the folder; None for all that it lists.

    Raises:
        FileNotFoundError: a listed file is missing.
        ValueError: a file was altered or is not listed, or the manifest is not one.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    names = [p.as_posix() for p in (needed_files(folder) if needed is None else needed)]
    for name in names:
        if name not in manifest.sums:
            raise ValueError(f"{folder / name} is not one of the files that {MANIFEST} lists")
    for name in manifest.sums if needed is None else names:
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{folder.name} is incomplete: {name} is missing")
        if sha256(file) != manifest.sums[name]:
            raise ValueError(f"{file} was altered: its SHA-256 is not the one in {MANIFEST}")
    return manifest
