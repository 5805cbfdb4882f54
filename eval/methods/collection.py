"""codecs and the names of baselines -> every method of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from rich.console import Console
from torch import nn

from codec.model import FeatureCodec
from codec.model.cost import device_cost
from eval.methods.coded import Coded, merged_tails
from eval.methods.factorised import factorised_methods
from eval.methods.method import BASELINES, FACTORISED, Method
from eval.methods.pictures import picture_methods
from eval.methods.tokens import token_methods
from eval.methods.uncut import Uncut


def collect_methods(
    codecs: Sequence[FeatureCodec],
    uncut: Mapping[str, nn.Module],
    baselines: Sequence[str],
    fit: torch.Tensor | None,
    console: Console,
) -> list[Method]:
    """The uncut model, then the codecs at each quality and these baselines.

    Args:
        codecs: of one backbone and one preprocessing.
        uncut: the uncut models, by task.
        fit: pixels (n, 3, S, S) uint8 that compressai's priors are fitted to; None where none is
            wanted.
    """
    preprocess = codecs[0].config.preprocess
    methods: list[Method] = [Uncut(uncut, preprocess)]
    for codec in codecs:
        cost = device_cost(codec.encoder, preprocess.size)
        tails = merged_tails(codec)
        methods += [Coded(codec, q, cost, tails) for q in codec.qualities]
        if FACTORISED in baselines and fit is not None:
            name = FACTORISED if len(codecs) == 1 else f"{FACTORISED} ({codec.config.name})"
            methods += factorised_methods(codec, fit, cost, tails, name, console)
    cuts = sorted({codec.config.k for codec in codecs})
    methods += token_methods(baselines, uncut, cuts, preprocess)
    methods += picture_methods(baselines, uncut, preprocess)
    return methods


def read_baselines(text: str) -> tuple[str, ...]:
    """`all`, `none` or a comma-separated list -> names of baselines.

    Raises:
        ValueError: a name that is none.
    """
    if text in ("all", "none"):
        return BASELINES if text == "all" else ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in BASELINES]:
        raise ValueError(f"no baseline {unknown[0]!r}; there are: {', '.join(BASELINES)}")
    return names
