"""What a run keeps on disk: one file with everything that is needed to go on, and weights for `gfp restore`.

Every file is written beside its name and renamed when whole: a kill at any moment leaves the one before.
"""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from gfpcli.errors import CheckpointError, OutputError, UsageError, os_reason
from gfpcli.files.atomic import os_errors_as, write_with
from gfpcli.train.nets import KIND_OF, Nets
from gfpcli.train.options import TrainOptions

STATE = "state.pt"
FORMAT = 1
# options that may change when a run goes on: they alter no draw and no earlier step
FREE = ("iterations", "workers", "log_every", "validate_every", "save_every", "n_valid", "start", "prior", "components")
Optimizers = Mapping[str, torch.optim.Optimizer]


@dataclass(slots=True)
class Progress:
    """How far a run is: the only thing the loop changes besides networks and optimizers."""

    iteration: int = 0  # done
    n_images: int = 0  # seen by all processes
    n_rollbacks: int = 0
    best: float = float("-inf")  # PSNR of the best validation, dB
    rng: dict[str, Any] = field(default_factory=dict)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write` fills a file beside `path`, which then takes its name. Raises OutputError."""
    try:
        write_with(path, write)
    except (RuntimeError, SafetensorError) as error:  # the ways in which torch and safetensors tell of a full disk
        is_full = shutil.disk_usage(path.parent).free < 1 << 20
        reason = "No space left on device" if is_full else os_reason(error)[:200]
        raise OutputError(f"{path}: cannot be written ({reason})") from error


def save_state(path: Path, nets: Nets, optimizers: Optimizers, progress: Progress, options: TrainOptions) -> None:
    """Everything that is needed to go on exactly. Raises OutputError."""
    content = {
        "format": FORMAT,
        "options": plain(asdict(options)),
        "nets": {name: net.state_dict() for name, net in nets.named().items()},
        "optimizers": {name: each.state_dict() for name, each in optimizers.items()},
        "iteration": progress.iteration,
        "n_images": progress.n_images,
        "n_rollbacks": progress.n_rollbacks,
        "best": progress.best,
        "rng": rng_state(),
    }
    write_whole(path, lambda part: torch.save(content, part))


def load_state(path: Path, nets: Nets, optimizers: Optimizers, options: TrainOptions) -> Progress:
    """Puts a saved state into networks and optimizers; the random generators are set by `set_rng`.

    Raises:
        CheckpointError: not a state of a run, damaged, or of other networks.
        UsageError: the run was begun with other options; names them.
    """
    content = read_training_state(path)
    check_same(path, content["options"], options)
    try:
        for name, net in nets.named().items():
            net.load_state_dict(content["nets"][name])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        return Progress(
            content["iteration"], content["n_images"], content["n_rollbacks"], content["best"], content["rng"]
        )
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: does not fit this run's networks") from error


def read_training_state(path: Path) -> dict[str, Any]:
    """The content of a state file; never runs code from it. Raises CheckpointError."""
    try:
        with os_errors_as(CheckpointError, path):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than a run's state (or is damaged)") from error
    except Exception as error:  # damaged files make the reader raise nearly anything
        raise CheckpointError(f"{path}: not a run's state, or cut short") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "options" not in content:
        raise CheckpointError(f"{path}: not the state of a run of gfp train")
    return content


def check_same(path: Path, before: Mapping[str, Any], options: TrainOptions) -> None:
    """Raises UsageError where a run would go on with options that change what it computes."""
    now = plain(asdict(options))
    changed = [
        f"{key}={_short(before.get(key), now[key])}" for key in now if key not in FREE and before.get(key) != now[key]
    ]
    if changed:
        raise UsageError(
            f"{path.parent} was begun with other options ({'; '.join(changed)}): give the same, or another --output"
        )


def _short(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        return ", ".join(f"{key} {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key])
    return f"{before}, now {now}"


def plain(value: Any) -> Any:
    """Tuples to lists, as YAML and the state file hold them."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value


def rng_state() -> dict[str, Any]:
    """Of Python, numpy, torch and every CUDA device, as plain values and tensors."""
    kind, keys, *rest = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng(state: Mapping[str, Any]) -> None:
    """The way back."""
    if not state:
        return
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def save_weights(path: Path, net: nn.Module, options: TrainOptions, *, note: str) -> None:
    """A network as fp32 safetensors in its official key layout, ready for `gfp restore --model`."""
    state: dict[str, Tensor] = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    facts = {"arch": KIND_OF[options.arch], "size": str(options.size), "note": note}
    write_whole(path, lambda part: save_file(state, part, facts))
