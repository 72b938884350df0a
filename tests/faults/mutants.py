"""How many small changes of the code the nearest tests notice: `make mutants`, a sample with a fixed seed, by mutmut.

The modules and their tests are named in pyproject.toml. Changes that alter nothing that can be seen count as survivors.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

MUTANTS = Path("mutants/gfpcli")  # where mutmut keeps the changed modules, with a .meta file for each
SEED = 18
KILLED = (1, 3)  # exit codes of pytest: a test failed, or pytest itself did
TIMEOUTS = (-24, 24, 36, 152, 255)  # as mutmut counts them: the change was noticed, as tests no longer end


def exit_codes() -> dict[str, int | None]:
    """The exit code of pytest for each change by its name; None where it was not tried."""
    codes: dict[str, int | None] = {}
    for path in sorted(MUTANTS.rglob("*.meta")):
        codes |= json.loads(path.read_text())["exit_code_by_key"]
    return codes


def mutmut(*names: str) -> None:
    """Makes all changes, then runs the tests for those that `names` (patterns) name."""
    subprocess.run([Path(sys.executable).with_name("mutmut"), "run", "--max-children", "2", *names], check=False)


def module_of(name: str) -> str:
    """`gfpcli.photo.codec.x__turn__mutmut_3` is of `photo.codec`."""
    return ".".join(name.split(".")[1:3])


def main(n_wanted: int) -> int:
    """Prints a table of the sample's modules, and the changes that no test noticed."""
    if not MUTANTS.exists():
        mutmut("gfpcli.clip.segments.x_time_of__mutmut_1")
    everything = sorted(exit_codes())
    chosen = random.Random(SEED).sample(everything, min(n_wanted, len(everything)))
    mutmut(*chosen)
    codes = exit_codes()
    killed = [name for name in chosen if codes[name] in (*KILLED, *TIMEOUTS)]
    lived = sorted(set(chosen) - set(killed))
    of_module, killed_of = Counter(map(module_of, chosen)), Counter(map(module_of, killed))
    lines = [f"{module:24}{killed_of[module]:4} of {n:4}" for module, n in sorted(of_module.items())]
    lines += [f"{len(killed)} of {len(chosen)} noticed: {len(killed) / len(chosen):.0%} (of {len(everything)} changes)"]
    sys.stdout.write("\n".join([*lines, "not noticed:", *lived, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 150))
