"""Whether another checkout of gfpcli makes the same bytes from the same photos and clips as this one.

    python -m tests.faults.same_bytes OTHER_CHECKOUT DATA [--keep FOLDER]

DATA holds `photos/` and `video/`. Each checkout restores both with its own built-in weights, offline, on one thread and
in fp32; then every file is compared by its SHA-256. A file that only one side made, or whose bytes differ, is named,
and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
COMMON = ("--model", "compact", "--detector", "builtin", "--mask", "soft", "--precision", "fp32", "--offline", "-q")


def hashes_of(checkout: Path, data: Path, out: Path) -> dict[str, str]:
    """SHA-256 of every output by its path below `out`, which is kept: a second call goes on with it."""
    for command, folder in (("restore", "photos"), ("video", "video")):
        words = [sys.executable, "-m", "gfpcli", command, str(data / folder), "-o", str(out / folder), *COMMON]
        settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "GFP_HOME": str(out / "home")}
        done = subprocess.run(words, cwd=checkout, env={**os.environ, **settings}, capture_output=True, text=True)
        if done.returncode not in (0, 1):  # 1: the damaged files among them
            raise SystemExit(f"{checkout}: {' '.join(words)} gave {done.returncode}: {done.stderr[-500:]}")
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.relative_to(out).parts[0] != "home"
    }


def main() -> int:
    """Compares; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="folder of the outputs; what is there already is not made again")
    args = parser.parse_args()
    keep = args.keep or Path(tempfile.mkdtemp())
    other = hashes_of(args.other.resolve(), args.data.resolve(), keep / "other")
    own = hashes_of(HERE, args.data.resolve(), keep / "own")
    differing = sorted(name for name in other.keys() | own.keys() if other.get(name) != own.get(name))
    total = hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in sorted(own.items())).encode()).hexdigest()
    sys.stdout.write("".join(f"differs: {name}\n" for name in differing))
    sys.stdout.write(f"{len(own)} files, {len(differing)} of them differ; all hashes together: {total}\n")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
