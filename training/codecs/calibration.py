"""a codec, held-out pictures -> what each quality takes and loses: bytes, drop, agreement."""

from __future__ import annotations

import numpy as np
import torch

from codec.model import FeatureCodec
from codec.model.config import Calibration
from training.codecs.objective import Objective, Said, agreement, scores
from training.data.images import batches, normalise
from training.engine.tracked import tracked

BATCH = 500


@torch.inference_mode()
def calibrate(codec: FeatureCodec, objective: Objective) -> tuple[Calibration, ...]:
    """Real blobs of held-out pictures at every quality: mean bytes, drop and agreement, all by the
    judge of `codec.tasks`.

    The drop is that of the task that loses most, in points of its score; the agreement is over all
    labels, captions and answers alike. Where it is not known what is right, the uncut model's
    answers are taken for that: the drop is then the most that it can be.
    """
    n_bytes = np.zeros(codec.config.n_qualities)
    uncut: Said = {}
    own: list[Said] = [{} for _ in codec.qualities]
    n_batches = -(-len(objective.data) // BATCH)
    for pixels, labels in tracked(
        batches(objective.data, BATCH),
        f"calibrating on {len(objective.data):,} pictures",
        n_batches,
        "batches",
    ):
        x = normalise(pixels, codec.config.preprocess).to(codec.log_gain.device)
        _add(uncut, objective.said(objective.uncut, x, labels))
        latent = codec.latent(x)
        for q in codec.qualities:
            blobs = codec.code(codec.quantise(latent, q), q)
            n_bytes[q] += sum(map(len, blobs))
            _add(own[q], objective.said(codec.tails, codec.decode(blobs), labels))
    n_images, truth = len(objective.data), uncut | objective.truth()
    best, rows = scores(uncut, truth), []
    for q in codec.qualities:
        found = scores(own[q], truth)
        drop = max(best[task] - found[task] for task in best)
        values = n_bytes[q] / n_images, drop, agreement(own[q], uncut)
        rows.append(Calibration(n_images, *(round(float(value), 4) for value in values)))
    return tuple(rows)


def _add(said: Said, more: Said) -> None:
    for task, given in more.items():
        said.setdefault(task, []).extend(given)
