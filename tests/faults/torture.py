"""kill -9 at random moments, and what is there after the same command. `make torture`.

For photos, a video, a training and a download: outputs complete and as of a run that nobody disturbed, nothing left
over, nothing that was finished made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGINT, SIGKILL

from safetensors.torch import load_file

from gfpcli.clip.segments import SEGMENTS
from gfpcli.files.ledger import LEDGER
from gfpcli.weights.cache import BLOCK
from tests.clips import faceless, pixels_of, sound_of, talking, times_of, write_clip
from tests.faults.launcher import Launcher, is_alive
from tests.faults.load import BUILTIN, hashes_of, make_photos

TRAIN = (
    "--preset", "tiny", "--set", "size=32", "--set", "held_out=0", "--set", "n_valid=2", "--batch-size", 2,
    "--iterations", 30, "--set", "save_every=3", "--set", "validate_every=10", "-q",
)  # fmt: skip
SHARD = 1 << 16  # bytes that the slow server sends at once
TAG = '"one"'  # of what it sends
Kill = Callable[[random.Random, int], str]


def left_over(folder: Path) -> list[str]:
    """Hidden files that a run should have taken away."""
    known = (LEDGER,)
    return [str(path) for path in folder.rglob(".*") if path.name not in known]


def kill_at_work(launcher: Launcher, draw: random.Random, seconds: float, out: Path, *words: object) -> None:
    """Kills a command at a random moment; where it had ended before, it begins anew."""
    while launcher.kill_after(draw.uniform(0.02, 0.9) * seconds, *words).code != -SIGKILL:
        shutil.rmtree(out) if out.is_dir() else out.unlink()


def kill_photos(launcher: Launcher, folder: Path, draw: random.Random, n_kills: int, n_photos: int = 12) -> None:
    """Outputs that were whole stay as they are, byte by byte."""
    photos, folder = folder / "photos", folder / "restored"
    make_photos(photos, n_photos, 3)
    words = ("--scale", 1, "--save", "crops", *BUILTIN)
    whole = launcher.run("restore", photos, "-o", folder / "whole", *words)
    true = hashes_of(folder / "whole")
    for i in range(n_kills):
        out = folder / f"killed{i}"
        kill_at_work(launcher, draw, whole.seconds, out, "restore", photos, "-o", out, *words)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if is_output(path, out)}
        assert all(hashes_of(out)[path.relative_to(out).as_posix()] in true.values() for path in before)
        again = launcher.run("restore", photos, "-o", out, *words)
        assert again.code == whole.code, again.told
        assert hashes_of(out) == true and not left_over(out), (i, left_over(out))
        redone = [path for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
        assert not redone, redone


def is_output(path: Path, out: Path) -> bool:
    return path.is_file() and not path.name.startswith(".gfp-") and path.relative_to(out).parts[0] != "crops"


def kill_video(launcher: Launcher, folder: Path, draw: random.Random, n_kills: int, n_frames: int = 40) -> None:
    """A clip of four shots, so that there are segments to keep."""
    folder.mkdir(parents=True, exist_ok=True)
    shots = [*talking(n_frames // 4), *faceless(n_frames // 4)]
    source = write_clip(folder / "in.mp4", shots * 2, ticks=[3000 * i for i in range(2 * len(shots))], tone=True)
    words = (*BUILTIN, "--preset", "ultrafast")
    whole = launcher.run("video", source, "-o", folder / "whole.mp4", *words)
    assert whole.code == 0, whole.told
    true = facts_of(folder / "whole.mp4")
    for i in range(n_kills):
        out = folder / f"killed{i}.mp4"
        parts = folder / f".{out.name}.gfp" / SEGMENTS
        kill_at_work(launcher, draw, whole.seconds, out, "video", source, "-o", out, *words)
        kept = parts.read_text().splitlines()[1:] if parts.exists() else []
        seen: list[str] = []

        def look(pid: int, parts: Path = parts, seen: list[str] = seen) -> None:
            while not seen and parts.exists():
                seen[:] = parts.read_text().splitlines()[1:]
                time.sleep(0.005)

        again = launcher.run("video", source, "-o", out, *words, during=look)
        assert again.code == 0, again.told
        assert facts_of(out) == true and (not seen or seen[: len(kept)] == kept)
        assert not left_over(folder), left_over(folder)


def facts_of(clip: Path) -> tuple[object, ...]:
    return pixels_of(clip), times_of(clip), sound_of(clip)


def kill_training(launcher: Launcher, folder: Path, draw: random.Random, n_kills: int) -> None:
    """The same losses, at every iteration, as of a run that nobody disturbed."""
    photos = folder / "photos"
    make_photos(photos, 6, 1)
    whole = launcher.run("train", "--data", photos, "-o", folder / "whole", *TRAIN)
    assert whole.code == 0, whole.told
    true = losses_of(folder / "whole")
    weights = load_file(folder / "whole" / "last.safetensors")
    for i in range(n_kills):
        run = folder / f"killed{i}"
        words = ("train", "--data", photos, "-o", run, *TRAIN)
        kill_at_work(launcher, draw, whole.seconds, run, *words)
        again = launcher.run(*words)
        assert again.code == 0, again.told
        assert losses_of(run) == true and not left_over(run), (i, left_over(run))
        for name, tensor in load_file(run / "last.safetensors").items():
            assert tensor.equal(weights[name]), name


def losses_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@contextmanager
def slow_mirror(body: bytes, seconds: float) -> Iterator[tuple[str, list[int]]]:
    """A server on this machine that takes so long for `body`; gives its address and where each answer began."""
    begun: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range") if self.headers.get("If-Range") == TAG else None
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            begun.append(start)
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", TAG)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            try:
                for at in range(start, len(body), SHARD):
                    self.wfile.write(body[at : at + SHARD])
                    time.sleep(seconds * SHARD / len(body))
            except OSError:
                pass  # killed

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", begun
        server.shutdown()
        thread.join()


def kill_downloads(folder: Path, draw: random.Random, n_kills: int, seconds: float = 6.0) -> None:
    """Weights without a published hash, so that any bytes will do; every kill goes on with the same download."""
    body = random.Random(5).randbytes(40 * BLOCK)
    folder.mkdir(parents=True, exist_ok=True)
    pull = ("models", "pull", "gfpgan-1.2")
    with (
        slow_mirror(body, seconds) as (url, begun),
        Launcher(folder / "log", GFP_HOME=str(folder / "home"), GFP_MIRROR=url) as launcher,
    ):
        for _ in range(n_kills):
            assert launcher.kill_after(draw.uniform(0.1, 0.8) * seconds / n_kills, *pull).code == -SIGKILL
        ended = launcher.run(*pull)
        assert ended.code == 0, ended.told
    (file,) = [path for path in (folder / "home").iterdir() if path.suffix == ".pth"]
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(body).digest()
    assert begun == sorted(begun) and begun[-1] > 0, begun  # nothing that had come is fetched again
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, "recorded.json"])


def interrupt_photos(launcher: Launcher, folder: Path) -> float:
    """Ctrl-C once: told what is done, exit 130, the same command goes on. Gives the seconds of the processor."""
    photos, out = folder / "photos", folder / "out"
    make_photos(photos, 60, 3)
    used: list[float] = []

    def interrupt(pid: int) -> None:
        while not list(out.rglob("photo*")):
            time.sleep(0.01)
        used.append(processor_seconds(pid))
        os.kill(pid, SIGINT)
        while is_alive(pid):
            used.append(processor_seconds(pid))
            time.sleep(0.01)

    words = ("restore", photos, "-o", out, "--scale", 1, *BUILTIN)
    ended = launcher.run(*words, during=interrupt)
    assert ended.code == 130 and "Traceback" not in ended.told, ended.told
    assert "restored" in ended.told and "the same command goes on" in ended.told and not left_over(out)
    n_done = len(hashes_of(out))
    told = [int(count) for count in re.findall(r"(\d+) (?:restored|no face)", ended.told)]
    assert sum(told) == n_done, (n_done, ended.told)  # all that is there is told
    assert 0 < n_done < 58 and launcher.run(*words).code == 1 and len(hashes_of(out)) == 58  # two are broken
    return max(used) - used[0]


def watch_and_interrupt(launcher: Launcher, folder: Path) -> None:
    """Ctrl-C while a folder is watched and a photo is copied slowly: exit 130, no part of it is taken; then all is."""
    inbox, out = folder / "in", folder / "out"
    make_photos(inbox, 2, 1)
    words = ("watch", inbox, "-o", out, "--settle", 0.3, "--scale", 1, *BUILTIN)
    whole = next(inbox.rglob("*.png")).read_bytes()

    def interrupt(pid: int) -> None:
        while len(hashes_of(out)) < 2:
            time.sleep(0.01)
        with (inbox / "late.png").open("wb") as copy:
            copy.write(whole[: len(whole) // 2])
            copy.flush()
            time.sleep(1.5)
            os.kill(pid, SIGINT)

    ended = launcher.run(*words, during=interrupt)
    assert ended.code == 130 and "Traceback" not in ended.told and "the same command goes on" in ended.told, ended.told
    assert "failed" not in ended.told and len(hashes_of(out)) == 2 and not left_over(out), ended.told
    (inbox / "late.png").write_bytes(whole)

    def finish(pid: int) -> None:
        while len(hashes_of(out)) < 3:
            time.sleep(0.01)
        os.kill(pid, SIGINT)

    again = launcher.run(*words, during=finish)
    assert again.code == 130 and "1 restored" in again.told and "2 skipped" in again.told, again.told


def processor_seconds(pid: int) -> float:
    """Of all its threads so far; 0 where it is gone."""
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main(seed: int = 1) -> None:
    """26 kills, and one Ctrl-C."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="gfp-torture-") as name:
        folder = Path(name)
        with Launcher(folder / "log", GFP_HOME=str(folder / "none")) as launcher:
            seconds = interrupt_photos(launcher, folder / "interrupt")
            tell(f"Ctrl-C: exit 130 after {seconds:.1f} s of the processor, the same command did the rest")
            kill_photos(launcher, folder / "photos", draw, 10)
            tell("photos: 10 kills while it worked; 0 lost")
            kill_video(launcher, folder / "video", draw, 6)
            tell("video: 6 kills while it worked; 0 lost")
            kill_training(launcher, folder / "train", draw, 5)
            tell("training: 5 kills while it worked; 0 lost")
        kill_downloads(folder / "download", draw, 5)
        tell("downloads: 5 kills while it worked; 0 lost")


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
