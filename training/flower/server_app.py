"""run config -> the rounds of a recipe: Flower's ServerApp."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from training.engine.command import keep_recipe
from training.flower.strategy import CodedAverage
from training.flower.task import federation_of, recipe_of, to_record
from training.rounds.checkpoint import State, last_checkpoint
from training.rounds.result import write_result

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds that are left, into the folder `out`."""
    recipe, out = recipe_of(context.run_config), Path(str(context.run_config["out"]))
    keep_recipe(recipe, out)
    federation = federation_of(recipe)
    state = last_checkpoint(out / "rounds") or State(federation.start)
    strategy = CodedAverage(recipe, state, federation.score, out)
    while rounds := recipe.rounds - len(strategy.state.lines):
        strategy.start(grid, to_record(strategy.state.weights), num_rounds=rounds)
    write_result(federation, strategy.state, out)
