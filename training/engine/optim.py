"""Muon for the matrices and convolutions inside the blocks, AdamW for everything else, as one
optimizer that Trainer can drive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FAST = 5.0
"""How many times as far a step takes what is fast: an AdamW's goes as far as its learning rate
says, however far there is to go.
"""


class MuonAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` on the given weights and `torch.optim.AdamW` on the other parameters,
    `fast` ones at `FAST` times the rate.

    One learning rate serves both (`adjust_lr_fn="match_rms_adamw"`, Liu et al. 2025, arXiv
    2502.16982). A convolution's weight is taken as the matrix (out, in * height * width), through
    an alias that shares its memory. Schedulers see the groups of both.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        fast: list[nn.Parameter],
        lr: float,
        weight_decay: float,
    ) -> None:
        self._parts: list[torch.optim.Optimizer] = []
        self._aliases = [(nn.Parameter(p.data.view(len(p), -1)), p) for p in matrices]
        if matrices:
            flat = [alias for alias, _ in self._aliases]
            self._parts.append(
                torch.optim.Muon(
                    flat, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
                )
            )
        groups = [
            {"params": some, "lr": rate} for some, rate in ((others, lr), (fast, FAST * lr)) if some
        ]
        self._parts.append(torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=0.0))
        super().__init__([*matrices, *others, *fast], {"lr": lr})
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for alias, p in self._aliases:
            # anew: wrapping a model for several processes may have moved its weights
            alias.data = p.data.view(alias.shape)
            alias.grad = None if p.grad is None else p.grad.reshape(alias.shape)
        for part in self._parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for alias, p in self._aliases:
            alias.grad = p.grad = None
        self._parts[-1].zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self._parts for group in part.param_groups]


def build_optimizer(model: Any, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Muon for every trainable matrix and convolution inside a list of layers (its name holds a
    number), AdamW for the rest.

    Of these the model's `fast_parameters`, where it names some, go `FAST` times as far. A model
    that has `parameter_groups(lr, weight_decay)` of its own is trained by AdamW on these: weights
    that were trained by AdamW before.
    """
    if hasattr(model, "parameter_groups"):
        return torch.optim.AdamW(model.parameter_groups(lr, weight_decay), betas=(0.9, 0.98))
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inside = {
        id(p)
        for name, p in named
        if p.ndim in (2, 4) and any(part.isdigit() for part in name.split("."))
    }
    fast = {id(p) for p in getattr(model, "fast_parameters", ())}
    matrices, quick = ([p for _, p in named if id(p) in some] for some in (inside - fast, fast))
    return MuonAdamW(
        matrices, [p for _, p in named if id(p) not in inside | fast], quick, lr, weight_decay
    )
