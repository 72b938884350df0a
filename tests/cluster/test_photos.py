"""`gfp restore --engine ray` on a cluster of two nodes, simulated on this machine."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gfpcli import __version__
from gfpcli.cli.app import app
from gfpcli.cluster import photos as on_ray
from gfpcli.cluster import worker as ray_worker
from gfpcli.cluster.pool import TaskDied, WorkerNeeds, ray_session, run_on_actors
from gfpcli.errors import CheckpointError, DeviceError, EngineError
from gfpcli.files.atomic import PendingOutput
from gfpcli.files.jobs import Job
from gfpcli.files.ledger import LEDGER, Ledger
from gfpcli.options import RestoreOptions
from gfpcli.photo.batch import FinishedPhoto, PendingPhoto, PhotoRun
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.export import export_network
from tests.cluster.actors import Adder
from tests.faults.load import hashes_of
from tests.photo.made import made_xmp

pytest.importorskip("ray", reason="the extra gfpcli[ray] is not installed")
ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--mask", "soft", "--scale", "1")
N_PHOTOS = int(os.environ.get("GFP_RAY_PHOTOS", "32"))
PRIVATE = "album 0/000.jpg"
MIDWAY = N_PHOTOS // 3  # each worker still has photos before it


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small portraits in two folders, no two the same; one is private and has a sidecar."""
    folder = tmp_path_factory.mktemp("photos")
    portrait = cv2.imread(str(ROOT / "examples/photos/grace_hopper.jpg"))
    assert portrait is not None
    small = cv2.resize(portrait[40:400, 80:440], (96, 96), interpolation=cv2.INTER_AREA).astype(np.float32)
    rng = np.random.default_rng(9)
    for i in range(N_PHOTOS):
        path = folder / f"album {i % 2}" / f"{i:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.clip(small + rng.normal(0, 6, small.shape), 0, 255).astype(np.uint8))
    (folder / PRIVATE).chmod(0o600)
    (folder / PRIVATE).with_suffix(".xmp").write_bytes(made_xmp())
    return folder


@pytest.fixture(scope="module")
def local(one_thread: None, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one machine makes of them."""
    out = tmp_path_factory.mktemp("local")
    done = gfp("restore", photos, "-o", out, *BUILTIN)
    assert done.exit_code == 0, done.stderr
    return out


def on_cluster(cluster: Any, photos: Path, out: Path) -> tuple[str, ...]:
    return ("restore", str(photos), "-o", str(out), *BUILTIN, "--engine", "ray", "--address", cluster.address)


def lines_of(out: Path) -> list[str]:
    """The ledger's lines, sorted, without the seconds that each face took."""
    entries = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    for entry in entries:
        entry["faces"] = [{**face, "seconds": 0} for face in json.loads(entry["faces"])]
    return sorted(json.dumps(entry) for entry in entries)


def assert_same(out: Path, local: Path, n_twice: int = 0) -> None:
    """The bytes of each output, each line of the ledger once, nothing else.

    Args:
        n_twice: lines that may be there again: a killed run may have entered an output that has no name yet.
    """
    assert hashes_of(out) == hashes_of(local)
    assert {path.stat().st_mode & 0o777 for path in (out / PRIVATE, local / PRIVATE)} == {0o600}
    assert (out / PRIVATE).with_suffix(".xmp").exists()
    lines, wanted = lines_of(out), lines_of(local)
    assert set(lines) == set(wanted) and len(wanted) <= len(lines) <= len(wanted) + n_twice
    assert [path.name for path in out.rglob(".gfp-*")] == [LEDGER]


def test_two_nodes_make_what_one_machine_makes(cluster: Any, photos: Path, local: Path, tmp_path: Path) -> None:
    out, page, records = tmp_path / "out", tmp_path / "report.html", tmp_path / "records.jsonl"
    done = gfp(*on_cluster(cluster, photos, out), "--report", page, "--json", records)
    assert done.exit_code == 0, done.stderr
    assert_same(out, local)
    lines = said(done.stderr.splitlines())
    assert len(lines) == N_PHOTOS + 1 and all(line.startswith("restored  ") for line in lines[:-1]), done.stderr
    assert lines[-1] == f"{N_PHOTOS} restored; {N_PHOTOS} faces restored; results in {out}, report in {page}"
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    assert {row["input"] for row in rows} == {str(path) for path in photos.rglob("*.jpg")}
    assert page.read_text().count('alt="face after" data-src="data:image/webp') == N_PHOTOS


def test_a_plan_and_the_persons_shown_are_obeyed_there_too(
    cluster: Any, photos: Path, one_thread: None, tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for path in sorted((photos / "album 1").iterdir())[:6]:
        (album / path.name).write_bytes(path.read_bytes())
    assert gfp("faces", album, "-o", tmp_path / "plan.json", *BUILTIN[:5]).exit_code == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    first, second, third, *_ = (entry["faces"][0] for entry in plan["photos"])
    first["action"], second["strength"] = "skip", 0.4
    del third["landmarks"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for words in (("--plan", tmp_path / "plan.json"), ("--not", album / plan["photos"][3]["photo"])):
        outs = [tmp_path / f"{words[0]} {where}" for where in ("here", "there")]
        assert gfp("restore", album, "-o", outs[0], *BUILTIN, *words).exit_code == 0
        done = gfp(*on_cluster(cluster, album, outs[1]), *words)
        assert done.exit_code == 0, done.stderr
        assert hashes_of(outs[0]) == hashes_of(outs[1]) and lines_of(outs[0]) == lines_of(outs[1])
        assert ("5 faces restored" if words[0] == "--plan" else "0 faces restored") in done.stderr


def test_a_node_is_lost(cluster: Any, photos: Path, local: Path, tmp_path: Path) -> None:
    (node,) = cluster.worker_nodes

    def lose(n_done: int, pid: int) -> None:
        if n_done == MIDWAY:
            cluster.remove_node(node, allow_graceful=False)

    try:
        code, told = driven(on_cluster(cluster, photos, tmp_path / "out"), lose)
    finally:
        cluster.add_node(num_cpus=1)
    assert code == 0, told
    assert len(told) == N_PHOTOS + 1, told
    assert_same(tmp_path / "out", local)


def test_the_driver_is_killed(cluster: Any, photos: Path, local: Path, tmp_path: Path) -> None:
    words = on_cluster(cluster, photos, tmp_path / "out")
    code, told = driven(words, lambda n_done, pid: os.kill(pid, signal.SIGKILL) if n_done == MIDWAY else None)
    n_before = len(lines_of(tmp_path / "out"))
    assert code == -signal.SIGKILL and len(told) <= n_before < N_PHOTOS
    again = gfp(*words)
    assert again.exit_code == 0 and again.stderr.count("skipped ") >= n_before - 1, again.stderr
    assert_same(tmp_path / "out", local, n_twice=1)


def driven(words: Sequence[str], heard: Callable[[int, int], None]) -> tuple[int, list[str]]:
    """A run in a process of its own: its exit code and lines. `heard` is called at each line, with the process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gfpcli", *words], stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr
    told = []
    with process.stderr:
        for line in process.stderr:
            told.append(line)
            heard(len(told), process.pid)
    return process.wait(), said(told)


def said(lines: list[str]) -> list[str]:
    """All but what is told on a machine so busy that workers take a minute to start."""
    return [line for line in lines if not line.startswith("no worker is up yet")]


class DeadlyWorker(on_ray.PhotoWorker):
    """Dies at the sight of one photo."""

    def work(self, tasks: Sequence[on_ray.KnownJob]) -> Iterator[list[tuple[int | None, Any]]]:
        for items in super().work(tasks):
            if any(each.job.source.name == "deadly.jpg" for each in tasks):
                os.kill(os.getpid(), signal.SIGKILL)
            yield items


def test_a_photo_that_kills_its_worker_stops_no_other(
    cluster: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "PhotoWorker", DeadlyWorker)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, source in zip(("a", "deadly", "z"), sorted(photos.rglob("*.jpg")), strict=False):
        (folder / f"{name}.jpg").write_bytes(source.read_bytes())
    (folder / "bad.jpg").write_text("not an image")
    done = gfp(*on_cluster(cluster, folder, tmp_path / "out"), "--json", "-", "-q")
    rows = {Path(row["input"]).stem: row for row in map(json.loads, done.stdout.splitlines())}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a": "restored", "bad": "failed", "deadly": "failed", "z": "restored",
    }  # fmt: skip
    assert done.exit_code == 1
    assert rows["deadly"]["error"] == f"{folder}/deadly.jpg: the worker died each of the 3 times it was tried"
    assert sorted(line.split()[0] for line in said(done.stderr.splitlines())) == ["failed", "failed"], done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LEDGER, "a.jpg", "z.jpg"]


def test_every_task_has_its_result_once_and_deaths_take_no_others_along(cluster: Any) -> None:
    heard: list[int] = []
    with ray_session(cluster.address) as session:
        assert session.n_fitting(WorkerNeeds()) == 2
        with pytest.raises(EngineError, match="no node of the Ray cluster has the 1 CPU and 1 GPU"):
            session.n_fitting(WorkerNeeds(gpus=1))
        start = session.starter(Adder, WorkerNeeds(), 1000, frozenset({7, 250}))
        results = list(run_on_actors(session, start, iter(range(300)), n_actors=3, n_each=16, on_message=heard.append))
        assert sorted(task for task, _ in results) == list(range(300))
        assert all(result == task + 1000 for task, result in results if task not in (7, 250))
        assert all(isinstance(result, TaskDied) for task, result in results if task in (7, 250))
        assert max(heard) == 16 and heard.count(1) >= 4
        with pytest.raises(DeviceError, match="^no such number$"):
            list(run_on_actors(session, start, [1, -1], n_actors=1))
        with pytest.raises(EngineError, match="die before they have done anything"):
            deadly = session.starter(Adder, WorkerNeeds(), 0, frozenset(range(300)))
            list(run_on_actors(session, deadly, range(300), n_actors=2))


def test_tasks_are_drawn_as_workers_get_free(cluster: Any) -> None:
    drawn: list[int] = []
    with ray_session(cluster.address) as session:
        results = run_on_actors(
            session, session.starter(Adder, WorkerNeeds(), 1, frozenset()), (drawn.append(i) or i for i in range(1000)),
            n_actors=2, n_each=4,
        )  # fmt: skip
        for n_results, _ in enumerate(results, 1):
            assert len(drawn) <= n_results + 2 * 2 * 4 + 1
    assert len(drawn) == 1000


def test_without_the_extra_one_line_says_what_to_install(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = gfp("restore", photos, "-o", tmp_path / "out", *BUILTIN, "--engine", "ray")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("gfp: --engine ray needs Ray: pip install 'gfpcli[ray]'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("--engine", "spark"), 2, "choose one of local, ray"),
        (("--engine", "ray", "--gpus-per-worker", 1.5), 2, "a whole number, or less than 1"),
        (("--address", "auto"), 2, "--address is of --engine ray"),
        (("--engine", "ray", "--address", "ray://head:10001"), 1, "give auto, HOST or HOST:PORT"),
        (("--engine", "ray", "--address", "127.0.0.1:1"), 1, "no Ray cluster answers at 127.0.0.1:1"),
        (("--engine", "ray", "--address", "127.0.0.1:x"), 1, "no Ray cluster answers at 127.0.0.1:x"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(
    photos: Path, tmp_path: Path, flags: tuple[object, ...], code: int, told: str
) -> None:
    done = gfp("restore", photos, "-o", tmp_path / "out", *BUILTIN, *flags)
    assert (done.exit_code, done.stderr.count("\n")) == (code, 1), done.stderr
    assert told in done.stderr


def test_what_a_machine_does_not_see_is_told_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_worker.cv2, "setNumThreads", lambda n_threads: None)
    run = PhotoRun(RestoreOptions(), tmp_path / "out", Ledger(tmp_path / "out"), "settings", "compact")
    job = Job(tmp_path / "in.jpg", tmp_path / "out" / "in.jpg")
    recipe = ray_worker.RestorerRecipe(run.options, "compact", {}, 1, tmp_path)
    plan = on_ray.WorkerSetup(run, recipe, False)
    (items,) = on_ray.PhotoWorker(plan).work([on_ray.KnownJob(job, ())])
    ((place, made),) = items
    assert place == 0 and isinstance(made, FinishedPhoto)
    assert made.outcome.error == f"{job.source}: No such file or directory on {platform.node()}"
    output = PendingOutput(tmp_path / "out" / ".gfp-x.part", job.target)
    pending = PendingPhoto(job, FinishedPhoto(run.outcome(job, "restored")), output, (), "", "", "")
    outcome = on_ray.commit_seen(run, pending).outcome
    assert outcome.status == "failed" and "OUT must be on storage that all machines share" in str(outcome.error)
    assert not run.ledger.path.exists()
    with pytest.raises(EngineError, match=f"^on {platform.node()}: gfpcli is {__version__}, not 0.0.1"):
        replace(recipe, version="0.0.1").load(lambda line: None)


def test_a_checkpoint_must_be_the_same_on_every_machine(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"weights")
    source = ray_worker.source_of(file)
    assert ray_worker.local_file(source, RestoreOptions()) == file
    file.write_bytes(b"others")
    with pytest.raises(CheckpointError, match="every machine must have the same"):
        ray_worker.local_file(source, RestoreOptions())
    file.unlink()
    with pytest.raises(CheckpointError, match="must lie there on every machine"):
        ray_worker.local_file(source, RestoreOptions())


def test_workers_run_onnx_as_one_machine_does(cluster: Any, photos: Path, one_thread: None, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra gfpcli[onnx] is not installed")
    model = tmp_path / "small.onnx"
    export_network(BUILTINS["compact"], "compact", "restorer", "fp32", model)
    few = [photos / f"album {i % 2}" / f"{i:03d}.jpg" for i in range(3)]
    words = (*BUILTIN, "--model", model, "--format", "png")
    assert gfp("restore", *few, "-o", tmp_path / "here", *words).exit_code == 0
    ray = ("--engine", "ray", "--address", cluster.address, "--workers", "2")
    done = gfp("restore", *few, "-o", tmp_path / "there", *words, *ray)
    assert done.exit_code == 0, done.stderr
    pictures = [sorted((tmp_path / where).rglob("*.png")) for where in ("here", "there")]
    assert len(pictures[0]) == 3
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
