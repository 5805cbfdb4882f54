"""a codec in training, held-out pictures -> what it costs and loses after each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from codec.coding.container import HEADER_BYTES
from codec.tasks import LABELS
from training.codecs.freeze import spaced
from training.codecs.objective import Objective, Said, scores
from training.codecs.task import CodecTask
from training.data.images import collate, normalise

MOST = 600
"""So many pictures are looked at after an epoch, which should not wait."""


class Validation:
    """The loss of stage 2 on held-out pictures as they are, their symbols rounded; each picture at
    one quality, in turn. Bytes are the prior's estimate, header included: it is not frozen yet.

    Args:
        task: the codec in training.
        objective: the held-out pictures, and what is asked of them.
        most: so many of them are looked at, evenly spaced over the split.
    """

    def __init__(self, task: CodecTask, objective: Objective, most: int = MOST) -> None:
        self.task, self.objective = task, objective
        self.places = spaced(len(objective.data), most).tolist()

    @torch.no_grad()
    def of_uncut(self) -> dict[str, float]:
        """The uncut model's score of each task on the same pictures, in percent."""
        said: Said = {}
        for x, labels, _ in self._batches():
            for name, given in self.objective.said(self.objective.uncut, x, labels).items():
                said.setdefault(name, []).extend(given)
        truth = self.objective.truth(self.places)
        return scores({name: said[name] for name in truth}, truth)

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """The loss, negative, so that more is better; for the coarsest and the finest quality the
        bytes of a blob; and of a classifier the score over all qualities, in percent.
        """
        task, codec = self.task, self.task.codec
        n = codec.config.n_qualities
        loss, bits_of, said = 0.0, torch.zeros(n), Said()
        task.eval()
        for x, labels, quality in self._batches():
            symbols = task.rounded(x, quality)
            bits = task.prior.bits(symbols, symbols, codec.log_gain, quality)
            tokens = codec.synthesise(symbols, quality)
            lost = self.objective.loss(codec.tails, tokens, self.objective.target(x, labels, None))
            loss += float((lost + task.rate_weights[quality] * bits).sum())
            bits_of.index_add_(0, quality.cpu(), bits.cpu().float())
            if set(codec.tails) == {LABELS}:  # words take many steps to write
                given = self.objective.said(codec.tails, tokens, labels)[LABELS]
                said.setdefault(LABELS, []).extend(given)
        task.train()
        found = {"minus loss": -loss / len(self.places)}
        truth = self.objective.truth(self.places)
        if LABELS in said and LABELS in truth:
            found["score"] = scores(said, truth)[LABELS]
        counts = torch.bincount(torch.arange(len(self.places)) % n, minlength=n).clamp_min(1)
        for q in sorted({0, n - 1}):
            found[f"bytes at quality {q}"] = float(bits_of[q] / counts[q]) / 8 + HEADER_BYTES
        return found

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Pixel values (B, 3, S, S), labels (B,), and each one's quality (B,)."""
        data, codec = self.objective.data, self.task.codec
        device, n, size = codec.log_gain.device, codec.config.n_qualities, 60
        for start in range(0, len(self.places), size):
            batch = collate([data[i] for i in self.places[start : start + size]])
            quality = torch.arange(start, start + len(batch["labels"]), device=device) % n
            x = normalise(batch["pixels"].to(device), codec.config.preprocess)
            yield x, batch["labels"], quality
