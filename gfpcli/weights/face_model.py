"""A face network from its file, on its device, in its precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gfpcli.adapters.onnxruntime import USUAL_FIDELITY, check_has_weight
from gfpcli.errors import DeviceError
from gfpcli.model.checkpoint import face_net_of, kind_of, read_state
from gfpcli.model.gfpgan import GFPGAN, Halves
from gfpcli.pipeline.tensors import DTYPES, inference, place, to_array
from gfpcli.types import FaceCode, FaceCoder, PictureBatch
from gfpcli.weights import autotune
from gfpcli.weights.cpu import has_bf16
from gfpcli.weights.licences import check_architecture


@dataclass(frozen=True, slots=True)
class FaceNet:
    """A network behind the `FaceModel` port: on its device, in its precision, channels last."""

    net: Callable[[Tensor], Tensor]
    size: int
    device: torch.device
    dtype: torch.dtype

    def __call__(self, faces: PictureBatch, /) -> PictureBatch:
        """(N, 3, S, S) RGB in [-1, 1] to the same. Raises RuntimeError as `inference`."""
        with inference():
            return to_array(self.net(self.placed(faces)))

    def placed(self, faces: PictureBatch) -> Tensor:
        """The batch as the network takes it."""
        return place(faces, self.device, self.dtype)

    @property
    def computes_in(self) -> str:
        """Runtime and precision."""
        return f"torch {next(name for name, dtype in DTYPES.items() if dtype == self.dtype)}"

    @property
    def coder(self) -> FaceCoder | None:
        """The network in its two halves; None where it has none."""
        if isinstance(self.net, GFPGAN):
            return NetCoder(self, Halves(self.net.encode, self.net.decode))
        return NetCoder(self, self.net) if isinstance(self.net, Halves) else None


@dataclass(frozen=True, slots=True)
class NetCoder:
    """A GFP-GAN network behind the `FaceCoder` port."""

    whole: FaceNet
    halves: Halves

    def encode(self, faces: PictureBatch, /) -> list[FaceCode]:
        """(N, 3, S, S) RGB in [-1, 1] to codes whose features, a tensor of each level, stay on the device."""
        with inference():
            latents, levels = self.halves.encode(self.whole.placed(faces))
            features = zip(*(level.split(1) for level in levels), strict=True)
            return [FaceCode(latent, each) for latent, each in zip(to_array(latents), features, strict=True)]

    def decode(self, codes: Sequence[FaceCode], /) -> PictureBatch:
        """Codes to (N, 3, S, S) RGB; features may come from another device."""
        device, dtype = self.whole.device, self.whole.dtype
        with inference():
            latents = torch.from_numpy(np.stack([code.latent for code in codes])).to(device, dtype)
            levels = zip(*(cast(tuple[Tensor, ...], code.features) for code in codes), strict=True)
            # joined, not stacked: only that keeps the channels last
            batch = [torch.cat([each.to(device) for each in level]) for level in levels]
            return to_array(self.halves.decode(latents, batch))


def load_face_model(
    path: Path, device: torch.device, precision: str, *, is_compiled: bool | None, n_inputs: int = 0,
    fidelity: float | None = None, accepted: Sequence[str] = (),
) -> FaceNet:  # fmt: skip
    """A face network ready to run. `auto` precision is the fastest whose output matches fp32 (see `autotune`).

    For a small network that is bf16 on a CPU with instructions for it, else fp32.

    Args:
        is_compiled: None compiles a large network for a long run, where this machine can.
        n_inputs: of the whole run, also those done before: a run that goes on must make the same bytes.
        fidelity: 0..1, of a network that takes one.
        accepted: licences that the user accepts in this run.

    Raises:
        CheckpointError: as `load_face_net`.
        UsageError: a fidelity is asked of a network that takes none.
        DeviceError: fp16 on a CPU, or no compiler for `is_compiled`.
    """
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16 needs a GPU: choose fp32 or bf16 on the CPU")
    net = _net_in(path, fidelity, accepted)
    size, is_small = int(net.size), autotune.is_small(net)  # type: ignore[arg-type]
    probe = autotune.probe_batch(size)
    if precision == "auto":
        precision = _chosen_precision(net, probe, device, autotune.file_identity(path))
    net = _placed(net, device, DTYPES[precision])
    is_long = n_inputs >= autotune.COMPILE_FROM and not is_small
    run: autotune.NetFunction | None = net
    if is_compiled or (is_compiled is None and is_long):
        run = autotune.compiled(net, place(probe, device, DTYPES[precision]))
    if run is None and is_compiled:
        raise DeviceError("--compile: torch.compile does not work here (is there a C++ compiler?); leave it out")
    return FaceNet(net if run is None else run, size, device, DTYPES[precision])


def _net_in(path: Path, fidelity: float | None, accepted: Sequence[str]) -> nn.Module:
    """The network of a checkpoint, by our own loaders, else by spandrel's."""
    state = read_state(path)
    if kind_of(state) != "unknown":
        check_has_weight(path, fidelity, has_weight=False)
        return face_net_of(state, source=str(path))
    from gfpcli.adapters.spandrel import load_spandrel_face_net

    weight = USUAL_FIDELITY if fidelity is None else fidelity
    check = partial(check_architecture, path, accepted)
    net = load_spandrel_face_net(state, source=str(path), weight=weight, check=check)
    check_has_weight(path, fidelity, net.has_weight)
    return net


def _placed(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    net = net.to(device, dtype)
    for value in net.parameters():
        if value.dim() == 4:  # convolutions; the modulated ones hold five axes
            value.data = value.data.contiguous(memory_format=torch.channels_last)
    return net


def _chosen_precision(net: nn.Module, probe: PictureBatch, device: torch.device, source: str) -> str:
    """Of fp32 and the half precisions of the device. `net` stays as it is."""

    def candidate(name: str) -> autotune.Candidate[PictureBatch]:
        ready = cache(lambda: FaceNet(_placed(copy.deepcopy(net), device, DTYPES[name]), 0, device, DTYPES[name]))
        return autotune.Candidate(name, lambda: ready()(probe))

    is_small = autotune.is_small(net)
    halves = autotune.HALVES[device.type] if not is_small else ("bf16",) if device.type == "cpu" and has_bf16() else ()
    choose = autotune.first_matching if is_small else autotune.fastest_matching
    key = f"{source}, {autotune.machine_of(device)}, {' '.join(halves)}"
    return choose([candidate(name) for name in ("fp32", *halves)], autotune.faces_match, key)
