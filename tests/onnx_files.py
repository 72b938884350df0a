"""ONNX files as other tools have them, made for tests: small graphs with the inputs and outputs of real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra gfpcli[onnx] is not installed")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT, HALF, DOUBLE, INT64 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "DOUBLE", "INT64"))
Value = tuple[str, int, Sequence[Any]]
"""Name, type and shape of an input or output; a length that is free is a word."""


def write_graph(
    path: Path, inputs: Sequence[Value], outputs: Sequence[Value], nodes: Sequence[Any],
    constants: Mapping[str, np.ndarray] | None = None,
) -> Path:  # fmt: skip
    """A model with these nodes; gives `path`."""
    graph = helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def node(kind: str, inputs: Sequence[str], output: str, **facts: Any) -> Any:
    """One operation."""
    return helper.make_node(kind, list(inputs), [output], **facts)


def same_face(path: Path, side: int | str = 256, batch: int | str = "n", kind: int = FLOAT) -> Path:
    """Gives the face that it takes."""
    face = kind, [batch, 3, side, side]
    return write_graph(path, [("input", *face)], [("output", *face)], [node("Identity", ["input"], "output")])


def weighted_face(path: Path, shape: Sequence[int] = (), kind: int = DOUBLE) -> Path:
    """Gives the face times `weight`, a scalar of double precision as CodeFormer's files have it."""
    face = [1, 3, 512, 512]
    nodes = [node("Cast", ["weight"], "w", to=FLOAT), node("Mul", ["input", "w"], "output")]
    return write_graph(path, [("input", FLOAT, face), ("weight", kind, list(shape))], [("output", FLOAT, face)], nodes)


def striped_face(path: Path, side: int = 1024, period: int = 8) -> Path:
    """Takes 256 px; gives vertical stripes at `side`, whatever it is shown. The file does not say the side."""
    stripes = np.where(np.arange(side) % period < period // 2, 0.8, -0.8).astype(np.float32)
    constants = {
        "stripes": np.broadcast_to(stripes, (1, 3, side, side)).copy(), "none": np.zeros(1, np.float32),
        "scales": np.array([1, 1, side / 256, side / 256], np.float32),
    }  # fmt: skip
    nodes = [
        node("Resize", ["input", "", "scales"], "large", mode="nearest"), node("Mul", ["large", "none"], "black"),
        node("Add", ["black", "stripes"], "output"),
    ]  # fmt: skip
    shapes: tuple[list[Any], list[Any]] = (["n", 3, 256, 256], ["n", 3, "h", "w"])
    return write_graph(path, [("input", FLOAT, shapes[0])], [("output", FLOAT, shapes[1])], nodes, constants)
