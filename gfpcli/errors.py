"""The one error tree. Third-party errors are translated once, at the adapter or reader; only `cli/` catches.

GfpError                      every expected failure; its text is one line for the user
├── UsageError                wrong flags or values (exit 2)
├── InputError                an input cannot be found, read or decoded; names the file
├── OutputError               an output cannot be written; names the file
├── WeightsError              anything about a weight file or its name
│   ├── ChecksumError         the bytes are not the pinned ones
│   ├── CheckpointError       not a checkpoint, truncated, unsafe, or of another architecture
│   └── DownloadError         the network failed, or `--offline` forbids it
├── DeviceError               a device or precision that this machine does not have
├── EngineError               the machines of `--engine ray` cannot be used, or Ray is not installed
├── FaceError                 the network failed on a face; the frame keeps its own face
└── BackgroundError           the network failed on a frame's background; nothing of the frame is written
"""

from __future__ import annotations

from gfpcli.memory import is_out_of_memory


class GfpError(Exception):
    """Base of everything a user can cause; `str(error)` is a single clear line."""


class UsageError(GfpError):
    """Wrong flags or values; the message lists the valid ones."""


class InputError(GfpError):
    """An input that cannot be found, read or decoded."""


class EmptyInputError(InputError):
    """Folders in which no input is."""


class OutputError(GfpError):
    """An output that cannot be written."""


class WeightsError(GfpError):
    """A weight name or file that cannot be used."""


class ChecksumError(WeightsError):
    """Bytes that differ from the pinned SHA-256."""


class CheckpointError(WeightsError):
    """A file that is no checkpoint, is cut short, is unsafe, or holds another architecture."""


class DownloadError(WeightsError):
    """A download that failed or is not allowed."""


class DeviceError(GfpError):
    """A device or precision this machine lacks."""


class EngineError(GfpError):
    """Ray is not installed, no cluster answers, or its workers cannot be used."""


class FaceError(GfpError):
    """The face network failed on a face."""


class BackgroundError(GfpError):
    """The background network failed on a frame."""


def os_reason(error: Exception) -> str:
    """What the system or a library says of a failure, in one line, without the file's name."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def failure_line(source: object, error: Exception) -> str:
    """Why an input failed, in one line that names it: an expected error's own text, no memory, or a fault of gfp."""
    if isinstance(error, GfpError):
        return str(error)
    reason = "not enough memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
    return f"{source}: {' '.join(reason.split())}"
