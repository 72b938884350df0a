"""The promises on clips, on every clip of the shared data. `make clips` prints a table, one row for each clip.

Times of frames and packets of sound as in the source; killed in the middle (SIGKILL), the same command gives the frames
of a run that nobody disturbed; and a clip four times as long needs no more memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clips import ffmpeg, pixels_of, sound_of, times_of
from tests.faults.load import BUILTIN

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "video"
FAST = {".webm": "8"}  # the fastest preset where it is not h264's "ultrafast"


def run(source: Path, target: Path, *, kill_after_s: float | None = None) -> tuple[int, float, float]:
    """Exit code, seconds and peak memory (MB) of `gfp video`, killed after some seconds where asked."""
    command = [sys.executable, "-m", "gfpcli", "video", source, "-o", target, "-q", *BUILTIN]
    command += ["--preset", FAST.get(target.suffix, "ultrafast")]
    began = time.monotonic()
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL) as process:
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(process.pid, signal.SIGKILL)  # `send_signal` would take the status of one that had ended
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - began, used.ru_maxrss / 1024


def row_of(source: Path, folder: Path) -> str:
    """What is true of one clip."""
    whole, killed = folder / f"whole-{source.name}", folder / f"killed-{source.name}"
    code, seconds, _ = run(source, whole)
    if code:
        return f"| {source.name} | refused | | |"
    starts = [times_of(path)[:-1] for path in (source, whole)]
    apart = max((abs(one - other) for one, other in zip(*starts, strict=False)), default=0)
    is_whole = len(starts[0]) == len(starts[1])
    times = f"{len(starts[1])} of {len(starts[0])} frames, {1000 * float(apart):.1f} ms" if is_whole else "not all"
    hashes = [[[digest for digest, _ in each] for each in sound_of(path)] for path in (source, whole)]
    sound = "the same packets" if hashes[0] == hashes[1] else "others"
    cut, _, _ = run(source, killed, kill_after_s=0.6 * seconds)
    again, _, _ = run(source, killed)
    is_same = again == 0 and pixels_of(killed) == pixels_of(whole) and times_of(killed) == times_of(whole)
    rest = [path.name for path in folder.glob(".killed-*")]
    told = "the same frames" if is_same and not rest else "differs"
    return f"| {source.name} | {times} | {sound} | {told}{'' if cut else ' (it had ended)'} |"


def memory_row(source: Path, folder: Path) -> str:
    """Peak memory of a clip and of four of it one after the other."""
    long = folder / f"long{source.suffix}"
    ffmpeg("-stream_loop", 3, "-i", source, "-c", "copy", long)
    peaks = [run(path, folder / f"{path.stem}-memory{path.suffix}")[2] for path in (source, long)]
    return f"peak memory of {source.name}: {peaks[0]:.0f} MB; four times as long: {peaks[1]:.0f} MB"


def main() -> None:
    """Prints the table."""
    clips = [path for path in sorted(CLIPS.rglob("*")) if path.suffix in (".mp4", ".mkv", ".webm")]
    write = sys.stdout.write
    write("| clip | frames and largest error of their times | sound | killed at 60 % and run again |\n")
    write("|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as name:
        for clip in clips:
            write(row_of(clip, Path(name)) + "\n")
            sys.stdout.flush()
        write(memory_row(CLIPS / "scene_cut_noface_audio_640x360.mp4", Path(name)) + "\n")


if __name__ == "__main__":
    main()
