"""frozen features of labelled pictures -> a linear classifier of them, the start of a fitted one's.

A classifier that starts at zero sends gradients through a pretrained model that pull its features
apart before it has learnt to read them (Kumar et al. 2022, arXiv 2202.10054: probe first, then
fit all).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.networks import digest
from training.data.images import Images, batches, normalise
from training.data.remembered import Remembered
from training.engine.schedule import Schedule

STEPS = 60


def start_classifier(
    model: Any,
    data: Images,
    preprocess: Preprocess,
    decay: float,
    schedule: Schedule,
    folder: Path,
) -> float:
    """Set a model's classifier to the linear probe of what reaches it.

    Args:
        model: a classifier of transformers, whose layer `classifier` is linear.
        data: labelled pictures, which the probe is fitted to as they are.
        decay: weight decay of the probe, for features of unit variance.
        schedule: of the training; features are computed in its precision.
        folder: where the features are kept.

    Returns:
        The probe's share of right answers to `data`, in percent.
    """
    classifier: nn.Linear = model.classifier
    reached: list[torch.Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))

    def features(x: torch.Tensor) -> torch.Tensor:
        with schedule.autocast(x.device.type):
            model.eval()(x)
        return reached.pop()

    about = f"{digest(model.state_dict())} {data.digest} {preprocess} {schedule.precision} probe"
    kept = Remembered(features, (classifier.in_features,), folder, len(data), about)
    try:
        x, labels = features_of(kept, data, preprocess), torch.tensor(data.labels)
    finally:
        hook.remove()
    head = fit_head(x, labels, len(data.label_names), decay)
    classifier.load_state_dict(head.state_dict())
    return 100 * float((head(x).argmax(1) == labels).float().mean())


def features_of(kept: Remembered, data: Images, preprocess: Preprocess) -> torch.Tensor:
    """What `kept` makes of all pictures as they are: (n, D) float32."""
    seen, start = [], 0
    for pixels, labels in batches(data, 100):
        keys = torch.arange(start, start + len(labels))
        seen.append(kept(normalise(pixels, preprocess), keys))
        start += len(labels)
    return torch.cat(seen)


def fit_head(x: torch.Tensor, labels: torch.Tensor, n_labels: int, decay: float) -> nn.Linear:
    """A linear head (D -> L) on standardised features (n, D), fitted by L-BFGS; the
    standardisation is folded into it.
    """
    mean, spread = x.mean(0), x.std(0) + 1e-6
    standard = (x - mean) / spread
    head = nn.Linear(x.shape[1], n_labels).to(x.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(standard), labels) + decay * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.div_(spread)
        head.bias.sub_(head.weight @ mean)
    return head.requires_grad_(False)
