"""The only place where weights, networks and adapters meet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.adapters.facexlib import PARSE_SIZE, FacexlibDetector, ParseNetMasker, load_detector, load_masker
from gfpcli.errors import DeviceError
from gfpcli.files.atomic import sha256_of
from gfpcli.memory import hand_back_memory
from gfpcli.model.checkpoint import load_face_net, read_state
from gfpcli.options import FaceOptions, devices_in
from gfpcli.pipeline.paste import resize_background, soft_mask
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.upsample import Watch
from gfpcli.types import Mask, Masker, Upsampler
from gfpcli.weights import autotune as fast
from gfpcli.weights.choose import Parts, Warn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OTHER_DETECTORS = {  # sha256 of public checkpoints in facexlib's layout that want other anchors and plain ReLU
    "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1": ("[[10,20],[32,64],[128,256]]", 0.0),
}


@dataclass(frozen=True, slots=True)
class FaceNet:
    """A network behind the `FaceModel` port: on its device, in its precision, channels last."""

    net: Callable[[Tensor], Tensor]
    size: int
    device: torch.device
    dtype: torch.dtype

    def __call__(self, faces: Tensor, /) -> Tensor:
        """(N, 3, S, S) float32 RGB in [-1, 1] on the CPU, to the same."""
        is_cuda = self.device.type == "cuda"
        if is_cuda:
            faces = faces.pin_memory()  # which the GPU reads by itself
        batch = faces.to(self.device, self.dtype, memory_format=torch.channels_last, non_blocking=is_cuda)
        return self.net(batch).float().cpu()


def soft_masker(faces: Sequence[NDArray[np.uint8]], /) -> list[Mask]:
    """The feathered oval for every face."""
    return [soft_mask(face.shape[0]) for face in faces]


def choose_device(names: str) -> torch.device:
    """The first of `choose_devices`."""
    return choose_devices(names)[0]


def choose_devices(names: str) -> tuple[torch.device, ...]:
    """`auto` is CUDA, then MPS, then the CPU; several are separated by commas.

    Raises:
        DeviceError: this machine has no such device.
        UsageError: no device has such a name.
    """
    has_mps = torch.backends.mps.is_available()
    if names == "auto":
        names = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    devices = tuple(torch.device(name) for name in devices_in(names))
    for device in devices:
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(f"--device {device}: this machine has {torch.cuda.device_count()} CUDA devices")
        if device.type == "mps" and not has_mps:
            raise DeviceError("--device mps: this machine has none")
    return devices


def load_face_model(
    path: Path, device: torch.device, precision: str, *, is_compiled: bool | None, n_inputs: int = 0
) -> FaceNet:
    """A face network ready to run. `auto` precision is the fastest that agrees with fp32 (see `fast`).

    Args:
        is_compiled: None compiles a large network for a long run, where this machine can.
        n_inputs: of the whole run, also those that are done: a run that goes on must make the same bytes.

    Raises:
        CheckpointError: as `load_face_net`.
        DeviceError: fp16 on a CPU, or no compiler for `is_compiled`.
    """
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16 needs a GPU: choose fp32 or bf16 on the CPU")
    net = load_face_net(path)
    size = int(net.size)  # type: ignore[arg-type]
    probe = fast.probe_batch(size)
    if precision == "auto":
        precision = "fp32" if fast.is_small(net) else _fastest_precision(net, probe, device, fast.file_of(path))
    net = _placed(net, device, DTYPES[precision])
    is_long = n_inputs >= fast.COMPILE_FROM and not fast.is_small(net)
    run: fast.Run | None = net
    if is_compiled or (is_compiled is None and is_long):
        run = fast.compiled(net, probe.to(device, DTYPES[precision], memory_format=torch.channels_last))
    if run is None and is_compiled:
        raise DeviceError("--compile: torch.compile does not work here (is there a C++ compiler?); leave it out")
    return FaceNet(net if run is None else run, size, device, DTYPES[precision])


def _placed(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    net = net.to(device, dtype)
    for value in net.parameters():
        if value.dim() == 4:  # convolutions; the modulated ones hold five axes
            value.data = value.data.contiguous(memory_format=torch.channels_last)
    return net


def _fastest_precision(net: nn.Module, probe: Tensor, device: torch.device, source: str) -> str:
    """Of fp32 and what the device may know of half precision. `net` stays as it is."""

    def way(name: str) -> fast.Way[Tensor]:
        ready = cache(lambda: FaceNet(_placed(copy.deepcopy(net), device, DTYPES[name]), 0, device, DTYPES[name]))

        def run() -> Tensor:
            with torch.inference_mode():
                return ready()(probe)

        return fast.Way(name, run)

    names = ("fp32", *fast.HALVES[device.type])
    return fast.choose([way(name) for name in names], fast.faces_agree, f"{source}, {fast.machine_of(device)}")


def load_restorer(
    options: FaceOptions,
    parts: Parts,
    *,
    n_inputs: int = 0,
    warn: Warn = lambda line: None,
    watch: Watch = lambda n_done, n_all: None,
) -> Restorer:
    """A ready restorer; its options hold the batch size that was chosen.

    Args:
        n_inputs: photos or frames of the whole run; in a long one the network is compiled.
        warn: hears what is done otherwise than asked for.
        watch: hears how many tiles of a background are done, of how many.

    Raises:
        CheckpointError: a file that holds something else.
        DeviceError: this machine has no such device or precision.
    """
    devices = choose_devices(options.device)
    first, *others = [_load_on(device, options, parts, n_inputs=n_inputs, warn=warn, watch=watch) for device in devices]
    hand_back_memory()  # of what was probed
    if parts.detector is None:
        return replace(first, twins=tuple(others))
    is_cuda = devices[0].type == "cuda"
    detector = load_detector_for(options, parts.detector, devices[0] if is_cuda else None)
    return replace(first, detector=detector, detect_many=detector.many if is_cuda else None, twins=tuple(others))


def _load_on(
    device: torch.device, options: FaceOptions, parts: Parts, *, n_inputs: int, warn: Warn, watch: Watch
) -> Restorer:
    """A restorer without a detector."""
    model = load_face_model(parts.model, device, options.precision, is_compiled=options.compile, n_inputs=n_inputs)
    n_batch = options.batch_size or fast.batch_size(device, model.size, model.dtype)
    masker: Masker = soft_masker
    if parts.mask:
        masker = _fastest_masker(
            load_masker(read_state(parts.mask), source=str(parts.mask), device=device, n_batch=n_batch),
            source=fast.file_of(parts.mask),
            is_exact=options.precision == "fp32",
        )
    upsampler: Upsampler = resize_background
    if parts.background:
        from gfpcli.adapters.realesrgan import load_upsampler

        upsampler = load_upsampler(
            read_state(parts.background), source=str(parts.background), device=device, tile=options.tile, watch=watch,
            dtype=DTYPES.get(options.precision, torch.float32), warn=warn,
        )  # fmt: skip
    return Restorer(lambda image: (), model, masker, replace(options, batch_size=n_batch), upsampler)


def _fastest_masker(masker: ParseNetMasker, source: str, *, is_exact: bool) -> ParseNetMasker:
    """The same masks at the size and precision that is fastest here; `is_exact` keeps fp32."""
    ways = masker.variants(("fp32",) if is_exact else ("fp32", *fast.HALVES[masker.device.type]))
    faces = fast.probe_faces(PARSE_SIZE)
    key = f"{source}, {fast.machine_of(masker.device)}, {' '.join(ways)}"
    chosen = fast.choose([fast.Way(name, partial(way, faces)) for name, way in ways.items()], fast.masks_agree, key)
    return ways[chosen]


def load_detector_for(options: FaceOptions, path: Path, device: torch.device | None = None) -> FacexlibDetector:
    """The detector in a file, on `device` (the CPU). Raises CheckpointError."""
    min_sizes, slope = OTHER_DETECTORS.get(sha256_of(path), (None, None))
    return load_detector(
        read_state(path),
        source=str(path),
        threshold=options.det_threshold,
        longest=options.det_size,
        device=device or torch.device("cpu"),
        min_sizes=min_sizes,
        slope=slope,
    )
