"""What the CPU can compute in, as Linux, torch and oneDNN tell it: by how much bf16 helps depends on that."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
NOTED = (  # instructions that networks are fast by, as Linux names them on x86 and on ARM
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
ISA_LIMIT = "ONEDNN_MAX_CPU_ISA"  # read by oneDNN when it runs its first operation in a process
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # one of these is enough
INT8_INSTRUCTIONS = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}
WITHOUT_BF16 = "AVX512_CORE_VNNI"  # value of it: all that comes before bf16 in oneDNN's order
ISA_LINE = "onednn_verbose,v1,info,cpu,isa:"
ANY_OPERATION = "import torch; torch.ones(1, 1).to_mkldnn()"
PROBE_TIME_S = 60


@dataclass(frozen=True, slots=True)
class CpuFeatures:
    """One processor, as this process may use it."""

    name: str
    instructions: tuple[str, ...]  # those of NOTED that Linux lists; none on other systems
    torch_isa: str  # the widest that torch's own kernels use, such as AVX512
    onednn_isa: str  # the same of oneDNN, which runs the convolutions, in its own words; empty where it does not tell

    @property
    def has_bf16(self) -> bool:
        """Whether convolutions run in bf16 without conversion to fp32."""
        return "bfloat16" in self.onednn_isa

    def line(self) -> str:
        """All of it for a person."""
        listed = " ".join(self.instructions) or "instructions not known"
        return f"{self.name}: {listed}; torch: {self.torch_isa}; oneDNN: {self.onednn_isa or 'not known'}"


def has_bf16() -> bool:
    """Whether torch computes in bf16 by instructions for it, as far as Linux and the limit for oneDNN tell.

    The quick form of `CpuFeatures.has_bf16`, for each start.
    """
    limit = os.environ.get(ISA_LIMIT, "").upper()
    is_limited = limit not in ("", "ALL", "DEFAULT") and not any(each in limit for each in ("BF16", "FP16", "AMX"))
    return bool(BF16_INSTRUCTIONS & _flags()) and not is_limited


def has_int8() -> bool:
    """Whether the CPU multiplies integers of 8 bit by instructions for it, as far as Linux tells."""
    return bool(INT8_INSTRUCTIONS & _flags())


def cpu_features() -> CpuFeatures:
    """Asks Linux, torch and, in a process of its own, oneDNN: a second or two."""
    import torch  # here: what only asks for the CPU's name need not load it

    listed = tuple(each for each in NOTED if each in _flags())
    return CpuFeatures(cpu_name(), listed, torch.backends.cpu.get_cpu_capability(), _isa_of_onednn())


def cpu_name() -> str:
    """The processor's model, as the system names it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def limit_to(isa: str) -> None:
    """Makes oneDNN use no instructions beyond `isa` in this process, which must not have run any network yet."""
    os.environ[ISA_LIMIT] = isa


def _flags() -> set[str]:
    """The instructions that Linux lists, in its words for x86 or for ARM."""
    return set(f"{_cpu_info('flags')} {_cpu_info('Features')}".split())


def _cpu_info(key: str) -> str:
    """The first value of a key in what Linux tells of its processors; empty where it tells none."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def _isa_of_onednn() -> str:
    told = {**os.environ, "ONEDNN_VERBOSE": "1"}  # it has no function that tells: it writes this on standard output
    command = [sys.executable, "-c", ANY_OPERATION]
    try:
        done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=PROBE_TIME_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (line for line in done.stdout.splitlines() if line.startswith(ISA_LINE))
    return next(lines, "").removeprefix(ISA_LINE)
