"""A tiny random captioner and question answerer that share one vision tower, with processor and
vocabulary, as folders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
    BlipProcessor,
)

from codec.tasks import CAPTIONS, QUESTIONS
from training.backbones.shared_tower import save_apart

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCES = (
    "a large ring is left of the small cube ; how many red blue green thing ##s ? "
    "what colour one two three right there yes no"
)
VOCABULARY = {word: i for i, word in enumerate([*SPECIAL, *SENTENCES.split(), "[DEC]", "[ENC]"])}
MODELS: dict[str, Any] = {
    "image-to-text": BlipForConditionalGeneration,
    "visual-question-answering": BlipForQuestionAnswering,
    "image-text-retrieval": BlipForImageTextRetrieval,
}
BOTH = "image-to-text, visual-question-answering"


def tokenizer() -> Any:
    """WordPiece over `VOCABULARY`."""
    return BertTokenizer(vocab=VOCABULARY, bos_token="[DEC]", additional_special_tokens=["[ENC]"])


def build(task: str, seed: int = 0) -> Any:
    """A random BLIP for 32 x 32 pixels, whose words depend on the picture: 16 tokens and CLS, 32
    wide, 3 vision and 2 text layers.
    """
    sizes = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.3,
    }
    special = {
        "bos_token_id": VOCABULARY["[DEC]"],
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    text = (
        sizes
        | special
        | {"num_hidden_layers": 2, "vocab_size": len(VOCABULARY), "max_position_embeddings": 32}
    )
    vision = sizes | {"num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
    torch.manual_seed(seed)
    model = MODELS[task](
        BlipConfig(
            text_config=text, vision_config=vision, image_text_hidden_size=16, initializer_range=0.3
        )
    ).eval()
    with torch.no_grad():
        # no bias is left at 0, no norm at 1: what is dropped or mixed up shows
        for p in model.vision_model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    if hasattr(model, "text_decoder"):
        with torch.no_grad():
            model.text_decoder.cls.predictions.bias[[0, 1, 2, 4, -1, -2]] = -50  # words, not [UNK]
            model.text_decoder.cls.predictions.bias[3] = -3  # not the end at once
            for layer in model.text_decoder.bert.encoder.layer:
                layer.crossattention.output.dense.weight.mul_(4)  # look at the picture
    return model


def write(folder: Path, task: str, tower: torch.nn.Module | None = None) -> Any:
    """A model of `build` into `folder`, with the vision tower of `tower`."""
    model = build(task, seed=len(task))
    if tower is not None:
        model.vision_model.load_state_dict(tower.state_dict())
    model.save_pretrained(folder)
    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    BlipProcessor(processor, tokenizer()).save_pretrained(folder)
    return model


def write_pair(folder: Path) -> None:
    """Captioner and question answerer with one tower, each in a folder named by its task; the
    tower's weights lie once.
    """
    tower = build(CAPTIONS, seed=len(CAPTIONS)).vision_model
    models = {}
    for task in (CAPTIONS, QUESTIONS):
        models[folder / task] = write(folder / task, task, tower)
        (folder / task / "model.safetensors").unlink()
    save_apart(models)
