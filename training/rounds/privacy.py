"""clipping and noise of a client's change -> what is promised about its pictures.

Local differential privacy with the Gaussian mechanism (Dwork, Roth 2014, "The algorithmic
foundations of differential privacy", appendix A): whichever pictures a client holds, its message
would be about as probable with any others. Two changes of norm `clip` at most are up to twice as
far apart: that is the sensitivity, and no smaller one keeps the promise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Privacy:
    """What is promised about each message of a client.

    Attributes:
        clip: the largest Euclidean norm of a change; a longer one is made shorter.
        epsilon, delta: the promise for one round; epsilon is below 1, where the mechanism's proof
            holds.
    """

    clip: float
    epsilon: float
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if not self.clip > 0 or not 0 < self.epsilon < 1 or not 0 < self.delta < 1:
            raise ValueError(
                "privacy.clip is above 0, privacy.epsilon and privacy.delta are in (0, 1), not "
                f"{self.clip:g}, {self.epsilon:g} and {self.delta:g}"
            )

    @property
    def sensitivity(self) -> float:
        """How far apart two changes can be."""
        return 2 * self.clip

    @property
    def noise(self) -> float:
        """Standard deviation of the noise on each weight."""
        return self.sensitivity * math.sqrt(2 * math.log(1.25 / self.delta)) / self.epsilon

    def after(self, rounds: int) -> tuple[float, float]:
        """Epsilon and delta of all messages of so many rounds together: the smaller epsilon of
        plain and of advanced composition (Dwork, Roth 2014, theorems 3.16 and 3.20), the latter
        with one delta more.
        """
        plain = rounds * self.epsilon
        advanced = self.epsilon * math.sqrt(2 * rounds * math.log(1 / self.delta)) + plain * (
            math.expm1(self.epsilon)
        )
        if plain <= advanced:
            return plain, rounds * self.delta
        return advanced, (rounds + 1) * self.delta
