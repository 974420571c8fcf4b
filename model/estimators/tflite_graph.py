"""A TFLite network without what leads only to outputs that nobody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model


def with_outputs(path: Path, outputs: Sequence[int]) -> bytes:
    """The network in the file, with these of its outputs, by their places in the file, in this order.

    LiteRT computes whatever the file holds. What remains computes the same values, bit for bit. For networks of one
    graph, without control flow. Raises ``IndexError`` for an output that the network does not have.
    """
    network = read_model(path)
    (graph,) = network.subgraphs
    graph.outputs = [graph.outputs[output] for output in outputs]
    needed, operators = set(graph.outputs), []
    for operator in reversed(graph.operators):  # each comes after those whose results it takes
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            operators.append(operator)
    graph.operators = operators[::-1]
    # Says which outputs there are by name.
    network.signatureDefs = None
    return bytes(convert_object_to_bytearray(network))
