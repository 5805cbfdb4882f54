"""ONNX graph, target -> what its TensorRT parser would refuse, or would silently get wrong: each
with the node and the mend.

Read from onnx-tensorrt's docs/operators.md and importers of the branches 8.0-GA to 10.1-GA. `onnx`
is imported when a graph is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from codec.bundle.targets import find_target

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


def lint_file(path: Path, target: str) -> list[Finding]:
    """Findings of an ONNX file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ONNX graph that passes the full checker, or an unknown target.
    """
    find_target(target)
    import onnx

    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file at {path}")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf, the checker and shape inference each raise their own
        raise ValueError(f"{path} is not a valid ONNX file: {error}") from error
    return lint(model, target)


def lint(model: Any, target: str) -> list[Finding]:
    """Findings of an `onnx.ModelProto`, in the order of the graph. Raises ValueError for an unknown
    target.
    """
    of = find_target(target)
    graph = _Graph(model)
    findings = [
        Finding(
            node.label,
            "refused",
            f"operator {node.full_type} is not of ONNX",
            "write it in standard operators",
        )
        for node in graph.nodes
        if node.proto.domain not in ("", "ai.onnx")
    ]
    if of.operators is None or of.tensorrt is None:
        return findings
    findings += [
        Finding(
            node.label,
            "refused",
            f"operator {node.full_type} is not in TensorRT {_dotted(of.tensorrt)}'s table",
            _mend(node.type),
        )
        for node in graph.nodes
        if node.proto.domain in ("", "ai.onnx") and node.type not in of.operators
    ]
    for rule in (_bindings, _initialisers, _reductions, _reshapes, _clips, _casts, _constants):
        findings += rule(graph, of.tensorrt)
    place = {node.label: i for i, node in enumerate(graph.nodes)}
    return sorted(findings, key=lambda finding: place.get(finding.node, -1))


class _Node:
    def __init__(self, proto: Any, place: int) -> None:
        import onnx

        self.proto, self.type = proto, proto.op_type
        self.label = proto.name or f"{proto.op_type} {place} of the graph"
        self.full_type = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
        self.inputs = list(proto.input)
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}


class _Graph:
    def __init__(self, model: Any) -> None:
        import onnx

        self.proto = model.graph
        self.opset = max(
            (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
            default=1,
        )
        self.nodes = [_Node(proto, i) for i, proto in enumerate(model.graph.node)]
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.type == "Constant" and "value" in node.attributes:
                self.constants[node.proto.output[0]] = node.attributes["value"]
        self.type_name = onnx.TensorProto.DataType.Name

    def is_constant(self, name: str) -> bool:
        """Whether a node's input is known before the graph runs; one that is left out is."""
        return not name or name in self.constants

    def values(self, name: str) -> Any:
        import onnx

        return onnx.numpy_helper.to_array(self.constants[name])

    def of(self, *types: str) -> Iterator[_Node]:
        return (node for node in self.nodes if node.type in types)


def _bindings(graph: _Graph, release: Version) -> Iterator[Finding]:
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


def _initialisers(graph: _Graph, release: Version) -> Iterator[Finding]:
    import numpy as np

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


def _reductions(graph: _Graph, release: Version) -> Iterator[Finding]:
    for node in graph.nodes:
        if not node.type.startswith("Reduce") or len(node.inputs) < 2 or not node.inputs[1]:
            continue
        if not graph.is_constant(node.inputs[1]):
            yield Finding(
                node.label, "refused", f"{node.type} with computed axes", "make the axes a constant"
            )
        elif node.type != "ReduceSum" and release < (10, 0):
            reason = f"{node.type} with axes as an input, which parsers before 10 overlook: it reduces all axes"
            yield Finding(
                node.label, "silent", reason, "write axes as an attribute, in opset 13 form"
            )


def _reshapes(graph: _Graph, release: Version) -> Iterator[Finding]:
    for node in graph.of("Reshape"):
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


def _clips(graph: _Graph, release: Version) -> Iterator[Finding]:
    for node in graph.of("Clip"):
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


def _casts(graph: _Graph, release: Version) -> Iterator[Finding]:
    for node in graph.of("Cast"):
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


def _constants(graph: _Graph, release: Version) -> Iterator[Finding]:
    """Inputs that must be known before the graph runs."""
    for node in graph.nodes:
        until, places = _FIXED.get(node.type, ((0, 0), ()))
        for place in places if release < until else ():
            if place < len(node.inputs) and not graph.is_constant(node.inputs[place]):
                what = f"{node.type} whose input {node.inputs[place]} is computed"
                yield Finding(node.label, "refused", what, "make it an initialiser")
    for node in graph.of("QuantizeLinear"):
        zero = node.inputs[2] if len(node.inputs) > 2 else ""
        if zero in graph.constants and graph.values(zero).any():
            yield Finding(
                node.label, "refused", "QuantizeLinear with a zero point", "quantise symmetrically"
            )


def _mend(operator: str) -> str:
    return {
        "Round": "write sign and floor of the magnitude plus a half",
        "Sign": "write the difference of two Relu branches",
        "LayerNormalization": "write mean, difference, square, mean, root and quotient",
        "GroupNormalization": "write it as a Reshape and the mean, difference, square, mean, root and quotient",
        "Gelu": "write x * (Erf(x / sqrt 2) + 1) / 2",
    }.get(operator, "write it in operators of the table")


def _dotted(release: Version) -> str:
    return f"{release[0]}.{release[1]}"
