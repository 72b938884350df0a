"""`gfp video --engine ray`: by a worker in this process that is done out of order, and on a cluster of two nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner, Result

import gfpcli.clip.clip
import gfpcli.clip.segments
from gfpcli.cli.app import app
from gfpcli.clip.segments import SEGMENTS, ClipWorkspace, EncodedSegment
from gfpcli.cluster import clips as clips_on_ray
from gfpcli.cluster.pool import TaskDied, WorkerNeeds
from gfpcli.cluster.worker import RestorerRecipe
from gfpcli.files.ledger import LEDGER
from tests.clips import faceless, talking, write_clip

ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft", "--preset", "ultrafast")
SHORT = (
    "from gfpcli.clip import segments as s; from fractions import Fraction as F; "
    "s.SHORTEST = F(1, 5); s.LONGEST = F(1, 4)"
)
pytestmark = pytest.mark.usefixtures("one_thread")
ALL_SEGMENTS = [*(("a.mp4", i) for i in range(4)), *(("c.mp4", i) for i in range(2))]


def video(*words: object) -> Result:
    return CliRunner().invoke(app, ["video", *map(str, words), *BUILTIN])


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gfpcli.clip.segments, "SHORTEST", Fraction(1, 5))
    monkeypatch.setattr(gfpcli.clip.segments, "LONGEST", Fraction(1, 4))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, the first with a cut and sound, the second ever blurrier, and a file between them that is none."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.mp4", [*talking(20), *faceless(3), *talking(3)], tone=True)
    (folder / "b.mp4").write_text("not a video")
    write_clip(folder / "c.mp4", [cv2.GaussianBlur(frame, (0, 0), 0.8 + i / 8) for i, frame in enumerate(talking(12))])
    return folder


@pytest.fixture(scope="module")
def local(one_thread: None, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one machine makes of them."""
    out = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gfpcli.clip.segments, "SHORTEST", Fraction(1, 5))
        patch.setattr(gfpcli.clip.segments, "LONGEST", Fraction(1, 4))
        assert video(clips, "-o", out, "--json", out / "records.jsonl").exit_code == 1
    return out


def facts_of(lines: str) -> list[dict[str, Any]]:
    """Records without places and times."""
    rows = [json.loads(line) for line in lines.splitlines()]
    kept = ("input", "status", "n_frames", "n_faces", "width", "height", "flicker", "notes", "error")
    return [{key: row[key] for key in kept} for row in rows]


def assert_same(out: Path, local: Path) -> None:
    for name in ("a.mp4", "c.mp4"):
        assert (out / name).read_bytes() == (local / name).read_bytes()
    assert (out / LEDGER).read_text() == (local / LEDGER).read_text()
    assert sorted(path.name for path in out.iterdir()) == [LEDGER, "a.mp4", "c.mp4"]


class Here:
    """A session whose workers are in this process."""

    def needs(self, options: object) -> WorkerNeeds:
        return WorkerNeeds()

    def n_fitting(self, needs: WorkerNeeds) -> int:
        return 2

    def starter(self, kind: type, needs: WorkerNeeds, *given: object) -> Callable[[], Any]:
        return lambda: kind(*given)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Clip and number of each segment that a worker was given; of three at a time the last is done first."""
    handed: list[tuple[str, int]] = []

    def run(session: object, start: Callable[[], Any], tasks: Iterable[Any], **_: object) -> Iterator[tuple[Any, Any]]:
        worker, source = start(), iter(tasks)
        while group := list(islice(source, 3)):
            handed.extend((task.clip.info.path.name, task.plan.number) for task in group)
            for task in reversed(group):
                yield from ((task, result) for items in worker.work([task]) for place, result in items if place == 0)

    @contextmanager
    def session(address: str) -> Iterator[Here]:
        yield Here()

    monkeypatch.setattr(RestorerRecipe, "prepare_process", lambda self: None)  # this process is not a worker's own
    monkeypatch.setattr(clips_on_ray, "ray_session", session)
    monkeypatch.setattr(clips_on_ray, "run_on_actors", run)
    return handed


def test_out_of_order_they_make_what_one_machine_makes(
    given: list[tuple[str, int]], clips: Path, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = video(clips, "-o", out, "--engine", "ray", "--json", "-")
    assert done.exit_code == 1 and [line.split()[0] for line in done.stderr.splitlines()] == [
        "restored", "failed", "restored",
    ], done.stderr  # fmt: skip
    assert facts_of(done.stdout) == facts_of((local / "records.jsonl").read_text())
    assert_same(out, local)
    assert given == ALL_SEGMENTS
    again = video(clips, "-o", out, "--engine", "ray")
    assert again.stderr.count("skipped") == 2 and len(given) == 6


def test_what_was_done_before_its_turn_is_not_done_again(
    given: list[tuple[str, int]], clips: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, true = tmp_path / "out", ClipWorkspace.receive

    def stop(self: ClipWorkspace, segment: EncodedSegment, number: int) -> EncodedSegment:
        if number == 0:  # 2 and 1 were done before it
            raise KeyboardInterrupt
        return true(self, segment, number)

    with monkeypatch.context() as stopped:
        stopped.setattr(ClipWorkspace, "receive", stop)
        done = video(clips, "-o", out, "--engine", "ray")
    assert (done.exit_code, done.stderr.count("\n")) == (130, 1), done.stderr
    (out / ".a.mp4.gfp" / "000000-of-a-dead-worker.mp4").write_bytes(b"half")
    given.clear()
    assert video(clips, "-o", out, "--engine", "ray").exit_code == 1
    assert given == [each for each in ALL_SEGMENTS if each not in (("a.mp4", 1), ("a.mp4", 2))]
    assert_same(out, local)


def test_one_machine_goes_on_where_a_cluster_was_stopped(
    given: list[tuple[str, int]], clips: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, true = tmp_path / "out", ClipWorkspace.receive

    def stop(self: ClipWorkspace, segment: EncodedSegment, number: int) -> EncodedSegment:
        if number == 1:  # 2 was done before it, 0 was not
            raise KeyboardInterrupt
        return true(self, segment, number)

    with monkeypatch.context() as stopped:
        stopped.setattr(ClipWorkspace, "receive", stop)
        assert video(clips, "-o", out, "--engine", "ray").exit_code == 130
    assert (out / ".a.mp4.gfp" / "000002.mp4").exists()
    assert video(clips, "-o", out).exit_code == 1
    assert_same(out, local)


def test_a_clip_that_fails_on_the_way_fails_alone(
    given: list[tuple[str, int]], clips: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One segment whose workers die, one whose worker does not see the source, one that is not where it was written."""
    true = clips_on_ray.restored_by

    def broken(restorer: Any, task: clips_on_ray.SegmentTask) -> EncodedSegment | str | TaskDied:
        name, number = task.clip.info.path.name, task.plan.number
        if (name, number) == ("1.mp4", 1):
            return TaskDied("the worker died each of the 3 times it was tried")
        if (name, number) == ("2.mp4", 0):
            source.rename(folder / "hidden")
        segment = true(restorer, task)
        if (name, number) == ("2.mp4", 0):
            (folder / "hidden").rename(source)
        if (name, number) == ("3.mp4", 1):
            (task.folder / segment.file).unlink()  # type: ignore[union-attr]
        return segment

    monkeypatch.setattr(clips_on_ray, "restored_by", broken)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(1, 5):
        (folder / f"{i}.mp4").write_bytes((clips / "c.mp4").read_bytes())
    source = folder / "2.mp4"
    done = video(folder, "-o", out, "--engine", "ray")
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and len(lines) == 4, done.stderr
    assert lines[0] == f"failed    {folder}/1.mp4: the worker died each of the 3 times it was tried"
    assert lines[1].startswith(f"failed    {source}: no such file on ")
    assert "OUT must be on storage that all machines share" in lines[2] and lines[3].startswith("restored ")
    assert (out / "4.mp4").read_bytes() == (local / "c.mp4").read_bytes()
    monkeypatch.setattr(clips_on_ray, "restored_by", true)
    given.clear()
    assert video(folder, "-o", out, "--engine", "ray").exit_code == 0
    assert given == [("1.mp4", 1), ("2.mp4", 0), ("2.mp4", 1), ("3.mp4", 1)]  # what was made is kept
    assert all((out / f"{i}.mp4").read_bytes() == (local / "c.mp4").read_bytes() for i in range(1, 5))


def test_the_first_failure_ends_a_run_that_is_to_fail_fast(
    given: list[tuple[str, int]], clips: Path, tmp_path: Path
) -> None:
    done = video(clips / "b.mp4", clips / "c.mp4", "-o", tmp_path / "out", "--engine", "ray", "--fail-fast")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_preview_needs_no_cluster(given: list[tuple[str, int]], clips: Path, tmp_path: Path) -> None:
    done = video(clips / "c.mp4", "-o", tmp_path / "c.mp4", "--engine", "ray", "--preview", 2)
    assert done.exit_code == 0 and (tmp_path / "c.preview.png").exists() and not given


def on_cluster(cluster: Any, clips: Path, out: Path) -> tuple[object, ...]:
    return clips, "-o", out, "--engine", "ray", "--address", cluster.address


def test_a_node_is_lost_and_the_other_makes_what_one_machine_makes(
    cluster: Any, clips: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node goes as soon as both are in the middle of a segment, with one done, or after three."""
    nodes, true, received = list(cluster.worker_nodes), ClipWorkspace.receive, []

    def lose(self: ClipWorkspace, segment: EncodedSegment, number: int) -> EncodedSegment:
        received.append(number)
        if nodes and (len(list((tmp_path / "out").glob("*/*-*.mp4"))) > 2 or len(received) == 3):
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        return true(self, segment, number)

    monkeypatch.setattr(ClipWorkspace, "receive", lose)
    try:
        done = video(*on_cluster(cluster, clips, tmp_path / "out"), "--json", "-")
    finally:
        cluster.add_node(num_cpus=1)
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 3, done.stderr
    assert facts_of(done.stdout) == facts_of((local / "records.jsonl").read_text())
    assert not nodes and len(received) == len(ALL_SEGMENTS)
    assert_same(tmp_path / "out", local)


def test_the_driver_is_killed_and_the_same_command_goes_on(
    cluster: Any, clips: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["video", *map(str, on_cluster(cluster, clips, out)), *BUILTIN]
    code = f"import sys; {SHORT}; from gfpcli.cli.app import main; sys.argv = ['gfp', *{words!r}]; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    parts = out / ".a.mp4.gfp" / SEGMENTS
    deadline = time.monotonic() + 120
    while not (parts.exists() and len(parts.read_text().splitlines()) > 2) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    n_done = len(parts.read_text().splitlines()) - 1
    assert process.returncode == -signal.SIGKILL and n_done >= 2 and "a.mp4" not in told
    received: list[int] = []
    true = ClipWorkspace.receive
    monkeypatch.setattr(ClipWorkspace, "receive", lambda *given: received.append(given[2]) or true(*given))
    done = video(*on_cluster(cluster, clips, out))
    assert done.exit_code == 1 and len(received) == len(ALL_SEGMENTS) - n_done, done.stderr
    assert_same(out, local)
