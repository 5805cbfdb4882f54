"""python -m training.federated RECIPE: clients that keep their pictures learn one model together,
in rounds, over a link whose bytes and seconds are counted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.numpy import save_file

from codec.files import whole_file
from training.engine.command import run_command
from training.rounds.client import accuracy
from training.rounds.loop import run_rounds
from training.rounds.opening import open_federation, open_test
from training.rounds.recipe import FederatedRecipe
from training.rounds.weights import hash_of, n_values


def run(recipe: FederatedRecipe, out: Path) -> float:
    """Learn together by the recipe into `out`, resuming where a run was stopped; returns the test
    accuracy in percent.
    """
    federation = open_federation(recipe, out)
    state = run_rounds(federation, out)
    test = open_test(recipe)
    score = accuracy(federation.model, state.weights, test, recipe.local.bf16)
    with whole_file(out / "model.safetensors") as file:
        save_file(state.weights, file)
    said = {
        "test_accuracy": score,
        "n_images": len(test),
        "n_weights": n_values(state.weights),
        "sha256": hash_of(state.weights),
    }
    with whole_file(out / "result.json") as file:
        file.write_text(json.dumps(said, indent=1) + "\n")
    print(f"{score:.2f}% on {len(test)} test images after {recipe.rounds} rounds", flush=True)
    return score


if __name__ == "__main__":
    sys.exit(run_command(FederatedRecipe, run, __doc__))
