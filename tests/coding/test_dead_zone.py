"""The dead zone: one rule, as floats for the quantiser and as integers for coarser symbols."""

from __future__ import annotations

import numpy as np

from codec.coding.dead_zone import half_steps, thousandths


def test_without_a_dead_zone_values_round_up_from_a_half() -> None:
    assert half_steps((), 3).tolist() == [0.5] * 3
    assert half_steps((), 3).dtype == np.float32
    assert thousandths((), 3) == (500, 500, 500)


def test_a_dead_zone_moves_it_by_its_width_in_float32() -> None:
    widths = (0.0, 0.1, 0.123, 0.4999)
    expected = [np.float32(0.5) - np.float32(width) for width in widths]
    assert half_steps(widths, 4).tolist() == [float(value) for value in expected]
    assert thousandths(widths, 4) == (500, 400, 377, 0)
