"""python -m training.federated RECIPE: clients that keep their pictures learn one model together,
in rounds, over a link whose bytes and seconds are counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from training.engine.command import run_command
from training.rounds.loop import run_rounds
from training.rounds.opening import open_federation
from training.rounds.recipe import FederatedRecipe
from training.rounds.result import write_result


def run(recipe: FederatedRecipe, out: Path) -> float:
    """Learn together by the recipe into `out`, resuming where a run was stopped; returns the test
    accuracy in percent.

    Raises:
        ValueError: the recipe promises privacy, which is Flower's to give; or as `open_federation`.
    """
    if recipe.privacy is not None:
        raise ValueError("privacy is given by Flower's own mod: start this recipe by `flwr run`")
    federation = open_federation(recipe, out)
    return write_result(federation, run_rounds(federation, out), out)


if __name__ == "__main__":
    sys.exit(run_command(FederatedRecipe, run, __doc__))
