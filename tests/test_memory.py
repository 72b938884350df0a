"""Free memory: the least that anything leaves."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from gfpcli import memory
from gfpcli.memory import without_collecting


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up machine with 8 GB available, and no limits."""
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "_limit_rooms", lambda used: [])
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=8_000_000 * 1024))
    return tmp_path


def test_what_the_machine_has(system: Path) -> None:
    assert memory.free_memory() == 8_000_000 * 1024


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("groups", {"memory.max": "3000", "memory.current": "1000", "memory.stat": "anon 5\ninactive_file 300\n"}),
        (
            "groups/memory/mine",
            {
                "memory.limit_in_bytes": "3000",
                "memory.usage_in_bytes": "1000",
                "memory.stat": "total_inactive_file 300\n",
            },
        ),
    ],
)
def test_what_a_control_group_leaves(system: Path, folder: str, files: dict[str, str]) -> None:
    (system / "self").mkdir()
    (system / "self" / "cgroup").write_text("4:memory:/mine\n0::/\n")
    (system / folder).mkdir(parents=True)
    for name, text in files.items():
        (system / folder / name).write_text(text)
    assert memory.free_memory() == 2300
    (system / folder / "memory.max").write_text("max\n")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_ulimit_leaves() -> None:
    code = (
        "import resource; from gfpcli.memory import free_memory;"
        "resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30)); print(free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0 < int(done.stdout) < 2 << 30, done.stderr


def test_every_library_s_way_of_saying_so_is_known() -> None:
    told: list[BaseException] = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.OutOfMemoryError(),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ]
    for take in (lambda: torch.empty(1 << 50), lambda: np.empty(1 << 55, np.uint8), lambda: bytearray(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            take()
        told.append(caught.value)
    assert all(memory.is_out_of_memory(error) for error in told), told
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not memory.is_out_of_memory(cv2.error("(-215:Assertion failed) !_src.empty() in function 'cvtColor'"))


def test_what_lacks_is_told(system: Path) -> None:
    assert memory.lacking(8e9) is None
    assert memory.lacking(1e15) == "it needs about 1000000.0 GB, 8.2 GB are free"


@pytest.mark.skipif(sys.platform != "linux" or not platform.libc_ver()[0], reason="only glibc can be told")
def test_memory_that_is_freed_is_had_again_without_new_pages() -> None:
    code = (
        "import resource, sys, numpy as np\n"
        "from gfpcli.memory import hand_back_memory, keep_memory\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def rss(): return int(open('/proc/self/statm').read().split()[1])\n"
        "if sys.argv[1] == 'keep': keep_memory()\n"
        "np.ones(8_000_000)\n"
        "before = faults()\n"
        "for _ in range(5): np.ones(8_000_000)\n"
        "new, held = faults() - before, rss()\n"
        "hand_back_memory()\n"
        "print(new, held - rss())\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}

    def told(how: str, **more: str) -> list[int]:
        done = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, check=True, env=environment | more
        )
        return [int(word) for word in done.stdout.split()]

    pages = 8_000_000 * 8 // 4096  # of one array; huge pages may make it fewer
    usual, kept = told("leave"), told("keep")
    assert kept[0] < pages / 100 and kept[0] < usual[0] / 4
    assert kept[1] > pages / 2  # is handed back when asked
    assert told("keep", MALLOC_TOP_PAD_="65536")[0] > 4 * kept[0]  # the user's own settings stand


def test_nothing_is_collected_while_networks_are_loaded_but_afterwards_again() -> None:
    found: list[int] = []
    gc.callbacks.append(lambda phase, info: found.append(info["generation"]))
    try:
        with pytest.raises(ValueError, match="why"), without_collecting():
            kept = [[i] for i in range(100_000)]
            assert not found
            raise ValueError("why")
        kept += [[i] for i in range(100_000)]
        assert found and gc.isenabled() and len(kept) == 200_000
    finally:
        gc.callbacks.pop()
