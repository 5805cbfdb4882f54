"""latent -> symbols of every quality, as nodes of a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from codec.bundle.lowered_graph import LoweredGraph
from codec.coding.exact import LIMIT
from codec.device.engines import LATENT, SYMBOLS


def append_quantiser(
    graph: LoweredGraph, gain: NDArray[np.float32], half: NDArray[np.float32]
) -> None:
    """Append sign(x) * min(floor(|x| + half), LIMIT) for x = latent * gain, every quality at once,
    as `CodecNetworks.round` has it.

    TensorRT 8.0 has no Sign and no Round: the two signs are two branches, each 0 where the other is
    not.

    Args:
        gain: (Q, C) float32, what each quality scales the latent by.
        half: (Q,) float32, where each rounds up from zero on; see `dead_zone.half_steps`.

    Raises:
        ValueError: other shapes, or a half outside of (0, 0.5].
    """
    b, m, c = graph.shapes[graph.latent]
    if not ((half > 0) & (half <= 0.5)).all() or half.shape != gain.shape[:1] or gain.shape[1] != c:
        raise ValueError(f"a quantiser has a gain (Q, {c}) and a half (Q,) in (0, 0.5]")
    name = "quantise"
    graph.nodes.append(
        helper.make_node("Identity", [graph.latent], [LATENT], name=f"{name}/latent")
    )
    shape = graph.constant(f"{name}/shape", np.array([b, 1, m, c], dtype=np.int64))
    each = graph.step(name, "Reshape", [graph.latent, shape], "each")
    scaled = graph.step(
        name, "Mul", [each, graph.constant(f"{name}/gain", gain[None, :, None, :])], "units"
    )
    halves = graph.constant(f"{name}/half", half[None, :, None, None])
    limit = graph.constant(f"{name}/limit", np.float32(LIMIT))
    sides = []
    for sign, x in (("above", scaled), ("below", graph.step(name, "Neg", [scaled], "negated"))):
        magnitude = graph.step(
            name, "Add", [graph.step(name, "Relu", [x], f"{sign}_only"), halves], f"{sign}_moved"
        )
        sides.append(
            graph.step(
                name,
                "Min",
                [graph.step(name, "Floor", [magnitude], f"{sign}_whole"), limit],
                sign,
            )
        )
    whole = graph.step(name, "Sub", sides, "whole")
    graph.nodes.append(
        helper.make_node("Cast", [whole], [SYMBOLS], name=f"{name}/cast", to=TensorProto.INT32)
    )
