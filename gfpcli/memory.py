"""How much memory is left, and which errors say that there was not enough."""

from __future__ import annotations

import os
from pathlib import Path

GB = 1e9
LIMITS = (  # of a container: what it may use and what it uses (cgroup 2, cgroup 1)
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
# torch raises RuntimeError for all but CUDA's allocator, OpenCV its own error; the texts are theirs
SIGNS = (
    "out of memory", "not enough memory", "can't allocate memory", "insufficient memory", "failed to allocate",
    "alloc_failed", "unable to allocate", "bad allocation", "std::bad_alloc",
)  # fmt: skip


def free_memory() -> int | None:
    """Bytes that can be used without swapping; None where the system does not say."""
    known = [left for left in (_free_of_system(), *map(_free_of_container, LIMITS)) if left is not None]
    return min(known) if known else None


def _free_of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None  # Windows


def _free_of_container(files: tuple[str, str]) -> int | None:
    try:
        limit, used = (int(Path(file).read_text()) for file in files)
    except (OSError, ValueError):  # none, or "max"
        return None
    return max(0, limit - used)


def lacking(n_bytes: float) -> str | None:
    """None where there is room for so many bytes, else how much is needed and how much is free."""
    free = free_memory()
    if free is None or n_bytes <= free:
        return None
    return f"it needs about {n_bytes / GB:.1f} GB, {free / GB:.1f} GB are free"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, torch (CPU, CUDA, MPS) or OpenCV means that memory ran out."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in SIGNS)
