"""latent -> symbols: from where on a value is rounded away from zero, at each quality.

A latent in units of the quantiser's step, x, becomes sign(x) * floor(|x| + half). Plain rounding
has half = 1/2. With a dead zone d it is 1/2 - d: what lies a little beyond half a step becomes zero
too, which costs less of the answer than it saves of the rate (Sullivan 1996, "Efficient scalar
quantization of exponential and Laplacian random variables", sec. III). This is the encoder's matter
alone; no decoder depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def half_steps(dead_zone: Sequence[float], n_qualities: int) -> NDArray[np.float32]:
    """What each quality adds before it rounds down, (Q,) float32: 1/2 less its dead zone.

    Args:
        dead_zone: in steps, one for each quality; empty for plain rounding.
    """
    return np.float32(0.5) - np.asarray(dead_zone or (0.0,) * n_qualities, dtype=np.float32)


def thousandths(dead_zone: Sequence[float], n_qualities: int) -> tuple[int, ...]:
    """`half_steps` in thousandths of a step, as integers: for `ContextNetwork.coarser`, whose
    result must be the same on every machine.
    """
    return tuple(500 - round(1000 * d) for d in dead_zone or (0.0,) * n_qualities)
