"""network -> its graph, as torch's exporter writes it, quietly."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from codec.device.engines import PIXELS


def trace(network: nn.Module, size: int, batch: int = 1) -> Any:
    """A network's graph as torch writes it: an `onnx.ModelProto` of opset 18, `pixel_values`
    (batch, 3, size, size) -> what the network gives, an encoder its latent.

    Raises:
        ValueError: torch wrote another opset.
    """
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            (torch.zeros(batch, 3, size, size),),
            input_names=[PIXELS],
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    opset = [entry.version for entry in model.opset_import if entry.domain == ""]
    if opset != [18] or len(model.functions):
        raise ValueError(
            f"torch {torch.__version__} wrote opset {opset} with {len(model.functions)} functions, "
            "not plain opset 18"
        )
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps torch's exporter from saying that torchvision, which no encoder uses, is missing, and
    from warnings of its own.
    """
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
