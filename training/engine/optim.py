"""Muon for the matrices and convolutions inside the blocks, AdamW for everything else, as one
optimizer that Trainer can drive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FAST, SLOW = 5.0, 0.3
"""How many times as far a step takes what is fast, or slow: an AdamW's goes as far as its learning
rate says, however far there is to go. Pretrained weights have little way to go.
"""

Parameters = list[nn.Parameter]


class MuonAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` on the given weights and `torch.optim.AdamW` on the other parameters.

    One learning rate serves both (`adjust_lr_fn="match_rms_adamw"`, Liu et al. 2025, arXiv
    2502.16982). A convolution's weight is taken as the matrix (out, in * height * width), through
    an alias that shares its memory. Schedulers see the groups of both.

    Args:
        matrices, others: what each optimizer has, by how many times the learning rate it goes at.
    """

    def __init__(
        self,
        matrices: dict[float, Parameters],
        others: dict[float, Parameters],
        lr: float,
        weight_decay: float,
    ) -> None:
        self._parts: list[torch.optim.Optimizer] = []
        self._aliases: list[tuple[nn.Parameter, nn.Parameter]] = []
        flat = []
        for factor, some in matrices.items():
            aliases = [nn.Parameter(p.data.view(len(p), -1)) for p in some]
            self._aliases += zip(aliases, some, strict=True)
            flat.append({"params": aliases, "lr": factor * lr})
        if flat:
            self._parts.append(
                torch.optim.Muon(
                    flat,  # type: ignore[arg-type]
                    lr=lr,
                    weight_decay=weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        groups = [{"params": some, "lr": factor * lr} for factor, some in others.items()]
        self._parts.append(torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=0.0))
        every = [p for some in (*matrices.values(), *others.values()) for p in some]
        super().__init__(every, {"lr": lr})
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

    What the model's `rate_factors` name goes so many times as far. A model that has
    `parameter_groups(lr, weight_decay)` of its own is trained by AdamW on these: weights that were
    trained by AdamW before.
    """
    if hasattr(model, "parameter_groups"):
        return torch.optim.AdamW(model.parameter_groups(lr, weight_decay), betas=(0.9, 0.98))
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inside = {
        id(p)
        for name, p in named
        if p.ndim in (2, 4) and any(part.isdigit() for part in name.split("."))
    }
    given: dict[float, Parameters] = getattr(model, "rate_factors", {})
    factors = {id(p): factor for factor, some in given.items() for p in some}
    fast = {key for key, factor in factors.items() if factor == FAST}
    matrices: dict[float, Parameters] = {}
    others: dict[float, Parameters] = {}
    for _, p in sorted(named, key=lambda one: factors.get(id(one[1]), 1.0)):
        kind = matrices if id(p) in inside - fast else others
        kind.setdefault(factors.get(id(p), 1.0), []).append(p)
    return MuonAdamW(matrices, others, lr, weight_decay)
