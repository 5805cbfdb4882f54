"""folder or hub id -> the model that is cut: a classifier, captioner or question answerer,
whichever its configuration says it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.model.checkpoint import check_manifest, find_backbone

TASK_OF = {
    "BlipForConditionalGeneration": "image-to-text",
    "BlipForQuestionAnswering": "visual-question-answering",
    "BlipForImageTextRetrieval": "image-text-retrieval",
}
"""What each BLIP architecture answers. Every other model that `split` takes is a classifier."""


def load_backbone(reference: str, folder: Path) -> nn.Module:
    """A Hugging Face model in float32 and evaluation mode, from a folder, a shipped name or the
    hub, by the architecture it says it has.

    Args:
        reference: name of the backbone, as in a codec's configuration.
        folder: of the codec, where relative references are looked up first.

    Returns:
        A model for image classification, or a `BlipForConditionalGeneration`,
        `BlipForQuestionAnswering` or `BlipForImageTextRetrieval`.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: a file of it was altered, or it is a model of another kind.
    """
    import transformers
    from transformers.utils import logging

    place = find_backbone(reference, folder)
    if Path(place).is_dir():
        check_manifest(Path(place))
    # one of several in a folder: those are never on the hub
    elif Path(reference).name in TASK_OF.values():
        raise FileNotFoundError(f"no backbone {reference!r}")
    silent = logging.is_progress_bar_enabled() and Path(place).is_dir()
    try:
        if silent:  # a bar for reading one small local file is noise
            logging.disable_progress_bar()
        config: Any = transformers.AutoConfig.from_pretrained(place)
        architecture = (config.architectures or ["model of no architecture"])[0]
        kind: Any = transformers.AutoModelForImageClassification
        if config.model_type == "blip":
            if architecture not in TASK_OF:
                raise ValueError(
                    f"backbone {reference!r} is a {architecture}; of BLIP's models these are "
                    f"taken: {', '.join(TASK_OF)}"
                )
            kind = getattr(transformers, architecture)
        elif type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            raise ValueError(
                f"backbone {reference!r} is a {architecture}: neither a model for image "
                "classification nor one of BLIP's"
            )
        model: nn.Module = kind.from_pretrained(place, dtype=torch.float32)
    except OSError as error:
        raise FileNotFoundError(
            f"no backbone {reference!r}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        if silent:
            logging.enable_progress_bar()
    return model.eval()


def task_of(model: nn.Module) -> str:
    """What a task model answers: "image-classification", "image-to-text",
    "visual-question-answering" or "image-text-retrieval".
    """
    return TASK_OF.get(type(model).__name__, "image-classification")


def load_tokenizer(reference: str, folder: Path) -> Any:
    """The tokenizer that belongs to a backbone. Errors as `load_backbone`."""
    from transformers import AutoTokenizer

    place = Path(find_backbone(reference, folder))
    if place.is_dir() and not any(
        (place / name).is_file() for name in ("tokenizer.json", "vocab.txt")
    ):
        # an empty one would load
        raise FileNotFoundError(
            f"backbone {reference!r} has no tokenizer: neither tokenizer.json nor vocab.txt"
        )
    try:
        return AutoTokenizer.from_pretrained(str(place))
    except OSError as error:
        raise FileNotFoundError(
            f"backbone {reference!r} has no tokenizer: {str(error).splitlines()[0]}"
        ) from error
