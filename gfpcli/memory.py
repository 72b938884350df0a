"""How much memory this process may still take, and which errors say that there was not enough.

psutil tells what the machine has free and what this process uses. It knows no control groups, whose limits hold in
containers and batch systems, so these are read here.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

KEPT = 2**31 - 1  # bytes that may be free at the end of the heap
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's names (malloc.h)
GROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
FILES = (  # limit, usage and the key of the file cache that can be given back: control groups 2 and 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


# torch raises RuntimeError for all but CUDA's allocator, OpenCV its own error; the texts are theirs
SIGNS = (
    "out of memory", "outofmemory", "not enough memory", "allocate memory", "insufficient memory", "failed to allocate",
    "alloc_failed", "unable to allocate", "bad allocation", "std::bad_alloc",
)  # fmt: skip


def free_memory() -> int:
    """Bytes: the least of what the machine has free and what control groups (Linux) and resource limits leave."""
    import psutil  # here: the program starts faster without it

    rooms = [psutil.virtual_memory().available, *_limit_rooms(psutil.Process().memory_info())]
    rooms += [room for folder in _group_folders() if (room := _group_room(folder)) is not None]
    return max(0, min(rooms))


def lacking(n_bytes: float) -> str | None:
    """None where there is room for so many bytes, else how much is needed and how much is free."""
    free = free_memory()
    return None if n_bytes <= free else f"it needs about {n_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, torch (CPU, CUDA, MPS) or OpenCV means that memory ran out."""
    words = f"{type(error).__name__} {error}".lower()  # torch's own class is named OutOfMemoryError
    return isinstance(error, MemoryError) or any(sign in words for sign in SIGNS)


def keep_memory() -> None:
    """Has this process keep what it frees, for the next large array: handing it back to the system and having it anew,
    page by page, took a tenth of a face's time on two cores, a quarter without the compiler.

    Only glibc can be told; and whoever tells it by MALLOC_... in the environment is left alone.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        with suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def hand_back_memory() -> None:
    """Gives what this process has free to the system, once: after work that needed more than what follows."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def without_collecting() -> Iterator[None]:
    """Work in which Python looks for no cyclic garbage, such as loading libraries and networks.

    That makes some hundred thousand objects that all stay; looking through them again and again took a fifth of the
    time of importing torch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _group_folders() -> list[Path]:
    """Folders of this process's control groups and of the roots, which are its own inside a container."""
    folders = [GROUPS, GROUPS / "memory"]
    for line in _text_of(PROC / "self" / "cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            folders.append((GROUPS / "memory" if kinds else GROUPS) / path.lstrip("/"))
    return folders


def _group_room(folder: Path) -> int | None:
    for limit_file, usage_file, cache_key in FILES:
        limit, usage = _text_of(folder / limit_file).strip(), _text_of(folder / usage_file).strip()
        if limit.isdigit() and usage.isdigit():
            return int(limit) - int(usage) + (_number_in(folder / "memory.stat", cache_key) or 0)
    return None


def _limit_rooms(used: Any) -> list[int]:
    """What `ulimit -v` and `ulimit -d` leave of psutil's figures for this process."""
    if sys.platform == "win32":
        return []
    import resource  # not on Windows

    uses = {resource.RLIMIT_AS: used.vms, resource.RLIMIT_DATA: getattr(used, "data", None)}  # data: Linux only
    limits = {kind: resource.getrlimit(kind)[0] for kind in uses}
    return [limits[kind] - n for kind, n in uses.items() if n and limits[kind] != resource.RLIM_INFINITY]


def _number_in(file: Path, key: str) -> int | None:
    found = re.search(rf"^{key} (\d+)", _text_of(file), re.M)
    return int(found[1]) if found else None


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
