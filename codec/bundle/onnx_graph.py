"""ONNX graph -> nodes and constants that the linter's rules ask about. `onnx` is imported when a
graph is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Node:
    """A node, with its name, or its place where it has none, and its attributes as values."""

    def __init__(self, proto: Any, place: int) -> None:
        import onnx

        self.proto, self.type = proto, proto.op_type
        self.label = proto.name or f"{proto.op_type} {place} of the graph"
        self.full_type = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
        self.inputs = list(proto.input)
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}


class Graph:
    """The nodes and constants of a graph, by name."""

    def __init__(self, model: Any) -> None:
        import onnx

        self.proto = model.graph
        self.opset = max(
            (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
            default=1,
        )
        self.nodes = [Node(proto, i) for i, proto in enumerate(model.graph.node)]
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.type == "Constant" and "value" in node.attributes:
                self.constants[node.proto.output[0]] = node.attributes["value"]
        self.type_name = onnx.TensorProto.DataType.Name

    def is_constant(self, name: str) -> bool:
        """Whether a node's input is known before the graph runs; one that is left out is."""
        return not name or name in self.constants

    def values(self, name: str) -> Any:
        """A constant as an array."""
        import onnx

        return onnx.numpy_helper.to_array(self.constants[name])

    def of_type(self, *types: str) -> Iterator[Node]:
        """The nodes of some operators, in the order of the graph."""
        return (node for node in self.nodes if node.type in types)
