"""Networks written as ONNX files by torch's exporter, with what gfp knows of them in the file's metadata."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gfpcli.errors import WeightsError
from gfpcli.types import ExportFacts

OPSET = 17  # of ONNX: has all that these networks need, and is known to every runtime since 2023
DynamicAxes = Mapping[str, Mapping[int, str]]
"""By name of an input or output: the axes whose length is free, and what they are called."""


def import_onnx() -> Any:
    """The package. Raises WeightsError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise WeightsError(f"ONNX files are written with onnx: pip install 'gfpcli[onnx]' ({error})") from error
    return onnx


def write_onnx(
    net: nn.Module, examples: Mapping[str, Tensor], outputs: Sequence[str], dynamic: DynamicAxes, facts: ExportFacts,
    target: Path,
) -> None:  # fmt: skip
    """Writes the network, as it runs on `examples`, to `target`; the file is checked against the standard.

    torch's exporter by tracing is used: its newer one takes ten times as long for the same graph.

    Raises:
        WeightsError: onnx is not installed.
    """
    onnx = import_onnx()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # on the older exporter; and on lengths that are numbers, which are meant so
        torch.onnx.export(
            net, tuple(examples.values()), str(target), input_names=list(examples), output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load(str(target))
    onnx.helper.set_model_props(model, facts.to_metadata())
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def facts_in(path: Path) -> ExportFacts | None:
    """What gfp wrote into a file when it exported it; None for other files, and where they cannot be read."""
    try:
        model = import_onnx().load(str(path), load_external_data=False)
        return ExportFacts.from_metadata({each.key: each.value for each in model.metadata_props})
    except Exception:  # damaged files raise nearly anything; whoever runs them tells what is wrong
        return None
