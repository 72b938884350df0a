"""Photos behind URLs: `memory://` in this process, and an S3 server of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import cv2
import fsspec
import numpy as np
import pytest
from botocore.config import Config

from gfpcli.files.ledger import LEDGER
from gfpcli.photo.codec import read_frame
from tests.cli.test_restore import PHOTOS, gfp, restore

FLAGS = ("--model", "compact", "--detector", "builtin", "--mask", "soft", "--offline")
OBJECTS = Path(LEDGER).stem  # the folder of a ledger behind a URL
TIMES = re.compile(r', \\?"seconds\\?": [0-9.]+')
PLACES = re.compile(r'(?<="source": ")[^"]*/')  # above the input, which lies elsewhere


def small(n: int, folder: Path) -> dict[str, bytes]:
    """Photos that differ a little, in a folder and by name."""
    face = cv2.imread(str(PHOTOS / "grace_hopper.jpg"))[50:350, 120:420]
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        picture = cv2.resize(face, (100 + i, 100 + i), interpolation=cv2.INTER_AREA)
        (folder / f"{i % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{i % 2}" / f"a #photo? {i:02d}%20.jpg"), picture)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def lines_of(text: str) -> list[str]:
    """A ledger's lines without times and the places of inputs, in an order of their own."""
    return sorted(PLACES.sub("", TIMES.sub("", line)) for line in text.split("\n") if line)


def test_a_bucket_comes_out_as_a_folder_does_and_is_done_once(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    photos = small(3, tmp_path / "in")
    for name, data in photos.items():
        store.pipe_file(f"/album/{name}", data)
    store.pipe_file("/album/notes.txt", b"no photo")
    store.pipe_file("/album/broken.png", b"no photo either")
    local = gfp("restore", tmp_path / "in", "-o", tmp_path / "out", "--save", "faces,compare", *FLAGS)
    assert local.exit_code == 0, local.stderr
    words = ("restore", "memory://album", "-o", "memory://album/done", "--save", "faces,compare", "--json", "-", *FLAGS)
    done = gfp(*words)
    assert done.exit_code == 1 and "memory://album/broken.png: not an image" in done.stderr
    made = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*g")
    }
    behind = {path.removeprefix("/album/done/"): store.cat_file(path) for path in store.find("/album/done")}
    ledger = "".join(behind.pop(name).decode() for name in sorted(behind) if name.startswith(OBJECTS))
    assert behind == made and len(made) == 9
    assert [json.loads(line)["output"] for line in ledger.split("\n") if line] == sorted(photos)
    again = gfp(*words)
    statuses = [json.loads(line)["status"] for line in again.stdout.splitlines()]
    assert sorted(statuses) == ["failed", "skipped", "skipped", "skipped"]  # results are no inputs


def test_what_is_not_ours_is_kept_and_what_a_killed_run_left_is_done_again(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    (name, data), *_ = small(1, tmp_path / "in").items()
    store.pipe_file(f"/in/{name}", data)
    target = f"/out/{name}"
    store.pipe_file(target, b"of a stranger")
    kept = restore("memory://in", "-o", "memory://out")
    assert kept.exit_code == 1 and "is not gfp's" in kept.stderr and store.cat_file(target) == b"of a stranger"
    assert restore("memory://in", "-o", "memory://out", "--force").exit_code == 0
    whole = store.cat_file(target)
    store.rm_file(target)  # killed between the ledger's line and the output's name
    store.pipe_file(f"/out/0/.gfp-{'0' * 12}-dead.part", b"half")
    assert restore("memory://in", "-o", "memory://out").exit_code == 0
    assert store.cat_file(target) == whole and not [path for path in store.find("/out") if path.endswith(".part")]
    store.pipe_file(target, b"edited")
    assert "was changed after gfp wrote it" in restore("memory://in", "-o", "memory://out").stderr


def test_a_store_that_does_not_answer_loses_nothing(
    store: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name, data), *_ = small(1, tmp_path / "in").items()
    store.pipe_file(f"/in/{name}", data)
    assert restore("memory://in", "-o", "memory://out").exit_code == 0
    store.pipe_file(f"/out/{name}", b"edited")
    own = type(store).cat_file

    def away(self: object, path: str, *given: object, **named: object) -> bytes:
        if path == f"/out/{name}":
            raise TimeoutError("no answer")
        return bytes(own(self, path, *given, **named))

    monkeypatch.setattr(type(store), "cat_file", away)
    done = restore("memory://in", "-o", "memory://out")
    assert done.exit_code == 1 and "no answer" in done.stderr
    monkeypatch.undo()
    assert store.cat_file(f"/out/{name}") == b"edited"


def test_one_object_to_one_file_and_globs(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    photos = small(3, tmp_path / "in")
    for name, data in photos.items():
        store.pipe_file(f"/in/{name}", data)
    first = sorted(photos)[0]
    assert restore(f"memory://in/{first}", "-o", tmp_path / "one.png").exit_code == 0
    assert read_frame(tmp_path / "one.png", 0).image.shape[0] == 200
    assert restore(tmp_path / "in" / first, "-o", "memory://out/one.png").exit_code == 0
    assert store.cat_file("/out/one.png") == (tmp_path / "one.png").read_bytes()
    assert restore("memory://in/1/*.jpg", "-o", "memory://glob").exit_code == 0
    assert [path for path in store.find("/glob") if OBJECTS not in path] == ["/glob/a #photo? 01%20.jpg"]
    none = restore("memory://in/nothing", "-o", tmp_path / "out")
    assert none.exit_code == 1 and none.stderr == "gfp: memory://in/nothing: no such object or folder\n"
    photo = tmp_path / "in" / first
    local_only = ([photo, "--report", "s3://a/b.html"], [photo, "--json", "s3://a/b.jsonl", "-o", tmp_path / "none"])
    for words in (["memory://in", "--dry-run"], ["x", "-o", "s4://a"], *local_only):
        assert restore(*words).exit_code == 2
    for words in (["memory://in/a.mp4"], ["a.mp4", "-o", "memory://out"]):
        refused = gfp("video", *words)
        assert refused.exit_code == 2 and "copy the clip, or mount its store" in refused.stderr


@dataclass(frozen=True)
class Store:
    """An S3 server of one test, with a bucket `photos`."""

    client: Any
    environment: dict[str, str]

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="photos", Key=key, Body=data)

    def names(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket="photos").get("Contents", [])]

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket="photos", Key=key)["Body"].read())


@pytest.fixture
def s3() -> Iterator[Store]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    login = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    url = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="me", aws_secret_access_key="secret", region_name="us-east-1",
        config=Config(retries={"max_attempts": 10}),
    )  # fmt: skip
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        client.create_bucket(Bucket="photos")
        yield Store(client, {**os.environ, **login, "AWS_ENDPOINT_URL": url})
    finally:
        client.close()
        server.kill()
        server.wait()


def test_s3_as_a_local_run_also_after_kill_9(s3: Store, tmp_path: Path) -> None:
    photos = small(24, tmp_path / "in")
    for name, data in photos.items():
        s3.put(f"in/{name}", data)
    assert gfp("restore", tmp_path / "in", "-o", tmp_path / "out", *FLAGS).exit_code == 0
    command = [sys.executable, "-m", "gfpcli", "restore", "s3://photos/in", "-o", "s3://photos/out", *FLAGS]
    killed = subprocess.Popen([*command, "-q"], env=s3.environment)
    while len([key for key in s3.names() if re.fullmatch("out/./a #photo.*", key)]) < 6 and killed.poll() is None:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    n_before = len([key for key in s3.names() if key.startswith("out/") and key.endswith(".jpg")])
    done = subprocess.run([*command, "--json", "-"], env=s3.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
    assert 6 <= n_before < 24 and statuses.count("skipped") >= n_before - 1 and len(statuses) == 24
    found = {key.removeprefix("out/"): s3.get(key) for key in s3.names() if key.startswith("out/")}
    objects = "".join(found.pop(name).decode() for name in sorted(found) if name.startswith(OBJECTS))
    assert found == {name: (tmp_path / "out" / name).read_bytes() for name in photos}
    assert sorted(set(lines_of(objects))) == lines_of((tmp_path / "out" / LEDGER).read_text())


def test_s3_by_the_workers_of_a_cluster(s3: Store, one_thread: None, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra gfpcli[ray] is not installed")
    photos = small(4, tmp_path / "in")
    for name, data in photos.items():
        s3.put(f"in/{name}", data)
    assert gfp("restore", tmp_path / "in", "-o", tmp_path / "out", *FLAGS).exit_code == 0
    words = ["restore", "s3://photos/in", "-o", "s3://photos/out", "--engine", "ray", "--workers", "1", *FLAGS]
    environment = s3.environment | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "gfpcli", *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {key.removeprefix("out/"): s3.get(key) for key in s3.names() if key.startswith("out/")}
    objects = "".join(found.pop(name).decode() for name in sorted(found) if name.startswith(OBJECTS))
    assert found == {name: (tmp_path / "out" / name).read_bytes() for name in photos}
    assert lines_of(objects) == lines_of((tmp_path / "out" / LEDGER).read_text())


@pytest.mark.parametrize(
    ("words", "change", "told"),
    [
        (["s3://nowhere/in"], {}, "no such object or folder"),
        (["s3://photos/in", "-o", "s3://nowhere/out"], {}, "nowhere"),
        (["s3://photos/in"], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    ],
)
def test_a_store_that_fails_is_told_in_a_line(
    s3: Store, tmp_path: Path, words: list[str], change: dict[str, str], told: str
) -> None:
    ok, data = cv2.imencode(".jpg", np.full((64, 64, 3), 99, np.uint8))
    s3.put("in/gray.jpg", data.tobytes())
    command = [sys.executable, "-m", "gfpcli", "restore", "-o", str(tmp_path / "out"), *words, *FLAGS, "-q"]
    done = subprocess.run(
        command, env=s3.environment | {"AWS_MAX_ATTEMPTS": "1"} | change, capture_output=True, text=True
    )
    assert done.returncode == 1 and told in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr and "secret" not in done.stderr
