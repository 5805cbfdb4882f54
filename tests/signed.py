"""Changes to a bundle with a manifest that fits them: what a test of something behind the
manifest's checks needs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codec.device.bundle import manifest_digest
from codec.files import sha256


def sign(bundle: Path, manifest: dict[str, Any] | None = None) -> None:
    """Write the digests of a bundle's files, and of its manifest as it is or as given, into the
    manifest.
    """
    file = bundle / "manifest.json"
    values = json.loads(file.read_text()) if manifest is None else manifest
    if isinstance(values.get("sha256"), dict):
        values["sha256"] = {name: sha256(bundle / name) for name in values["sha256"]}
    if values:
        values["digest"] = manifest_digest(values)
    file.write_text(json.dumps(values))
