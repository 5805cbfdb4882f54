"""state after the last round -> `model.safetensors` and `result.json`: the weights, and their score
on the test split.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from codec.files import whole_file
from training.data.scoring import percent
from training.rounds.checkpoint import State
from training.rounds.loop import Federation
from training.rounds.opening import open_test
from training.rounds.weights import hash_of, n_values, set_weights


def write_result(federation: Federation, state: State, out: Path) -> float:
    """Write what a run ends in; returns the test accuracy in percent.

    `right` has a bit for each test image, the first one's the highest of the first byte: so runs
    can be compared image by image.
    """
    recipe = federation.recipe
    test = open_test(federation)
    set_weights(federation.learner.model, state.weights)
    right = federation.learner.right(test)
    score = percent(right)
    with whole_file(out / "model.safetensors") as file:
        save_file(state.weights, file)
    said = {
        "test_accuracy": score,
        "n_images": len(test),
        "right": np.packbits(right.numpy()).tobytes().hex(),
        "n_weights": n_values(state.weights),
        "sha256": hash_of(state.weights),
    }
    with whole_file(out / "result.json") as file:
        file.write_text(json.dumps(said, indent=1) + "\n")
    print(f"{score:.2f}% on {len(test)} test images after {recipe.rounds} rounds", flush=True)
    federation.learner.finish(out)
    return score
