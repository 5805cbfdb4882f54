"""saved codec -> model card of its repository on the hub: what is known of it in YAML, as the hub
reads it, then the card's own text.

Fields: https://huggingface.co/docs/hub/model-cards, "Model card metadata".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec.model.checkpoint import CONFIG, WEIGHTS, find_backbone
from codec.model.config import CodecConfig
from codec.tasks import CAPTIONS, LABELS, QUESTIONS

CARD = "README.md"
LIBRARY = "task-codec"
TAGS = (LIBRARY, "feature-compression", "split-computing")
METRICS = {LABELS: "accuracy", CAPTIONS: "bleu", QUESTIONS: "accuracy"}
"""What a codec's drop is measured in, by task, in the hub's names."""
UNKNOWN = "unknown"
"""The hub's word for a licence that nobody has named."""


def write_hub_card(
    folder: Path, loaded_from: Path, repo_id: str, given: Mapping[str, Any] | None = None
) -> None:
    """Write the card of a codec that was saved into `folder`: the text of the card in the folder
    that it was loaded from, if that holds a codec, or else a short one.

    Args:
        repo_id: where it will be.
        given: fields of the YAML, put over those that are known: `license`, `datasets`, ...

    Raises:
        ValueError: the card begins with YAML that is none.
    """
    config = CodecConfig.from_dict(json.loads((folder / CONFIG).read_text()))
    from huggingface_hub import ModelCard, ModelCardData

    card = loaded_from / CARD
    theirs = card.is_file() and (loaded_from / WEIGHTS).is_file()
    text = card.read_text(encoding="utf-8") if theirs else _short_text(config, repo_id)
    try:
        read = ModelCard(text if text.startswith("---") else f"---\n{{}}\n---\n\n{text}")
    except Exception as error:  # the YAML library's, and its own
        raise ValueError(f"the model card begins with YAML that is none: {error}") from error
    fields = _known(config, folder, text) | read.data.to_dict() | dict(given or {})
    read.data = ModelCardData(**fields)
    (folder / CARD).write_text(str(read), encoding="utf-8")


def _known(config: CodecConfig, folder: Path, text: str) -> dict[str, Any]:
    """The fields that follow from a codec and from the recipe in its card."""
    fields: dict[str, Any] = {
        "library_name": LIBRARY,
        "license": UNKNOWN,
        "pipeline_tag": config.tasks[0],
        "tags": [*TAGS, *config.tasks[1:]],
        "metrics": list(dict.fromkeys(METRICS[task] for task in config.tasks)),
    }
    places = [find_backbone(reference, folder) for reference in config.backbones.values()]
    if not any(Path(place).is_dir() for place in places):  # else it is in the codec, or ships
        fields["base_model"] = places[0] if len(places) == 1 else places
    # of a recipe: a folder of somebody's has no owner
    if data := re.search(r"^data: ([\w.-]+/[\w.-]+)$", text, re.MULTILINE):
        fields["datasets"] = [data[1]]
    return fields


def _short_text(config: CodecConfig, repo_id: str) -> str:
    rows = "".join(
        f"| {q} | {row.bytes_mean:.1f} | {row.drop:.2f} | {row.agreement:.2f} |\n"
        for q, row in enumerate(config.calibration)
    )
    table = (
        "\n| quality | bytes, mean | drop against the uncut model, points | agreement, % |\n"
        f"|---|---|---|---|\n{rows}"
    )
    return f"""# {config.name}: a task-oriented codec

Cuts a backbone after block {config.k}; `{config.encoder}` encoder on the device; latent
{config.side} x {config.side} x {config.n_channels}; {config.n_qualities} qualities.

```python
from codec import Device, Server

device, server = (end.from_pretrained("{repo_id}") for end in (Device, Server))
answer = server(device("photo.jpg"))
```
{table if rows else ""}"""
