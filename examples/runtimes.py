"""Times face networks in each runtime: torch as it is, torch compiled in bf16, onnxruntime in fp32 and in int8.

    python examples/runtimes.py                      the built-in network
    python examples/runtimes.py GFPGANv1.4.pth       and a checkpoint of 512 px

One table in one run: the same face, the best of ROUNDS calls after one that is not counted. The int8 file is made as
gfp makes it for itself. What this machine lacks is told in its row.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from gfpcli.adapters.onnxruntime import load_onnx_face_model
from gfpcli.types import FaceModel, PictureBatch
from gfpcli.weights.autotune import probe_batch
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.export import export_network, write_export_in_int8
from gfpcli.weights.face_model import load_face_model

CPU = torch.device("cpu")
ROUNDS = 3


def int8_of(path: Path, exported: Path) -> Path:
    """The network's file in 8 bit."""
    target = exported.with_suffix(".int8.onnx")
    write_export_in_int8(path, "restorer", exported, target)
    return target


def onnx_model(path: Path) -> FaceModel:
    """A face network in onnxruntime, on the CPU."""
    return load_onnx_face_model(path, provider="cpu", device="cpu", fidelity=None)


def ways(path: Path, exported: Path) -> dict[str, Callable[[], FaceModel]]:
    """What is timed, by name."""
    return {
        "torch fp32": lambda: load_face_model(path, CPU, "fp32", is_compiled=False),
        "torch bf16": lambda: load_face_model(path, CPU, "bf16", is_compiled=False),
        "torch bf16 compiled": lambda: load_face_model(path, CPU, "bf16", is_compiled=True),
        "onnxruntime fp32": lambda: onnx_model(exported),
        "onnxruntime int8": lambda: onnx_model(int8_of(path, exported)),
    }


def line_of(name: str, make: Callable[[], FaceModel], want: PictureBatch | None) -> tuple[str, PictureBatch | None]:
    """A row of the table, and the face."""
    try:
        model = make()
        face = probe_batch(model.size)
        times = []
        made = model(face)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            made = model(face)
            times.append(time.perf_counter() - start)
    except Exception as error:  # whatever a runtime raises for what it lacks
        return f"{name:22} not here: {' '.join(str(error).split())[:80]}", want
    levels = 127.5 * np.abs(np.clip(made, -1, 1) - np.clip(made if want is None else want, -1, 1))
    return f"{name:22} {min(times):8.3f} s a face, {levels.max():6.2f} grey levels from torch fp32", made


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # the quantiser's advice
    with TemporaryDirectory() as folder:
        for path in (BUILTINS["compact"], *map(Path, sys.argv[1:])):
            exported = Path(folder) / f"{path.stem}.onnx"
            parity = export_network(path, path.stem, "restorer", "fp32", exported)
            sys.stdout.write(f"{path.name}, {torch.get_num_threads()} threads; {parity.line()}\n")
            want: PictureBatch | None = None
            for name, make in ways(path, exported).items():
                line, made = line_of(name, make, want)
                want = made if want is None else want
                sys.stdout.write(f"  {line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
