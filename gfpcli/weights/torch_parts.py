"""The parts of a restorer that torch runs: which network each file holds, on its device, in its precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import torch

from gfpcli.adapters.onnxruntime import OnnxFaceModel
from gfpcli.model.checkpoint import kind_of, read_state
from gfpcli.options import FaceOptions, VideoOptions
from gfpcli.pipeline.parsing import PARSE_SIZES, ParseNetMasker
from gfpcli.pipeline.tensors import DTYPES, EnlargingNet
from gfpcli.pipeline.upsample import NetUpsampler, TileProgress
from gfpcli.weights import autotune
from gfpcli.weights.choose import Warn
from gfpcli.weights.face_model import FaceNet, load_face_model
from gfpcli.weights.licences import check_architecture
from gfpcli.weights.onnx_choice import faster_onnx_model, onnx_maskers
from gfpcli.weights.onnx_parts import LATENTS
from gfpcli.weights.upsampler import upsampler_of

PROBE_SIDE = 512  # px of the photo that a community network is measured on


def torch_face_model(path: Path, options: FaceOptions, device: torch.device, n_inputs: int) -> FaceNet:
    """A face restorer. Raises GfpError as `load_face_model`."""
    return load_face_model(
        path, device, options.precision, is_compiled=options.compile, n_inputs=n_inputs, fidelity=options.fidelity,
        accepted=options.accept_licence,
    )  # fmt: skip


def onnx_in_place_of_torch(path: Path, options: FaceOptions, device: torch.device) -> OnnxFaceModel | None:
    """The face network by onnxruntime where nobody asked for either and it is faster: `faster_onnx_model`."""
    if not may_be_onnx(options, path):
        return None
    return faster_onnx_model(path, device, fidelity=options.fidelity, accepted=options.accept_licence)


def may_be_onnx(options: FaceOptions, path: Path) -> bool:
    """Whether onnxruntime may run a face network without being asked to: it neither compiles nor averages latents."""
    is_free = options.runtime == "auto" and options.precision == "auto" and not options.compile
    averages = isinstance(options, VideoOptions) and options.smooth > 0
    return is_free and not (averages and kind_of(read_state(path)).startswith(LATENTS))


def maskers_of(
    path: Path, options: FaceOptions, device: torch.device, n_batch: int
) -> dict[str, Callable[[], ParseNetMasker]]:
    """ParseNet by name, in each size and precision that may be the fastest; exact ones where fp32 is asked for.

    On a CPU onnxruntime is among them where nobody asked for either runtime or a precision. Each is loaded when it is
    called. It raises GfpError: the file holds something else, or cannot be exported.
    """
    dtypes = ("fp32", *(() if options.precision == "fp32" else autotune.HALVES[device.type]))

    @cache
    def by_torch() -> dict[str, ParseNetMasker]:
        from gfpcli.adapters.facexlib import load_maskers

        return load_maskers(read_state(path), source=str(path), device=device, dtypes=dtypes, n_batch=n_batch)

    def named(name: str) -> ParseNetMasker:
        return by_torch()[name]

    names = (f"{dtype} at {size}" for dtype in dtypes for size in PARSE_SIZES)
    is_free = device.type == "cpu" and options.runtime == "auto" and options.precision == "auto"
    return {name: partial(named, name) for name in names} | (onnx_maskers(path) if is_free else {})


def torch_upsampler(
    path: Path, options: FaceOptions, device: torch.device, watch: TileProgress, warn: Warn
) -> NetUpsampler:
    """A background network. Raises GfpError as `load_enlarging_net_in`."""
    dtype = DTYPES.get(options.precision, torch.float32)
    enlarging = load_enlarging_net_in(path, options.accept_licence)
    return upsampler_of(
        enlarging, source=str(path), device=device, tile=options.tile, watch=watch, dtype=dtype, warn=warn
    )


def load_enlarging_net_in(path: Path, accepted: Sequence[str] = ()) -> EnlargingNet:
    """A background network from its checkpoint, by our own loaders, else by spandrel's.

    Raises:
        CheckpointError: it holds something else.
        WeightsError: its licence is not among the `accepted` ones, now or earlier.
    """
    state, source = read_state(path), str(path)
    if kind_of(state) != "unknown":
        from gfpcli.adapters.realesrgan import load_enlarging_net

        return load_enlarging_net(state, source=source)
    from gfpcli.adapters.spandrel import load_spandrel_net

    check = partial(check_architecture, path, accepted)
    return load_spandrel_net(state, source=source, probe=autotune.probe_faces(PROBE_SIDE)[0], check=check)
