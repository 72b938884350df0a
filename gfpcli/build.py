"""The only place where weights, networks and adapters meet."""

from __future__ import annotations

from pathlib import Path

from gfpcli.adapters.facexlib import load_detector
from gfpcli.errors import UsageError
from gfpcli.model.checkpoint import load_face_net, read_state
from gfpcli.options import RestoreOptions
from gfpcli.restorer import Restorer

BUILTIN = Path(__file__).parent / "builtin"


def load_restorer(options: RestoreOptions) -> Restorer:
    """A ready restorer on the CPU.

    Raises:
        UsageError: a name that is neither built in nor a file.
        CheckpointError: a file that holds something else.
    """
    detector_path = _path_of("detector", options.detector, "builtin", "detector.safetensors")
    detector = load_detector(
        read_state(detector_path),
        source=str(detector_path),
        threshold=options.det_threshold,
        longest=options.det_size,
    )
    model = load_face_net(_path_of("model", options.model, "compact", "compact.safetensors"))
    return Restorer(detector, model, options)  # type: ignore[arg-type]


def _path_of(flag: str, value: str, builtin: str, file: str) -> Path:
    if value in ("auto", builtin):
        return BUILTIN / file
    if not Path(value).is_file():
        raise UsageError(f"--{flag} {value!r}: choose auto, {builtin} or a checkpoint file")
    return Path(value)
