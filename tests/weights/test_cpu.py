"""What is told of the processor, and that oneDNN keeps to a limit."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gfpcli.weights import autotune, cpu

FEATURES = cpu.CpuFeatures("A processor", ("avx2", "avx512_bf16"), "AVX512", "Intel AVX-512 with bfloat16 support")


def test_the_line_names_the_processor_and_all_three_views() -> None:
    assert FEATURES.line() == (
        "A processor: avx2 avx512_bf16; torch: AVX512; oneDNN: Intel AVX-512 with bfloat16 support"
    )
    assert FEATURES.has_bf16 and not replace(FEATURES, onednn_isa="Intel AVX2").has_bf16
    assert replace(FEATURES, instructions=(), onednn_isa="").line() == (
        "A processor: instructions not known; torch: AVX512; oneDNN: not known"
    )


def test_linux_is_read_on_x86_and_on_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "_isa_of_onednn", lambda: "")
    x86 = "processor\t: 0\nmodel name\t: One\nflags\t\t: fpu avx512_bf16 avx2 sse\n\nmodel name\t: Two\n"
    (tmp_path / "cpuinfo").write_text(x86)
    told = cpu.cpu_features()
    assert (told.name, told.instructions, told.has_bf16) == ("One", ("avx2", "avx512_bf16"), False)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n")
    assert cpu.cpu_features().instructions == ("i8mm", "bf16")
    (tmp_path / "cpuinfo").unlink()
    told = cpu.cpu_features()
    assert told.instructions == () and told.name


def test_onednn_keeps_to_a_limit_that_is_set_after_torch_is_loaded() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    code = f"import torch; from gfpcli.weights import cpu; cpu.limit_to('SSE41'); {cpu.ANY_OPERATION}"
    told = {**os.environ, "ONEDNN_VERBOSE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True)
    assert f"{cpu.ISA_LINE}Intel SSE4.1" in done.stdout, done.stderr


def test_what_onednn_uses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    monkeypatch.setenv(cpu.ISA_LIMIT, "SSE41")
    told = cpu.cpu_features()
    assert told.onednn_isa == "Intel SSE4.1" and not told.has_bf16
    assert told.torch_isa == torch.backends.cpu.get_cpu_capability()


def test_a_limited_processor_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cpu.ISA_LIMIT, raising=False)
    free = autotune.machine_of(torch.device("cpu"))
    monkeypatch.setenv(cpu.ISA_LIMIT, cpu.WITHOUT_BF16)
    limited = autotune.machine_of(torch.device("cpu"))
    assert limited != free and cpu.WITHOUT_BF16 in limited and cpu.WITHOUT_BF16 not in free


@pytest.mark.parametrize(("flags", "limit", "bf16", "int8"), [
    ("flags : avx2 avx512_bf16 avx512_vnni", "", True, True), ("flags : avx2 avx_vnni", "", False, True),
    ("flags : avx512_bf16", "AVX512_CORE_VNNI", False, False), ("flags : avx512_bf16", "avx512_core_bf16", True, False),
    ("Features : asimddp i8mm bf16", "", True, True), ("", "", False, False),
])  # fmt: skip
def test_what_a_network_may_be_run_in_is_known_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, limit: str, bf16: bool, int8: bool
) -> None:
    monkeypatch.setattr(cpu, "CPU_INFO", tmp_path / "cpuinfo")
    cpu.CPU_INFO.write_text(flags)
    monkeypatch.setenv(cpu.ISA_LIMIT, limit)
    assert (cpu.has_bf16(), cpu.has_int8()) == (bf16, int8)
