"""Coverage-guided fuzzing of the checkpoint loader (atheris; see `make fuzz`).

Any file must give finite tensors or a CheckpointError, within 10 s and 2 GB, and never run code from the file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import FunctionType

import atheris
import torch._weights_only_unpickler
import torch.serialization

with atheris.instrument_imports(include=["gfpcli"]):
    from gfpcli.errors import CheckpointError
    from gfpcli.model.checkpoint import kind_of, load_face_net, read_state

NETS = ("compact-unet", "gfpgan-clean", "gfpgan-paper")
RAN: list[str] = []
LEFT_ALONE = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "os.remove", "os.rename")


for place in (torch.serialization, torch._weights_only_unpickler, torch._weights_only_unpickler.Unpickler):
    for value in list(vars(place).values()):  # in place: instrumenting the imports would take all of torch
        if isinstance(value, FunctionType) and value.__module__ == getattr(place, "__module__", place.__name__):
            atheris.instrument_func(value)


def note(event: str, details: tuple[object, ...]) -> None:
    """An audit hook: what a checkpoint must never do."""
    if event in LEFT_ALONE:
        RAN.append(event)


def read_one(data: bytes) -> None:
    """Loads a file's bytes as a state, and as a network."""
    FILE.write_bytes(data)
    RAN.clear()
    try:
        state = read_state(FILE)
        assert all(value.isfinite().all() for value in state.values())
        if kind_of(state) in NETS:
            load_face_net(FILE)
    except CheckpointError as error:
        assert "\n" not in str(error)
    assert not RAN, RAN


if __name__ == "__main__":
    memory = Path("/dev/shm")  # opening a file there is ten times faster
    FILE = Path(tempfile.mkdtemp(prefix="gfp-fuzz-", dir=memory if memory.is_dir() else None)) / "weights"
    atheris.Setup(sys.argv, read_one)
    sys.addaudithook(note)
    atheris.Fuzz()
