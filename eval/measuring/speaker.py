"""name of a codec or of an uncut backbone -> a captioner and question answerer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.backbone import load_backbone, load_tokenizer, task_of
from codec.model.checkpoint import find_backbone, shipped_root
from codec.model.cost import Cost
from codec.model.split import share_tower
from codec.tasks import CAPTIONS, QUESTIONS
from eval.methods.coded import Coded, merged_tails
from eval.methods.method import Method
from eval.methods.uncut import Uncut


class Speaker(NamedTuple):
    """A captioner or question answerer, or both: the way to its words, and each task's
    tokenizer.
    """

    name: str
    method: Method
    tokenizers: dict[str, Any]
    preprocess: Preprocess


def load_speaker(name: str, quality: int | None) -> Speaker:
    """A codec or an uncut backbone: a folder or a shipped name; for a backbone also a folder of
    folders named by task.

    Args:
        quality: of a codec, None for its default.

    Raises:
        FileNotFoundError: no such thing.
        ValueError: it neither captions nor answers, a quality it does not have, or a file of it was
            altered.
    """
    places = (Path(name), shipped_root() / name)
    if any((place / "codec.safetensors").is_file() for place in places):
        return _codec_speaker(name, quality)
    parts = (name, f"{name}/{CAPTIONS}", f"{name}/{QUESTIONS}")
    references = [
        part for part in parts if Path(find_backbone(part, Path()), "config.json").is_file()
    ]
    if not references:
        raise FileNotFoundError(f"no codec or backbone {name!r}")
    if quality is not None:
        raise ValueError(f"--quality is for codecs; {name} is none")
    models: dict[str, Any] = {}
    for reference in references:
        model = load_backbone(reference, Path())
        _served(reference, [task_of(model)])
        models[task_of(model)] = model
    share_tower(list(models.values()))
    first, *others = (
        Preprocess.from_processor(find_backbone(reference, Path())) for reference in references
    )
    if any(other != first for other in others):
        raise ValueError(f"the models in {name} prepare pictures in different ways")
    tokenizers = {
        task: load_tokenizer(reference, Path())
        for task, reference in zip(models, references, strict=True)
    }
    return Speaker(f"{name}, uncut", Uncut(models, first), tokenizers, first)


def _codec_speaker(name: str, quality: int | None) -> Speaker:
    codec = FeatureCodec.from_pretrained(name)
    config = codec.config
    tokenizers = {task: codec.load_tokenizer(task) for task in _served(name, config.tasks)}
    q = config.default_quality if quality is None else quality
    if q not in codec.qualities:
        raise ValueError(f"{name} has qualities 0 to {config.n_qualities - 1}, not {q}")
    method = Coded(codec, q, Cost(0, 0), merged_tails(codec))
    return Speaker(f"{config.name}, quality {q}", method, tokenizers, config.preprocess)


def _served(name: str, tasks: Sequence[str]) -> list[str]:
    """Those of a model's tasks that take words."""
    served = [task for task in tasks if task in (CAPTIONS, QUESTIONS)]
    if not served:
        raise ValueError(f"{name} serves {', '.join(tasks)}: neither {CAPTIONS} nor {QUESTIONS}")
    return served
