"""Free memory: the least that anything leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gfpcli import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up machine with 8 GB available, and no limits."""
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "_limit_rooms", lambda: [])
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n")
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
