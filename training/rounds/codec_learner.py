"""a trained codec -> what clients go on to learn of it: encoder, gains, synthesis and adapters.

Clients learn by stage 2 of the codec's training (`training.codecs.task`), each from its own
pictures: rate and answers together. The server has labelled pictures of its own: the validation
split and the calibration split of the codec's recipe. The prior is fitted to the first before the
first round and stays as it is, so that it need not be sent; after the last round the codec is
frozen with them, and calibrated on the second. It is then another codec, with another fingerprint.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from codec.tasks import LABELS
from training.codecs.ending import fit_first, write_final
from training.codecs.preparing import prepare
from training.codecs.recipe import CodecRecipe
from training.data.images import Batch, Images, batches, normalise
from training.engine.card import command_line
from training.engine.recipe import read_recipe
from training.rounds.recipe import FederatedRecipe

BATCH_SIZE = 60


class CodecLearner:
    """The codec that a run starts from.

    Args:
        recipe: of the run; `codec` names the recipe of the codec.

    Raises:
        ValueError, OSError: there is no such recipe, start, data or backbone; or the codec is not
            one for labels.
    """

    def __init__(self, recipe: FederatedRecipe) -> None:
        self.local, self.recipe = recipe.local, own_recipe(recipe)
        self.command = command_line("federated", recipe)
        made = prepare(self.recipe, None)
        self.made, self.model, self.preprocess = made, made.task, made.codec.config.preprocess
        model: Any = made.uncut[LABELS]
        self.labels: dict[int, str] = model.config.id2label
        self.model.set_stage("answer")
        fit_first(made)
        made.task.prior.requires_grad_(False)

    def loss(self, batch: Batch) -> torch.Tensor:
        """As `Learner`."""
        with torch.autocast(batch["pixels"].device.type, torch.bfloat16, enabled=self.local.bf16):
            loss: torch.Tensor = self.model(**batch)["loss"]
        return loss

    @torch.no_grad()
    def right(self, data: Images) -> torch.Tensor:
        """As `Learner`: each picture at one quality, in turn, its symbols rounded."""
        codec = self.made.codec.eval()
        device, found = codec.log_gain.device, []
        qualities = torch.arange(len(data), device=device) % codec.config.n_qualities
        for (pixels, labels), quality in zip(
            batches(data, BATCH_SIZE), qualities.split(BATCH_SIZE), strict=True
        ):
            symbols = self.model.rounded(normalise(pixels.to(device), self.preprocess), quality)
            tokens = codec.synthesise(symbols, quality)
            found.append(codec.tail(tokens).logits.argmax(1).cpu() == labels)
        return torch.cat(found)

    def finish(self, out: Path) -> None:
        """Freeze the codec into `out/final`."""
        self.model.prior.requires_grad_(True)  # it is fitted once more
        codec = write_final(self.made, self.command, out / "final")
        print(f"codec {codec.fingerprint.hex()[:16]} in {out / 'final'}", flush=True)


def own_recipe(recipe: FederatedRecipe) -> CodecRecipe:
    """The recipe of the codec, on the server's pictures, not the clients'.

    Raises:
        FileNotFoundError, ValueError: there is none, the codec is not one for labels, or a batch of
            a client is not made of whole rounds of its qualities.
    """
    assert recipe.codec is not None
    given = read_recipe(CodecRecipe, recipe.codec)
    if given.task != LABELS:
        raise ValueError(f"clients learn from labels, and the codec of {recipe.codec!r} has words")
    turns = len(given.turns())
    if recipe.local.batch_size % turns:
        raise ValueError(
            f"local.batch_size is a multiple of {turns}, a sample for each turn of a quality of "
            f"{recipe.codec!r}, not {recipe.local.batch_size}"
        )
    return dataclasses.replace(
        given,
        data=recipe.data,
        train_split=given.validation_split,
        answer=dataclasses.replace(given.answer, epochs=0),  # clients learn by `local`
        start=recipe.start or given.start,
        compile=False,
        limit=recipe.limit,
    )
