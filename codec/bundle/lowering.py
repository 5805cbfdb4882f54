"""pixels -> latent as the exporter wrote it, a target -> pixels -> symbols of every quality, in the
ONNX forms and precisions that the target takes.

Nodes that stay in float32 when an engine computes in float16 have names that begin with one of
`FLOAT32`: normalisation squares, and a quantiser's input decides integers.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from codec.bundle.lowered_graph import LoweredGraph
from codec.bundle.quantiser import append_quantiser
from codec.bundle.targets import Target
from codec.device.engines import LATENT, LOGITS, SYMBOLS

FLOAT32 = ("norm", "project", "quantise")


def lower(
    model: onnx.ModelProto, target: Target, gain: NDArray[np.float32], half: NDArray[np.float32]
) -> onnx.ModelProto:
    """The graph of an encoder -> the graph of a bundle.

    Args:
        model: input `pixel_values` (B, 3, S, S) float32, output the latent (B, M, C) float32, of
            opset 18, with a fixed batch.
        gain: (Q, C), what each quality scales the latent by.
        half: (Q,), where each quality rounds up from zero on; see `dead_zone.half_steps`.

    Returns:
        A graph with outputs `symbols` (B, Q, M, C) int32 and `latent` (B, M, C) float32, which
        tells whether it was finite.

    Raises:
        ValueError: the graph has another shape, or an operator whose form in the target's opset is
            not known.
    """
    graph = LoweredGraph(model)
    for node in model.graph.node:
        graph.add(node, decompose=target.opset < 17)
    graph.name_projection()
    append_quantiser(graph, gain, half)
    b, m, c = graph.shapes[graph.latent]
    outputs = {
        SYMBOLS: (TensorProto.INT32, [b, len(gain), m, c]),
        LATENT: (TensorProto.FLOAT, [b, m, c]),
    }
    return graph.finish(target, "encoder", outputs)


def lower_classifier(model: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    """The graph of a classifier for the device alone, pixels (1, 3, S, S) -> its logits (1, L), as
    the exporter wrote it -> the same in the opset of a target, for ONNX Runtime, which runs it on
    all of them.

    Raises:
        ValueError: as `lower`.
    """
    graph = LoweredGraph(model)
    for node in model.graph.node:
        graph.add(node, decompose=target.opset < 17)
    graph.nodes.append(helper.make_node("Identity", [graph.latent], [LOGITS], name=LOGITS))
    outputs = {LOGITS: (TensorProto.FLOAT, graph.shapes[graph.latent])}
    return weights_as_half(graph.finish(target, "alone", outputs))


def weights_as_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with every large weight that float16 holds exactly stored as such, and cast
    back: half the file, no bit changed.
    """
    return _with_nodes(model, _stored_as_half(model))


def _stored_as_half(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    nodes = []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            small = value.astype(np.float16)
        if (
            tensor.data_type == TensorProto.FLOAT
            and value.size >= 64
            and np.array_equal(small.astype(np.float32), value)
        ):
            stored, name = f"{tensor.name}/float16", tensor.name
            tensor.CopyFrom(numpy_helper.from_array(small, stored))
            nodes.append(
                helper.make_node(
                    "Cast", [stored], [name], name=f"weights/{name}", to=TensorProto.FLOAT
                )
            )
    return nodes


def products_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with matrix products and convolutions in float16 and everything else in
    float32, for strongly typed networks.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, halved = [], {}

    def half(name: str) -> str:
        if name not in halved:
            halved[name] = f"{name}/float16"
            if name in weights:
                value = numpy_helper.to_array(weights[name]).astype(np.float16)
                model.graph.initializer.append(numpy_helper.from_array(value, halved[name]))
            else:
                nodes.append(
                    helper.make_node(
                        "Cast", [name], [halved[name]], name=halved[name], to=TensorProto.FLOAT16
                    )
                )
        return halved[name]

    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm") and not node.name.startswith(FLOAT32):
            inputs, output = [half(name) for name in node.input], node.output[0]
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            nodes.append(
                helper.make_node(
                    node.op_type, inputs, [f"{output}/product"], name=node.name, **attributes
                )
            )
            nodes.append(
                helper.make_node(
                    "Cast",
                    [f"{output}/product"],
                    [output],
                    name=f"{output}/float32",
                    to=TensorProto.FLOAT,
                )
            )
        else:
            nodes.append(node)
    return _with_nodes(model, [], nodes)


def _with_nodes(
    model: onnx.ModelProto, first: list[onnx.NodeProto], then: list[onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    """The model with other nodes, without the initialisers they do not use, checked."""
    nodes = [*first, *(list(model.graph.node) if then is None else then)]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, kept)
    made = helper.make_model(
        graph, producer_name=model.producer_name, opset_imports=model.opset_import
    )
    made.ir_version = model.ir_version
    onnx.checker.check_model(made, full_check=True)
    return made
