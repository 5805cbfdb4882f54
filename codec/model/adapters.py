"""tokens at the cut -> vision states: low-rank corrections of the tail's blocks, which belong to
the codec.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from codec.model.split import blocks


class LowRank(nn.Module):
    """A linear layer and a low-rank correction that starts at zero (LoRA, Hu et al. 2021, arXiv
    2106.09685, eq. 3).
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) * linear.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base: torch.Tensor = self.linear(x)
        return base + F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def whole(self) -> nn.Linear:
        """The same map as one linear layer, in the dtype of this one; summed up in float32."""
        old = self.linear
        layer = nn.Linear(old.in_features, old.out_features, bias=False, device="meta")
        weight = old.weight.float() + self.up.float() @ self.down.float()
        layer.weight = nn.Parameter(weight.to(old.weight.dtype), requires_grad=False)
        layer.bias = old.bias
        return layer


def merged(module: nn.Module) -> nn.Module:
    """What a server runs: a copy of a module in which each correction is added to the weights that
    it corrects, W + U V (Hu et al. 2021, sec. 4.1), so that it costs no time of its own. All other
    parameters are shared with `module`; a module without corrections comes back as it is.
    """
    if not any(isinstance(part, LowRank) for part in module.modules()):
        return module
    shared = {id(p): p for p in (*module.parameters(), *module.buffers())}
    whole = copy.deepcopy(module, shared)
    for name, part in list(whole.named_modules()):
        if isinstance(part, LowRank):
            parent, _, last = name.rpartition(".")
            setattr(whole.get_submodule(parent), last, part.whole())
    return whole


def add_adapters(tail: nn.Module, rank: int) -> nn.ModuleDict:
    """Put a `LowRank` in the place of every linear layer inside the tail's vision blocks, freeze
    the rest, return the adapters by name.

    What BLIP has behind its vision tower (question encoder, text decoder) gets none. Coding changes
    tokens; the vision blocks behind the cut see them first and can put them right for every task
    that shares the tower, and the text parts stay the original model's. An adapter in the text
    layers' cross-attention would be one for each task and layer, for what the vision blocks can do
    once. After the last block (k = L) there is nothing to adapt.

    The tail must own its modules (a deep copy of what `split` gave), or the uncut model would
    change with it. Tails that share their vision blocks share the adapters: they are added to one
    of them.
    """
    tail.requires_grad_(False)
    inside = {module for module in blocks(tail).modules() if isinstance(module, nn.Linear)}
    adapters = nn.ModuleDict()
    for name, module in list(tail.named_modules()):
        if isinstance(module, nn.Linear) and module in inside:
            parent, _, last = name.rpartition(".")
            adapter = LowRank(module, rank)
            setattr(tail.get_submodule(parent), last, adapter)
            adapters[name.replace(".", "/")] = adapter
    return adapters
