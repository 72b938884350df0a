"""How much memory this process may still take."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

UNKNOWN = 4 << 30  # bytes assumed where the system does not tell
GROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
FILES = (  # limit, usage and the key of the file cache that can be given back: control groups 2 and 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory() -> int:
    """Bytes: the least of what the machine has free and what control groups (Linux) and resource limits leave."""
    rooms = [_machine_room(), *(_group_room(folder) for folder in _group_folders()), *_limit_rooms()]
    return max(0, min((room for room in rooms if room is not None), default=UNKNOWN))


def _machine_room() -> int | None:
    """Linux tells what is available; elsewhere half of what there is, None on Windows."""
    if available := _number_in(PROC / "meminfo", "MemAvailable"):
        return available * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


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


def _limit_rooms() -> list[int]:
    """What `ulimit -v` and `ulimit -d` leave."""
    if sys.platform == "win32":
        return []
    import resource  # not on Windows

    rooms = []
    for kind, key in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        used = _number_in(PROC / "self" / "status", key)
        if limit != resource.RLIM_INFINITY and used:
            rooms.append(limit - used * 1024)
    return rooms


def _number_in(file: Path, key: str) -> int | None:
    found = re.search(rf"^{key}:?\s+(\d+)", _text_of(file), re.M)
    return int(found[1]) if found else None


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
