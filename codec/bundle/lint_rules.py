"""ONNX graph, TensorRT's release -> findings: one rule a trap, each with the node and the mend.

Read from onnx-tensorrt's docs/operators.md and importers of the branches 8.0-GA to 10.1-GA.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from codec.bundle.onnx_graph import Graph

Version = tuple[int, int]


class Finding(NamedTuple):
    """Something in a graph that the target does not take, or takes for something else.

    Attributes:
        node: name of the node, or of the input, output or initialiser.
        kind: `refused`, the parser ends with an error; `silent`, the engine is built and computes
            something else.
        what: the defect.
        mend: what to write instead.
    """

    node: str
    kind: Literal["refused", "silent"]
    what: str
    mend: str


def _bindings(graph: Graph, release: Version) -> Iterator[Finding]:
    wide = ("INT64", "DOUBLE", "UINT8", "INT8") if release < (10, 0) else ("DOUBLE",)
    named = {tensor.name for tensor in graph.proto.initializer}
    values = [("input", v) for v in graph.proto.input if v.name not in named] + [
        ("output", v) for v in graph.proto.output
    ]
    for role, value in values:
        tensor = value.type.tensor_type
        kind = graph.type_name(tensor.elem_type)
        if kind in wide:
            yield Finding(
                value.name,
                "refused",
                f"{role} of type {kind}",
                "make it INT32 or FLOAT: other bindings differ by release",
            )
        if any(not dimension.HasField("dim_value") for dimension in tensor.shape.dim):
            yield Finding(
                value.name,
                "refused",
                f"{role} of a shape that is not fixed",
                "export with a fixed batch",
            )


def _initialisers(graph: Graph, release: Version) -> Iterator[Finding]:
    for name, tensor in graph.constants.items():
        kind = graph.type_name(tensor.data_type)
        if kind == "FLOAT16" and release < (8, 4):
            yield Finding(
                name,
                "refused",
                "float16 initialiser",
                "store float32: float16 came in TensorRT 8.4",
            )
        elif kind == "BFLOAT16" and release < (10, 0):
            yield Finding(
                name,
                "refused",
                "bfloat16 initialiser",
                "store float32: bfloat16 came in TensorRT 9",
            )
        elif kind == "DOUBLE":
            yield Finding(
                name, "silent", "float64 initialiser, which is narrowed to float32", "store float32"
            )
        elif kind == "INT64" and release < (10, 0):
            values = graph.values(name)
            if values.size and np.abs(values.astype(np.float64)).max() >= 2**31:
                yield Finding(
                    name,
                    "silent",
                    "int64 values beyond int32, which are cut to it",
                    "keep constants within int32",
                )


def _reductions(graph: Graph, release: Version) -> Iterator[Finding]:
    for node in graph.nodes:
        if not node.type.startswith("Reduce") or len(node.inputs) < 2 or not node.inputs[1]:
            continue
        if not graph.is_constant(node.inputs[1]):
            yield Finding(
                node.label, "refused", f"{node.type} with computed axes", "make the axes a constant"
            )
        elif node.type != "ReduceSum" and release < (10, 0):
            reason = (
                f"{node.type} with axes as an input, which parsers before 10 overlook: it reduces "
                "all axes"
            )
            yield Finding(
                node.label, "silent", reason, "write axes as an attribute, in opset 13 form"
            )


def _reshapes(graph: Graph, release: Version) -> Iterator[Finding]:
    for node in graph.of_type("Reshape"):
        allowzero = node.attributes.get("allowzero")
        if release < (8, 4) and allowzero is not None:
            yield Finding(
                node.label,
                "refused",
                "Reshape with allowzero",
                "drop it where the shape holds no 0, and write opset 13",
            )
        elif release < (8, 4) and graph.opset >= 14:
            yield Finding(
                node.label,
                "refused",
                "Reshape of opset 14, whose allowzero is not defaulted",
                "write opset 13",
            )
        elif allowzero and (
            not graph.is_constant(node.inputs[1]) or 0 in graph.values(node.inputs[1])
        ):
            yield Finding(
                node.label,
                "silent",
                "Reshape with allowzero to a shape that may hold 0",
                "write the shape without 0",
            )


def _clips(graph: Graph, release: Version) -> Iterator[Finding]:
    for node in graph.of_type("Clip"):
        for bound in node.inputs[1:]:
            if not graph.is_constant(bound):
                yield Finding(
                    node.label,
                    "refused",
                    f"Clip whose bound {bound} is computed",
                    "make it an initialiser, or use Min and Max",
                )
            elif bound and (kind := graph.type_name(graph.constants[bound].data_type)) not in (
                "FLOAT",
                "INT32",
            ):
                yield Finding(
                    node.label,
                    "silent",
                    f"Clip whose bound {bound} is {kind}: it is read as float32",
                    "make it FLOAT or INT32",
                )


def _casts(graph: Graph, release: Version) -> Iterator[Finding]:
    for node in graph.of_type("Cast"):
        kind = graph.type_name(node.attributes["to"])
        if kind in ("INT8", "UINT8", "INT64") and release < (10, 0):
            yield Finding(
                node.label,
                "silent",
                f"Cast to {kind}, which is none before TensorRT 10",
                "cast to INT32",
            )
        elif kind == "DOUBLE":
            yield Finding(
                node.label, "silent", "Cast to DOUBLE, which stays float32", "cast to FLOAT"
            )


# operator -> (first release without the rule, inputs that must be constants)
_FIXED: dict[str, tuple[Version, tuple[int, ...]]] = {
    "Conv": ((8, 5), (1,)),
    "ConvTranspose": ((8, 5), (1,)),
    "InstanceNormalization": ((8, 6), (1, 2)),
    "QuantizeLinear": ((10, 0), (1, 2)),
    "DequantizeLinear": ((10, 0), (1, 2)),
    "Slice": ((99, 0), (3,)),
    "Squeeze": ((99, 0), (1,)),
    "Unsqueeze": ((99, 0), (1,)),
}


def _constants(graph: Graph, release: Version) -> Iterator[Finding]:
    """Inputs that must be known before the graph runs."""
    for node in graph.nodes:
        until, places = _FIXED.get(node.type, ((0, 0), ()))
        for place in places if release < until else ():
            if place < len(node.inputs) and not graph.is_constant(node.inputs[place]):
                what = f"{node.type} whose input {node.inputs[place]} is computed"
                yield Finding(node.label, "refused", what, "make it an initialiser")
    for node in graph.of_type("QuantizeLinear"):
        zero = node.inputs[2] if len(node.inputs) > 2 else ""
        if zero in graph.constants and graph.values(zero).any():
            yield Finding(
                node.label, "refused", "QuantizeLinear with a zero point", "quantise symmetrically"
            )


RULES = (_bindings, _initialisers, _reductions, _reshapes, _clips, _casts, _constants)
"""Functions (graph, release) -> findings."""
