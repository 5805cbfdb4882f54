"""python -m tests.versions.saved FOLDER: random codecs of each family, saved by the transformers
that is installed, with the logits of one picture; other versions load them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from codec.coding.integer_prior import IntegerPrior
from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from codec.model.backbone import load_backbone
from codec.model.config import CodecConfig
from codec.model.density import ContextPrior
from codec.model.freezing import freeze

SIZE, PATCH, N_QUALITIES, SIDE, N_CHANNELS = 32, 8, 2, 4, 4
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIZE,
    "patch_size": PATCH,
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 20,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "vit": ("ViT", "ForImageClassification", "image-classification"),
    "deit": ("DeiT", "ForImageClassification", "image-classification"),
    "dinov2": ("Dinov2", "ForImageClassification", "image-classification"),
    "blip": ("Blip", "ForConditionalGeneration", "image-to-text"),
}


def backbone(family: str) -> Any:
    """A random model of a family, for 32 x 32 pixels."""
    import transformers

    name, kind, _ = FAMILIES[family]
    config, model = (getattr(transformers, name + part) for part in ("Config", kind))
    made = {"text_config": TEXT, "vision_config": VISION} if family == "blip" else VISION
    torch.manual_seed(0)
    return model(config(**made)).eval()


def make(family: str, folder: Path) -> FeatureCodec:
    """A random codec whose encoder is the backbone's first block, with adapters behind it."""
    backbone(family).save_pretrained(folder / "backbone")
    preprocess = Preprocess(SIZE)
    config = CodecConfig(
        name=family,
        backbone=str(folder / "backbone"),
        task=FAMILIES[family][2],
        k=1,
        encoder="blocks",
        side=SIDE,
        n_channels=N_CHANNELS,
        n_qualities=N_QUALITIES,
        default_quality=1,
        preprocess=preprocess,
        adapter_rank=2,
    )
    codec = FeatureCodec(config, load_backbone(config.backbone, Path()))
    with torch.no_grad():
        for name, p in codec.own_parameters().items():
            if name.endswith(".up"):
                p.normal_(0, 0.2)  # adapters at work
    codec.set_prior(_prior())
    return codec


def _prior() -> IntegerPrior:
    torch.manual_seed(0)
    prior = ContextPrior(SIDE, N_CHANNELS, N_QUALITIES, n_hidden=8)
    draws = np.random.default_rng(0).laplace(0, 1.5, (N_QUALITIES, 100, SIDE**2, N_CHANNELS))
    gain = torch.zeros(N_QUALITIES, N_CHANNELS)
    return freeze(prior, gain, lambda: enumerate(np.rint(draws).astype(np.int32)))


@torch.inference_mode()
def logits(codec: FeatureCodec) -> torch.Tensor:
    """What the tail says to the tokens of one set of symbols."""
    symbols = np.random.default_rng(1).integers(-3, 4, (2, SIDE**2, N_CHANNELS)).astype(np.int32)
    tokens = codec.decode_symbols(symbols, np.array([0, 1]))
    words = {"input_ids": torch.tensor([[1, 5, 7]] * 2)} if codec.config.name == "blip" else {}
    found: torch.Tensor = codec.tail(tokens, **words).logits
    return found


def save(family: str, folder: Path) -> None:
    """A codec into `folder/codec`, and its logits beside it."""
    codec = make(family, folder)
    codec.save_pretrained(folder / "codec")
    save_file({"logits": logits(codec)}, folder / "logits.safetensors")


def saved_logits(folder: Path) -> torch.Tensor:
    return load_file(folder / "logits.safetensors")["logits"]


if __name__ == "__main__":
    for family in FAMILIES:
        save(family, Path(sys.argv[1]) / family)
