"""2,000 photos in 200 folders in one run, and one batch ten times. `make load`, or `python -m tests.faults.load`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from gfpcli.files.ledger import LEDGER
from tests.faults.launcher import ROOT, Launcher, is_alive

BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft", "-q")
BROKEN_EVERY, FACELESS_EVERY = 50, 10
PAGE = os.sysconf("SC_PAGE_SIZE")


def make_photos(folder: Path, n_photos: int, n_folders: int) -> None:
    """Small portraits, each with noise of its own; some without a face, some cut short."""
    photo = cv2.imread(str(ROOT / "examples/photos/grace_hopper.jpg"))
    assert photo is not None
    small = cv2.resize(photo[40:400, 80:440], (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)
    rng = np.random.default_rng(8)
    for i in range(n_photos):
        at = folder / f"album {i % n_folders:03d}"
        at.mkdir(parents=True, exist_ok=True)
        clean = np.full_like(small, 90) if i % FACELESS_EVERY == 3 else small
        image = np.clip(clean + rng.normal(0, 6, small.shape), 0, 255).astype(np.uint8)
        data = cv2.imencode((".jpg", ".png")[i % 2], image)[1].tobytes()
        name = f"photo {i:04d}{('.jpg', '.png')[i % 2]}"
        (at / name).write_bytes(data[: len(data) // 2] if i % BROKEN_EVERY == 7 else data)


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every visible file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".gfp-")
    }


def check(out: Path, records: Path, n_photos: int) -> dict[str, int]:
    """Every photo accounted for, the ledger true; gives the counts by status."""
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    assert len({row["input"] for row in rows}) == len(rows) == n_photos
    counts = {status: sum(row["status"] == status for row in rows) for status in {row["status"] for row in rows}}
    made = hashes_of(out)
    assert set(made) == {Path(row["output"]).relative_to(out).as_posix() for row in rows if row["output"]}
    assert all(row["error"] for row in rows if row["status"] == "failed")
    entries = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    assert {entry["output"]: entry["output_sha256"] for entry in entries} == made and len(entries) == len(made)
    assert not [path for path in out.rglob(".gfp-*") if path.name != LEDGER]
    return counts


def run_load(launcher: Launcher, folder: Path, n_photos: int, n_folders: int) -> str:
    """One run over all, its memory watched; then the same again, which must do nothing."""
    photos, out, records = folder / "in", folder / "out", folder / "records.jsonl"
    make_photos(photos, n_photos, n_folders)
    memory: list[tuple[int, float]] = []  # (records written, MB)

    def watch(pid: int) -> None:
        while is_alive(pid):
            try:
                mb = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
                memory.append((records.read_bytes().count(b"\n") if records.exists() else 0, mb))
            except (OSError, IndexError):
                pass
            time.sleep(0.2)

    ended = launcher.run("restore", photos, "-o", out, "--scale", 1, "--json", records, *BUILTIN, during=watch)
    counts = check(out, records, n_photos)
    n_broken = len(range(7, n_photos, BROKEN_EVERY))
    assert ended.code == (1 if n_broken else 0) and counts.get("failed", 0) == n_broken, ended.told
    quarters = [
        max((mb for done, mb in memory if q * n_photos / 4 <= done < (q + 1) * n_photos / 4), default=0)
        for q in range(4)
    ]
    before = hashes_of(out)
    again = launcher.run("restore", photos, "-o", out, "--scale", 1, *BUILTIN)
    assert hashes_of(out) == before and again.code == ended.code
    growth = quarters[3] - quarters[0]
    assert growth < 60, quarters  # MB
    shown = ", ".join(f"{mb:.0f}" for mb in quarters)
    return (
        f"{n_photos} photos in {n_folders} folders: {counts}, {ended.seconds:.0f} s; peak {max(quarters):.0f} MB, by "
        f"quarters {shown} MB; again: nothing done in {again.seconds:.0f} s"
    )


def run_repeats(launcher: Launcher, folder: Path, n_photos: int, n_runs: int) -> str:
    """The same batch `n_runs` times: the same bytes."""
    make_photos(folder / "in", n_photos, 3)
    seen = []
    for i in range(n_runs):
        launcher.run("restore", folder / "in", "-o", folder / f"out{i}", *BUILTIN)
        seen.append(hashes_of(folder / f"out{i}"))
    assert seen[0] and all(each == seen[0] for each in seen)
    return f"{n_runs} runs of {n_photos} photos: {len(seen[0])} outputs each, byte-identical"


def main(n_photos: int = 2000, n_folders: int = 200, n_runs: int = 10) -> None:
    """Both, at full size."""
    with tempfile.TemporaryDirectory(prefix="gfp-load-") as name:
        folder = Path(name)
        with Launcher(folder / "log") as launcher:
            for line in (
                run_repeats(launcher, folder / "repeats", 20, n_runs),
                run_load(launcher, folder / "load", n_photos, n_folders),
            ):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
