"""changes that are wanted -> with what earlier messages left out, and what this one leaves out for
the next: error feedback (Karimireddy et al. 2019, arXiv 1901.09847, algorithm 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class UpdateState:
    """What a sender keeps from one update to the next. `keep` puts new arrays in place of the old
    ones, so `dataclasses.replace(state)` keeps a state as it is: for an update that may get lost.

    Attributes:
        residual: what was wanted and not sent, float32, by name.
    """

    residual: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def wanted(self, changes: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Changes of weights, with what was left out so far.

        Not the weights with it: a residual may be smaller than a weight's last bit.

        Raises:
            ValueError: the state is one of other shapes.
        """
        for name, left in self.residual.items():
            if name in changes and changes[name].shape != left.shape:
                raise ValueError(
                    f"{name} has shape {changes[name].shape}, and {left.shape} in the state: it "
                    "was left out of other weights"
                )
        return {
            name: change + self.residual[name] if name in self.residual else change
            for name, change in changes.items()
        }

    def keep(self, wanted: Mapping[str, NDArray[Any]], sent: Mapping[str, NDArray[Any]]) -> None:
        """Keep what of the float32 changes that were wanted was not sent."""
        self.residual = {
            name: change - sent[name]
            for name, change in wanted.items()
            if change.dtype == np.float32
        }
