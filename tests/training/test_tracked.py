"""What takes long says that it begins; compilation says that it will be silent."""

from __future__ import annotations

import pytest
import torch

from training.engine.compiling import compile_networks
from training.engine.tracked import tracked


def test_a_long_loop_is_one_line_where_no_terminal_shows_a_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(tracked(range(3), "fitting the prior", 1500, "steps")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == "fitting the prior: 1,500 steps\n"
    assert captured.err == ""


class Network(torch.nn.Linear):
    """One that remembers how it was compiled."""

    compiled: dict[str, object] | None = None

    def compile(self, **given: object) -> None:
        self.compiled = given


@pytest.mark.parametrize("wanted", [True, False])
def test_compilation_is_announced_with_its_switch(
    wanted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(2, 2)
    compile_networks([network], wanted)
    said = capsys.readouterr().out
    assert network.compiled == ({"dynamic": False} if wanted else None)
    assert ("compile=false switches it off" in said) == wanted
    assert ("compiling 1 networks" in said) == wanted
