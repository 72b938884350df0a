"""Checkpoint files to states and networks; what a file holds is read from its keys and shapes."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gfpcli.errors import CheckpointError
from gfpcli.model.compact import CompactUNet, widths_from_state
from gfpcli.model.gfpgan import GFPGANClean, shape_of

KINDS = {
    "compact-unet": "a compact restorer",
    "gfpgan-clean": "a GFPGAN (clean) restorer",
    "retinaface": "a RetinaFace detector",
    "unknown": "of a kind gfp does not know",
}


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a `.pth` or `.safetensors` file on the CPU, floats as float32; never runs code from the file.

    Raises:
        CheckpointError: missing, not a checkpoint, cut short, unsafe, or with NaN inside; names the file.
    """
    try:
        with path.open("rb") as file:
            is_zip_or_pickle = file.read(2) in (b"PK", b"\x80\x02")
        raw = torch.load(path, map_location="cpu", weights_only=True) if is_zip_or_pickle else load_file(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a checkpoint, or cut short") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than weights (or is damaged)") from error
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
            break
    if not isinstance(raw, Mapping) or not raw or not all(isinstance(value, Tensor) for value in raw.values()):
        raise CheckpointError(f"{path}: holds no weights")
    state = {str(key).removeprefix("module."): value for key, value in raw.items()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    if not all(value.isfinite().all() for value in state.values()):
        raise CheckpointError(f"{path}: some weights are not finite numbers")
    return state


def kind_of(state: Mapping[str, Tensor]) -> str:
    """One of KINDS' keys."""
    if "conv_body_first.weight" in state and "stylegan_decoder.style_conv1.weight" in state:
        return "gfpgan-clean"
    if "head.weight" in state and "tail.weight" in state:
        return "compact-unet"
    return "retinaface" if "ClassHead.0.conv1x1.weight" in state else "unknown"


def load_face_net(path: Path) -> nn.Module:
    """A face network in eval mode, with its `size`.

    Raises:
        CheckpointError: as `read_state`, or the file holds something else, or shapes that do not fit together.
    """
    state = read_state(path)
    kind = kind_of(state)
    try:
        if kind == "compact-unet":
            net: nn.Module = CompactUNet(widths_from_state(state))
        elif kind == "gfpgan-clean":
            net = GFPGANClean(shape_of(state))
        else:
            raise CheckpointError(f"{path}: {KINDS[kind]}, not a face restorer")
        net.load_state_dict(state)
    except (RuntimeError, KeyError, IndexError) as error:
        raise CheckpointError(f"{path}: its weights do not fit together as {KINDS[kind]}") from error
    return net.eval().requires_grad_(False)
