"""The files a run keeps: `state.pt` with all that is needed to go on, and weights for `gfp restore`.

Each is written under a temporary name and then renamed: a kill at any moment leaves the previous one whole.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gfpcli.errors import CheckpointError, UsageError
from gfpcli.files.atomic import os_errors_as, write_bytes
from gfpcli.train.nets import KIND_OF, Nets
from gfpcli.train.options import TrainOptions

STATE = "state.pt"
FORMAT = 2  # 1 had other names of networks and loss terms, and landmarks that were up to 3.5 px off
# options that may change when a run goes on: no draw and no earlier iteration depends on them
MAY_CHANGE = (
    "iterations", "workers", "log_every", "validate_every", "save_every", "n_valid", "start", "prior", "components",
    "truncation",
)  # fmt: skip
EFFECTS = {  # flag, and what a change does to a run that goes on
    "start": ("--from", "it has no effect, the weights are those of the run's state"),
    "prior": ("--prior", "it has no effect, the weights are those of the run's state"),
    "components": ("--set components", "the boxes of eyes and mouth are others from now on"),
    "n_valid": ("--set n_valid", "validations look at other faces than that of best.safetensors did"),
    "iterations": ("--iterations", "the learning rate falls along another cosine"),
}
Optimizers = Mapping[str, torch.optim.Optimizer]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run computes with besides its options; a run whose facts have changed goes on, and that is told."""

    faces: str  # digest of the names and landmarks of the faces, those that are held out included
    n_faces: int
    world_size: int


@dataclass(slots=True)
class TrainProgress:
    """How far a run has come: all that the training loop changes besides networks and optimizers."""

    iteration: int = 0  # iterations done
    n_images: int = 0  # training images seen by all processes
    n_rollbacks: int = 0
    best: float = float("-inf")  # score of the best validation
    rng: dict[str, Any] = field(default_factory=dict)


def save_state(
    path: Path, nets: Nets, optimizers: Optimizers, progress: TrainProgress, options: TrainOptions, facts: RunFacts
) -> None:
    """Writes all that a run needs to go on exactly. Raises OutputError."""
    content = {
        "format": FORMAT,
        "options": to_plain(asdict(options)),
        "facts": asdict(facts),
        "nets": {name: net.state_dict() for name, net in nets.named().items()},
        "optimizers": {name: each.state_dict() for name, each in optimizers.items()},
        "iteration": progress.iteration,
        "n_images": progress.n_images,
        "n_rollbacks": progress.n_rollbacks,
        "best": progress.best,
        "rng": rng_state(),
    }
    data = io.BytesIO()  # in memory first: torch tells of a full disk by errors that do not name it
    torch.save(content, data)
    write_bytes(path, data.getvalue())


def load_state(path: Path, nets: Nets, optimizers: Optimizers, options: TrainOptions) -> TrainProgress:
    """Loads a saved state into networks and optimizers; `set_rng` does so for the random generators.

    Raises:
        CheckpointError: not the state of a run, of an earlier version, damaged, or of other networks.
        UsageError: the run was begun with other options, which the message names.
    """
    return apply_state(path, read_training_state(path), nets, optimizers, options)


def apply_state(
    path: Path, content: Mapping[str, Any], nets: Nets, optimizers: Optimizers, options: TrainOptions
) -> TrainProgress:
    """As `load_state`, of what `read_training_state` read from `path`. Raises as it."""
    check_same(path, content["options"], options)
    try:
        for name, net in nets.named().items():
            net.load_state_dict(content["nets"][name])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        return TrainProgress(
            content["iteration"], content["n_images"], content["n_rollbacks"], content["best"], content["rng"]
        )
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: does not fit this run's networks") from error


def read_training_state(path: Path) -> dict[str, Any]:
    """Reads a state file without running code from it, its checksums compared. Raises CheckpointError."""
    try:
        with os_errors_as(CheckpointError, path):
            _check_sums(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: refused, it holds more than a run's state (or is damaged)") from error
    except Exception as error:  # damaged files make the reader raise nearly anything
        raise CheckpointError(f"{path}: not a run's state, or cut short") from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int) or "options" not in content:
        raise CheckpointError(f"{path}: not the state of a run of gfp train")
    if content["format"] != FORMAT:
        raise CheckpointError(f"{path}: written by another version of gfp train; --no-resume begins anew")
    return content


def _check_sums(path: Path) -> None:
    """Compares the CRC-32 of each part of the file: torch would read changed weights without a word."""
    with zipfile.ZipFile(path) as parts:
        if (damaged := parts.testzip()) is not None:
            raise CheckpointError(f"{path}: damaged (at {damaged})")


def check_same(path: Path, before: Mapping[str, Any], options: TrainOptions) -> None:
    """Raises UsageError where an option that changes the computation is not the one the run was begun with.

    An option that an earlier version did not have counts as its default, which leaves out what came with it.
    """
    now, before = to_plain(asdict(options)), with_defaults(before)
    names = [key for key in now if key not in MAY_CHANGE and before.get(key) != now[key]]
    if names:
        changed = "; ".join(f"{key}={_difference(before.get(key), now[key])}" for key in names)
        raise UsageError(
            f"{path.parent} was begun with other options ({changed}): give the same, or another --output"
        )


def with_defaults(before: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a state file, those that its version did not have at their defaults."""
    defaults = to_plain(asdict(TrainOptions()))
    filled = {**defaults, **before}
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(filled[name], dict):
            filled[name] = {**value, **filled[name]}
    return filled


def changes_of(content: Mapping[str, Any], options: TrainOptions, facts: RunFacts) -> list[str]:
    """A line for each thing that is not as it was when the state was saved and does not forbid to go on."""
    then, now = content["options"], to_plain(asdict(options))
    lines = []
    for name, (flag, effect) in EFFECTS.items():
        if then.get(name) != now[name] and (name != "iterations" or options.cosine):
            lines.append(f"{flag} is another than before ({then.get(name)!r}, now {now[name]!r}): {effect}")
    before = content.get("facts")  # earlier versions did not keep them
    if before and before["faces"] != facts.faces:
        counts = f"{before['n_faces']} faces, now {facts.n_faces}"
        lines.append(f"--data holds other faces than before ({counts}): the run goes on with those that are there now")
    if before and before["world_size"] != facts.world_size:
        counts = f"{before['world_size']}, now {facts.world_size}"
        lines.append(f"another number of processes than before: {counts}; an iteration sees as many times the batch")
    return lines


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        return ", ".join(f"{key} {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key])
    return f"{before}, now {now}"


def to_plain(value: Any) -> Any:
    """Tuples become lists, nested ones too: YAML and the state file hold nothing else."""
    if isinstance(value, dict):
        return {key: to_plain(each) for key, each in value.items()}
    return [to_plain(each) for each in value] if isinstance(value, tuple | list) else value


def rng_state() -> dict[str, Any]:
    """The states of torch's generators; no other global generator is used (see `data.py`)."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def set_rng(state: Mapping[str, Any]) -> None:
    """Sets the generators to what `rng_state` gave; those of CUDA only with as many devices."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def save_weights(
    path: Path, net: nn.Module, options: TrainOptions, *, note: str, score: float | None = None
) -> None:
    """Writes a network as fp32 safetensors in the official key layout (`gfp restore --model`, or `gfp train --prior`).

    Args:
        score: of its validation; `score_of` reads it back.

    Raises:
        OutputError: it cannot be written.
    """
    state: dict[str, Tensor] = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    kind = "stylegan2" if options.stage == "prior" else KIND_OF[options.arch]
    facts = {"arch": kind, "size": str(options.size), "note": note}
    facts |= {} if score is None else {"score": repr(score)}
    write_bytes(path, save(state, facts))


def score_of(path: Path) -> float:
    """The score that `save_weights` noted; -infinity without one, or without such a file."""
    try:
        with safe_open(path, "pt") as file:
            return float((file.metadata() or {}).get("score", "-inf"))
    except (OSError, SafetensorError, ValueError):
        return float("-inf")
