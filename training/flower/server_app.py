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
    """Run the rounds that are left, into the folder `out`.

    The run config says how many seconds the server waits: `wait-for-clients-s` until they come,
    `wait-for-replies-s` until a round's replies are there.

    Raises:
        TimeoutError, RuntimeError: no client came, or nobody learned in a round.
    """
    config = context.run_config
    wait_s, replies_s = (float(config[f"wait-for-{what}-s"]) for what in ("clients", "replies"))
    recipe, out = recipe_of(config), Path(str(config["out"]))
    keep_recipe(recipe, out)
    federation = federation_of(recipe)
    state = last_checkpoint(out / "rounds") or State(federation.start)
    strategy = CodedAverage(federation, state, out, wait_s)
    while rounds := recipe.rounds - len(strategy.state.lines):
        start = to_record(strategy.state.weights)
        strategy.start(grid, start, num_rounds=rounds, timeout=replies_s)
    write_result(federation, strategy.state, out)
