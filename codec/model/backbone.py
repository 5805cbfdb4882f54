"""folder or hub id -> the model that is cut: a classifier, captioner or question answerer,
whichever its configuration says it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.model.backbone_config import check_config, check_folder
from codec.model.checkpoint import check_manifest, find_backbone, is_path, shipped_root
from codec.model.config import CodecConfig
from codec.model.hub import NO_HUB, Hub, ask_hub

TASK_OF = {
    "BlipForConditionalGeneration": "image-to-text",
    "BlipForQuestionAnswering": "visual-question-answering",
    "BlipForImageTextRetrieval": "image-text-retrieval",
}
"""What each BLIP architecture answers. Every other model that `split` takes is a classifier."""
SHIPPED = "backbones/"
"""How references to what ships begin: they are never asked for on the hub."""
COUNTED = ("position_ids",)
"""Buffers that older files hold and newer models count anew."""


def load_backbone(reference: str, folder: Path, hub: Hub = NO_HUB) -> nn.Module:
    """A Hugging Face model in float32 and evaluation mode, from a folder, a shipped name or the
    hub, by the architecture it says it has.

    Args:
        reference: name of the backbone, as in a codec's configuration.
        folder: of the codec, where relative references are looked up first.
        hub: how the hub is asked; its revision is the codec's, and not the backbone's.

    Returns:
        A model for image classification, or a `BlipForConditionalGeneration`,
        `BlipForQuestionAnswering` or `BlipForImageTextRetrieval`.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: a file of it was altered; it is a model of another kind, or asks for code from
            elsewhere; or its weights are not those of its architecture: none may be missing, and
            none left over.
    """
    import transformers
    from transformers.utils import logging

    place = place_of(reference, folder)
    if Path(place).is_dir():
        check_manifest(Path(place))
    asked = {"trust_remote_code": False, "cache_dir": hub.cache_dir, "token": hub.token}
    silent = logging.is_progress_bar_enabled() and Path(place).is_dir()
    try:
        if silent:  # a bar for reading one small local file is noise
            logging.disable_progress_bar()
        config: Any = transformers.AutoConfig.from_pretrained(place, **asked)
        kind = _kind_of(config, reference)
        check_config(config, reference)
        if Path(place).is_dir():
            check_folder(Path(place), kind, config, reference)
        model, info = kind.from_pretrained(
            place,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # said by `_check_weights`, which names them
            **asked,
        )
    except OSError as error:
        raise FileNotFoundError(f"no backbone {reference!r}: {_first_line(error)}") from error
    except ValueError:
        raise
    except Exception as error:  # transformers has many errors of its own for a damaged file
        raise ValueError(f"backbone {reference!r} cannot be loaded: {_said(error)}") from error
    finally:
        if silent:
            logging.enable_progress_bar()
    _check_weights(info, reference)
    loaded: nn.Module = model.eval()
    return loaded


def place_of(reference: str, folder: Path) -> str:
    """Folder or hub id of a backbone, as `find_backbone`; the hub is asked for it once, before a
    download tries for long.

    Raises:
        FileNotFoundError: a path, where nothing is; one that ships, and not with the wheel; or no
            repository on the hub.
    """
    place = find_backbone(reference, folder)
    if Path(place).is_dir():
        return place
    if reference.startswith(SHIPPED):
        raise FileNotFoundError(
            f"no backbone {reference!r}: it is too large for the wheel. The project's checkout has "
            f"it in pretrained/{reference}; copy that folder to {shipped_root() / reference}"
        )
    # one of several in a folder: those are never on the hub either
    if is_path(reference) or Path(reference).name in TASK_OF.values():
        raise FileNotFoundError(f"no backbone {reference!r}")
    try:
        ask_hub(reference)
    except Exception as error:  # the hub's library has many, httpx's too
        raise FileNotFoundError(f"no backbone {reference!r}: {_first_line(error)}") from error
    return place


def _kind_of(config: Any, reference: str) -> Any:
    """The class of transformers that loads a model of this configuration."""
    import transformers

    architecture = (config.architectures or ["model of no architecture"])[0]
    if config.model_type == "blip":
        if architecture not in TASK_OF:
            raise ValueError(
                f"backbone {reference!r} is a {architecture}; of BLIP's models these are "
                f"taken: {', '.join(TASK_OF)}"
            )
        return getattr(transformers, architecture)
    classifiers = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if type(config) not in classifiers:
        raise ValueError(
            f"backbone {reference!r} is a {architecture}: neither a model for image "
            "classification nor one of BLIP's"
        )
    found: Any = classifiers[type(config)]
    kinds = found if isinstance(found, tuple) else (found,)  # DeiT has one with a teacher too
    return next((kind for kind in kinds if kind.__name__ == architecture), kinds[0])


def _check_weights(info: dict[str, Any], reference: str) -> None:
    """Refuse a model that has random weights in the place of missing ones, or would drop some."""
    for found, what in (("missing_keys", "lacks"), ("unexpected_keys", "has more than")):
        names = sorted(name for name in info[found] if not name.endswith(COUNTED))
        if names:
            raise ValueError(
                f"the file of backbone {reference!r} {what} the weights of its architecture: "
                f"{', '.join(names[:3])}"
            )
    for name, held, asked in sorted(info["mismatched_keys"]):
        raise ValueError(
            f"{name} of backbone {reference!r} has shape {tuple(held)}, its configuration asks for "
            f"{tuple(asked)}"
        )
    if info["error_msgs"]:
        raise ValueError(f"weights of backbone {reference!r} do not fit: {info['error_msgs'][0]}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def models_of(
    config: CodecConfig, backbone: nn.Module | Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """A model, or several by task -> the model of each task of a codec.

    Raises:
        ValueError: a task has none, or one that is for another task, or whose weights are not
            there or not in float32.
    """
    models = {config.task: backbone} if isinstance(backbone, nn.Module) else dict(backbone)
    if set(models) != set(config.tasks):
        raise ValueError(
            f"{config.name} is to serve {config.task}: it takes a model for each, not for "
            f"{', '.join(models)}"
        )
    for task, model in models.items():
        if task_of(model) != task:
            raise ValueError(
                f"{config.name} is to serve {task}; a {type(model).__name__} serves "
                f"{task_of(model)}"
            )
        _check_held(model)
    return models


def _check_held(model: nn.Module) -> None:
    """A codec is named by the weights of its backbone: all of them, as float32 holds them."""
    for name, p in model.named_parameters():
        if p.is_meta:
            raise ValueError(
                f"{name} of the {type(model).__name__} is on the device meta, without numbers: "
                "load the model whole, not offloaded"
            )
        if p.dtype != torch.float32:
            raise ValueError(
                f"the {type(model).__name__} is held in {p.dtype}: load it with dtype=torch.float32"
            )


def task_of(model: nn.Module) -> str:
    """What a task model answers: "image-classification", "image-to-text",
    "visual-question-answering" or "image-text-retrieval".
    """
    return TASK_OF.get(type(model).__name__, "image-classification")


def load_tokenizer(reference: str, folder: Path, hub: Hub = NO_HUB) -> Any:
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
        return AutoTokenizer.from_pretrained(
            str(place), trust_remote_code=False, cache_dir=hub.cache_dir, token=hub.token
        )
    except OSError as error:
        raise FileNotFoundError(
            f"backbone {reference!r} has no tokenizer: {_first_line(error)}"
        ) from error
    except Exception as error:  # KeyError and others of a damaged file
        raise ValueError(
            f"the tokenizer of backbone {reference!r} cannot be loaded: {_said(error)}"
        ) from error
