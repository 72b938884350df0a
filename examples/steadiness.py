"""How steady restored clips are, with `--smooth 0` and as gfp does it by itself, beside their inputs.

    python examples/steadiness.py ../shared/data/video --seconds 2

Cuts the first seconds (from `--start`) out of each clip without loss, restores them with the networks of the package
and prints what `gfp eval --video` measures, as a table. Faces are drawn at full strength: it is the networks' faces
that may flicker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import imageio_ffmpeg

CLIPS = (
    "vfr_audio_512.mp4", "cuts_audio_640x360_2997.mp4", "rotated_by_metadata_540x960.mp4", "talk_audio_512_mpeg4.mp4",
    "scene_cut_noface_audio_640x360.mp4",
)  # fmt: skip
FLAGS = ["--model", "compact", "--detector", "builtin", "--mask", "soft", "--offline", "--quiet", "--crf", "10",
         "--strength", "1", "--identity-guard", "off"]  # fmt: skip
FIGURES = ("flicker", "warping", "jitter", "detail", "identity")


def excerpt(source: Path, target: Path, start: float, seconds: float) -> Path:
    """Some seconds of a clip, its frames unchanged and at their own times."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", start, "-i", source, "-t", seconds, "-an",
               "-fps_mode", "passthrough", "-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", target]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True)
    return target


def gfp(*words: object) -> str:
    """What the tool writes to its standard output."""
    command = [sys.executable, "-m", "gfpcli", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(clip: Path, folder: Path, smooth: str | None) -> dict[str, Any]:
    """The figures of a clip restored with `--smooth`, or without a word about it."""
    target = folder / f"{clip.stem}-{smooth}.mp4"
    gfp("video", clip, "-o", target, *FLAGS, *(() if smooth is None else ("--smooth", smooth)))
    return dict(json.loads(gfp("eval", "--video", target, clip, "--json", "-").splitlines()[0]))


def row(name: str, kind: str, record: dict[str, Any], side: str) -> str:
    """A line of the table."""
    cells = [f"{record[figure][side]:.3f}" if record[figure] else "" for figure in FIGURES]
    return f"| {name} | {kind} | {' | '.join(cells)} |\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="How steady restored clips are.")
    parser.add_argument("folder", type=Path, help="where the clips lie")
    parser.add_argument("--start", type=float, default=0.0, help="second from which they are measured")
    parser.add_argument("--seconds", type=float, default=3600.0, help="how much of each; without it all")
    given = parser.parse_args()
    sys.stdout.write(f"| clip | faces of | {' | '.join(FIGURES)} |\n|{'---|' * (2 + len(FIGURES))}\n")
    with tempfile.TemporaryDirectory() as made:
        for name in CLIPS:
            clip = excerpt(given.folder / name, Path(made) / name, given.start, given.seconds)
            alone, steady = measured(clip, Path(made), "0"), measured(clip, Path(made), None)
            sys.stdout.write(row(name, "the input", steady, "reference"))
            sys.stdout.write(row("", "`--smooth 0`", alone, "restored"))
            sys.stdout.write(row("", "the default", steady, "restored"))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
