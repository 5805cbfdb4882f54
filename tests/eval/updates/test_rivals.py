"""Other ways to send a change: each point is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.updates import rivals
from eval.updates.__main__ import measure, read_weights

CHANGE = np.random.default_rng(0).laplace(0, 1e-3, 5000).astype(np.float32)


def test_half_floats_take_two_bytes_a_weight():
    point = rivals.half_floats(CHANGE)
    assert point.n_bytes == 10000
    assert point.relative_mse < 1e-6


def test_more_bits_lose_less():
    eight, four = (rivals.stochastic(CHANGE, n_bits) for n_bits in (8, 4))
    assert four.n_bytes < eight.n_bytes
    assert eight.relative_mse < four.relative_mse / 50


@pytest.mark.parametrize("way", [rivals.largest, rivals.general])
def test_a_curve_loses_less_where_it_takes_more(way):
    points = sorted(way(CHANGE))
    errors = [point.relative_mse for point in points]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 < errors[0]


def test_bytes_between_two_points_lie_between_theirs():
    points = [rivals.Point(100, 0.5), rivals.Point(400, 0.1)]
    assert rivals.bytes_at(points, 0.3) == pytest.approx(200)
    assert rivals.bytes_at(points, 0.05) is None


def test_a_python_without_nncodec_is_said(tmp_path: Path):
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho no module nncodec >&2\nexit 1\n")
    failing.chmod(0o700)
    with pytest.raises(ValueError, match="no module nncodec"):
        list(rivals.nnc({"w": CHANGE}, str(failing), trellis=True))


def test_the_table_has_a_row_for_each_distortion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = {"w": np.zeros((50, 100), dtype=np.float32), "bn.running_var": np.ones(4)}
    np.savez(tmp_path / "before.npz", **before)
    np.savez(tmp_path / "after.npz", w=CHANGE.reshape(50, 100), **{"bn.running_var": np.ones(4)})
    pair = [read_weights(tmp_path / f"{name}.npz") for name in ("before", "after")]
    measure(*pair, None)
    out = capsys.readouterr().out
    assert "5000 weights, 20000 bytes as float32" in out
    assert out.count("\n| 0.") == 7
