"""recipe -> a pretrained classifier with a new head, its first blocks frozen; or a BLIP's vision
tower that is pretrained.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    BlipVisionModel,
    PreTrainedModel,
)

from codec.device.preprocess import Preprocess
from codec.model.backbone import place_of
from codec.model.backbone_config import check_config
from codec.model.split import n_blocks, split
from codec.model.split_tower import set_attention
from training.backbones.converted import converted
from training.backbones.mobile_teacher import MobileTeacher
from training.backbones.resizing import resized
from training.data.processor import preprocess_of
from training.engine.schedule import Schedule


@dataclass(frozen=True)
class TunedRecipe:
    """Everything a backbone that starts from another model depends on.

    Attributes:
        start: folder, shipped name or hub id of a ViT, DeiT or DINOv2 of transformers, with a
            classifier or without; it gets a new one.
        data: folder or hub name; `train_split` is fitted on, the best epoch is chosen on
            `validation_split`, and `test_split` is read once, at the end.
        image_size: side in pixels; None for that of the start's image processor.
        patch_size: of the tokens; None for that of the start.
        frozen_blocks: so many of the first blocks stay as they are, and the embeddings with them:
            what they make of the pictures is remembered on disk.
        layer_decay: each trained block's learning rate is so many times that of the next one
            (Bao et al. 2021 (BEiT), arXiv 2106.08254, appendix H).
        head_lr: learning rate of the new classifier, which starts as a linear probe of the start
            (`training.backbones.probe`).
        head_decay: weight decay of that probe.
        teacher: a pretrained mobile network that gives soft labels; None for the labels alone.
        shift: largest random shift of the pictures, in pixels.
        label_smoothing: of the labels' share of the target.
        note: a sentence for the model card.
        file: where it was read from.
    """

    name: str
    start: str
    data: str
    train_split: str
    validation_split: str
    test_split: str
    schedule: Schedule
    image_size: int | None = None
    patch_size: int | None = None
    frozen_blocks: int = 0
    layer_decay: float = 0.75
    head_lr: float = 1e-3
    head_decay: float = 1e-3
    teacher: MobileTeacher | None = None
    shift: int = 4
    label_smoothing: float = 0.1
    limit: int | None = None
    note: str = ""
    file: str = field(default="", compare=False)


def start_preprocess(start: str, image_size: int | None) -> Preprocess:
    """The preprocessing of a pretrained model's pictures, at another size; None for its own.

    The side to which a picture is resized before it is cropped changes in proportion.
    """
    found = preprocess_of(start)
    size = image_size or found.size
    resize = None if found.resize is None else round(found.resize * size / found.size)
    return dataclasses.replace(found, size=size, resize=resize)


def open_start(recipe: TunedRecipe, image_size: int, labels: list[str]) -> PreTrainedModel:
    """The start with a new classifier for `labels`, all zeros, and its first blocks frozen.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is of another family, its file lacks weights other than the classifier's, or
            it has not so many blocks.
    """
    names = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    model: Any = _loaded(AutoModelForImageClassification, recipe.start, **names)
    model = resized(model, image_size, recipe.patch_size or model.config.patch_size)
    if not 0 <= recipe.frozen_blocks <= n_blocks(model):
        raise ValueError(
            f"frozen_blocks is in 0..{n_blocks(model)}, the blocks of {recipe.start}, not "
            f"{recipe.frozen_blocks}"
        )
    set_attention(model, "eager")  # in bfloat16 on a CPU its backward is faster than sdpa's
    nn.init.zeros_(model.classifier.weight)
    nn.init.zeros_(model.classifier.bias)
    model.requires_grad_(True)
    if recipe.frozen_blocks:
        split(model, recipe.frozen_blocks).head.requires_grad_(False)
    return cast(PreTrainedModel, model)


def open_tower(start: str, image_size: int, patch_size: int | None) -> BlipVisionModel:
    """The start, a DINOv2, as a BLIP's vision tower for pictures of `image_size` pixels, in patches
    of `patch_size`, None for its own.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is of another family, or its file lacks weights.
    """
    model: Any = _loaded(AutoModel, start)
    return converted(resized(model, image_size, patch_size or model.config.patch_size))


def _loaded(kind: Any, start: str, **changes: Any) -> Any:
    """A model of a kind, such as `AutoModel`, with the weights of the start, but for a
    classifier's; `changes` of its configuration.
    """
    place = place_of(start, Path())
    try:
        check_config(AutoConfig.from_pretrained(place, trust_remote_code=False), start)
        model, info = kind.from_pretrained(
            place,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **changes,
        )
    except OSError as error:
        raise FileNotFoundError(f"no model {start!r} to start from: {error}") from error
    lacking = sorted(key for key in info["missing_keys"] if not key.startswith("classifier."))
    if lacking:
        raise ValueError(f"the file of {start!r} lacks the weights {', '.join(lacking[:3])}")
    n_blocks(model)  # of a family that can be cut
    return model
