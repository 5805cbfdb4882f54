"""python -m eval.studies.bottleneck RECIPE [key=value ...] --out FOLDER: trains the linear
bottleneck that codecs are held against.

It is trained for as many steps as the recipe gives a codec, on the same data, cut, objective and
adapters, at every second of its qualities; `python -m eval.sweep --bottleneck FOLDER` then measures
it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.files import whole_file
from codec.model.backbone import load_backbone
from codec.tasks import LABELS
from eval.methods.bottleneck import RECIPE, WEIGHTS, LinearBottleneck
from training.codecs.building import load_models
from training.codecs.objective import Objective
from training.codecs.opening import open_objective
from training.codecs.recipe import CodecRecipe
from training.codecs.task import rate_task_loss
from training.data.images import normalise
from training.data.randomness import uniform
from training.engine.command import run_command
from training.engine.compiling import compile_networks
from training.engine.loop import is_first_process, train

RATE_STRIDE = 4
"""In training the bottleneck's rate is measured on every 4th token, from one that changes: the
density is the larger part of a step.
"""

COMPONENT_IMAGES = 1000
"""Training pictures whose tokens' principal components the bottleneck's maps start from."""


class BottleneckTask(nn.Module):
    """`LinearBottleneck` in training: a batch -> loss, rate + KL divergence to the target of the
    codec's second stage.
    """

    def __init__(
        self,
        bottleneck: LinearBottleneck,
        recipe: CodecRecipe,
        preprocess: Preprocess,
        objective: Objective,
    ) -> None:
        super().__init__()
        self.bottleneck, self.preprocess, self.objective = bottleneck, preprocess, objective
        self.rate_weights: torch.Tensor
        self.register_buffer("rate_weights", torch.tensor(recipe.rate_weights), persistent=False)

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        q = len(self.rate_weights)
        x = normalise(self.objective.augment(pixels, keys), self.preprocess)
        quality = torch.arange(len(x), device=x.device) % q
        scaled = self.bottleneck.scaled(x, quality)
        sampled = scaled[:, int(keys[0]) % RATE_STRIDE :: RATE_STRIDE]
        noise = uniform(keys, sampled[0].numel(), stream=1).view_as(sampled) - 0.5
        bits = self.bottleneck.bits(sampled + noise) * scaled.shape[1] / sampled.shape[1]
        tokens = self.bottleneck.tokens(scaled + (scaled.round() - scaled).detach(), quality)
        task = self.objective.loss(
            {LABELS: self.bottleneck.tail}, tokens, self.objective.target(x, labels, keys)
        )
        return rate_task_loss(bits, task, quality, self.rate_weights)


def run(recipe: CodecRecipe, out: Path) -> LinearBottleneck:
    """Train the bottleneck by a codec's recipe into `out`: one stage, as long as the codec's
    two.
    """
    from safetensors.torch import save_file

    recipe = replace(recipe, rate_weights=recipe.rate_weights[::2], shares=(), even_from=None)
    preprocess = recipe.preprocess()
    backbone: Any = load_backbone(recipe.backbone, Path())
    backbone.set_attn_implementation("eager")  # its backward takes half the time of sdpa's on a CPU
    torch.manual_seed(recipe.answer.seed)
    uncut, bottleneck = load_models(recipe), LinearBottleneck(backbone, recipe)
    objective = open_objective(recipe, uncut, preprocess, recipe.train_split, out.parent)
    data = objective.data
    some = torch.stack([data[i][0] for i in range(min(COMPONENT_IMAGES, len(data)))])
    bottleneck.start_from_components(normalise(some, preprocess))
    schedule = replace(recipe.answer, epochs=recipe.match.epochs + recipe.answer.epochs)
    task = BottleneckTask(bottleneck, recipe, preprocess, objective)
    compile_networks([bottleneck.head, bottleneck.tail, uncut[LABELS]], recipe.compile)
    train(task, data, schedule, out / "train")
    task.to("cpu")
    if is_first_process():
        with whole_file(out / WEIGHTS) as file:
            save_file(
                {
                    name: p.detach().half().contiguous()
                    for name, p in bottleneck.own_parameters().items()
                },
                file,
            )
        values = {key: value for key, value in asdict(recipe).items() if key != "file"}
        with whole_file(out / RECIPE) as file:
            file.write_text(json.dumps(values, indent=2) + "\n")
    return bottleneck


if __name__ == "__main__":
    sys.exit(run_command(CodecRecipe, run, __doc__))
