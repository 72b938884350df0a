"""Checkpoint files to states and networks; what a file holds is read from its keys and shapes."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gfpcli.errors import CheckpointError, OutputError, os_reason
from gfpcli.files.atomic import os_errors_as, write_with
from gfpcli.model.compact import compact_512_from_state, compact_from_state
from gfpcli.model.gfpgan import GFPGANClean, shape_of
from gfpcli.model.paper import GFPGANPaper

ROOM = 1 << 20  # bytes and numbers that a file may hold beyond its size: names, tied weights
WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")  # by trainers
KINDS = {
    "compact-unet": "a compact restorer",
    "compact-512": "a compact restorer of 512 px",
    "gfpgan-clean": "a GFPGAN (clean) restorer",
    "gfpgan-paper": "a GFPGAN (paper) restorer",
    "stylegan2": "a StyleGAN2 generator",
    "retinaface": "a RetinaFace detector",
    "parsenet": "a ParseNet face parser",
    "rrdbnet": "a Real-ESRGAN upsampler",
    "srvgg": "a Real-ESRGAN (compact) upsampler",
    "unknown": "of a kind gfp does not know",
}
MARKS = {  # two keys that only this kind has
    "gfpgan-clean": ("conv_body_first.weight", "stylegan_decoder.style_conv1.weight"),
    "gfpgan-paper": ("conv_body_first.0.weight", "stylegan_decoder.style_conv1.weight"),
    "stylegan2": ("style_conv1.modulated_conv.weight", "to_rgb1.modulated_conv.weight"),
    "compact-unet": ("head.weight", "middle.conv1.weight"),
    "compact-512": ("core.head.weight", "large.conv1.weight"),
    "retinaface": ("ClassHead.0.conv1x1.weight", "fpn.output1.0.weight"),
    "parsenet": ("out_mask_conv.conv2d.weight", "out_img_conv.conv2d.weight"),
    "rrdbnet": ("conv_first.weight", "conv_body.weight"),
    "srvgg": ("body.0.weight", "body.1.weight"),
}


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a `.pth` or `.safetensors` file on the CPU, floats as float32; never runs code from the file.

    Raises:
        CheckpointError: missing, not a checkpoint, cut short, unsafe, far larger inside than outside, or with NaN
            inside; names the file.
    """
    with os_errors_as(CheckpointError, path):
        is_safetensors, size, unpacked = _is_safetensors(path), path.stat().st_size, _unpacked_size(path)
    if unpacked > size + ROOM:  # torch writes no packed archives
        raise CheckpointError(f"{path}: refused, its {size} bytes unpack to {unpacked}")
    try:
        raw = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than weights (or is damaged)") from error
    except Exception as error:  # damaged files make the readers raise nearly anything
        raise CheckpointError(f"{path}: not a checkpoint, or cut short") from error
    for key in WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
            break
    if not isinstance(raw, Mapping) or not raw or not all(isinstance(value, Tensor) for value in raw.values()):
        raise CheckpointError(f"{path}: holds no weights")
    n_numbers = sum(value.numel() for value in raw.values())
    if n_numbers > size + ROOM:  # each takes a byte at least
        raise CheckpointError(f"{path}: refused, its {size} bytes cannot hold {n_numbers} numbers")
    try:
        state = {str(key).removeprefix("module."): value for key, value in raw.items()}
        state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        is_finite = all(value.isfinite().all() for value in state.values())
    except (RuntimeError, NotImplementedError) as error:  # sparse, quantized
        raise CheckpointError(f"{path}: weights of a kind that gfp does not know") from error
    if not is_finite:
        raise CheckpointError(f"{path}: some weights are not finite numbers")
    return state


def _unpacked_size(path: Path) -> int:
    """Bytes of all that a zip archive says it holds; 0 for what is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return 0  # the reader will say what is wrong


def _is_safetensors(path: Path) -> bool:
    """By content: a header length, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def kind_of(state: Mapping[str, Tensor]) -> str:
    """One of KINDS' keys."""
    return next((kind for kind, marks in MARKS.items() if all(mark in state for mark in marks)), "unknown")


def load_face_net(path: Path) -> nn.Module:
    """A face network in eval mode, with its `size`.

    Raises:
        CheckpointError: as `read_state`, or the file holds something else, or shapes that do not fit together.
    """
    return face_net_of(read_state(path), source=str(path))


def face_net_of(state: Mapping[str, Tensor], *, source: str) -> nn.Module:
    """As `load_face_net`, from a state. Raises CheckpointError, which names `source`."""
    kind = kind_of(state)
    try:
        if kind == "compact-unet":
            net: nn.Module = compact_from_state(state)
        elif kind == "compact-512":
            net = compact_512_from_state(state)
        elif kind == "gfpgan-clean":
            net = GFPGANClean(shape_of(state))
        elif kind == "gfpgan-paper":
            net = GFPGANPaper(shape_of(state))
        else:
            raise CheckpointError(f"{source}: {KINDS[kind]}, not a face restorer")
        net.load_state_dict(dict(state))
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError) as error:
        raise CheckpointError(f"{source}: its weights do not fit together as {KINDS[kind]}") from error
    return net.eval().requires_grad_(False)


def convert(source: Path, target: Path, *, is_half: bool) -> None:
    """Writes the weights of `source` as safetensors, whole or not at all.

    Raises:
        CheckpointError: as `read_state`.
        OutputError: the target cannot be written.
    """
    state = read_state(source)
    facts = {"arch": kind_of(state)}
    kept = {key: (v.half() if is_half and v.is_floating_point() else v).contiguous() for key, v in state.items()}
    try:
        write_with(target, lambda part: save_file(kept, part, facts))
    except SafetensorError as error:
        raise OutputError(f"{target}: {os_reason(error)}") from error
