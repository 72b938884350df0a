"""A run over photos without a command line: what its listener hears, and how engines are exchanged."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import gfpcli.photo.batch
from gfpcli.errors import OutputError
from gfpcli.files.jobs import Job
from gfpcli.files.ledger import LEDGER, Ledger
from gfpcli.options import RestoreOptions
from gfpcli.photo.batch import (
    Emit,
    FinishedPhoto,
    PendingPhoto,
    PhotoRun,
    PhotoTask,
    plan_photos,
    restore_photos,
)
from gfpcli.photo.codec import decode_photo
from gfpcli.photo.report import pictures_for
from gfpcli.types import Face, FaceOutcome, Failed, Listener, Outcome, Restored
from gfpcli.weights.choose import Parts
from tests.pipeline.test_restorer import Model, restorer

Make = Callable[[int, int], NDArray[np.uint8]]
OPTIONS = RestoreOptions(model="compact", detector="builtin", mask="soft", scale=1, offline=True)


@pytest.fixture
def photos(tmp_path: Path, smooth_image: Make) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "in" / name), smooth_image(120, 240))
    (tmp_path / "in" / "c.png").write_text("not an image")
    return tmp_path / "in"


def listening(heard: list[object]) -> Listener:
    return Listener(begin=lambda n_inputs: heard.append(n_inputs), outcome=heard.append)


def test_a_run_tells_how_many_inputs_it_has_and_the_outcome_of_each(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = replace(restorer(Model()), detector=lambda images: [()] * len(images))
    monkeypatch.setattr(gfpcli.photo.batch, "load_restorer", lambda *_, **__: nobody)
    heard: list[object] = []
    plan = plan_photos([str(photos)], tmp_path / "out", OPTIONS)
    restore_photos(plan, OPTIONS, listening(heard))
    n_inputs, *outcomes = heard
    assert n_inputs == 3 and all(isinstance(each, Outcome) for each in outcomes)
    statuses = {Path(each.source).name: each.status for each in outcomes if isinstance(each, Outcome)}
    assert statuses == {"a.png": "no_face", "b.png": "no_face", "c.png": "failed"}


def test_another_engine_takes_the_place_of_this_machine_s(photos: Path, tmp_path: Path) -> None:
    def engine(run: PhotoRun, jobs: list[Job], parts: Parts, listener: Listener, emit: Emit) -> None:
        for job in jobs:
            emit(run.failed(job, f"{job.source.name}: no"))

    for is_fail_fast, n_told in ((False, 3), (True, 1)):
        heard: list[object] = []
        options = replace(OPTIONS, fail_fast=is_fail_fast)
        plan = plan_photos([str(photos)], tmp_path / "out", options)
        restore_photos(plan, options, listening(heard), engine=engine)
        assert len(heard) == 1 + n_told
    assert not (tmp_path / "out" / LEDGER).exists()


def result_of(run: PhotoRun, job: Job) -> tuple[PhotoTask, Restored | Failed]:
    """A photo with two faces, of which one failed."""
    photo = decode_photo(job.source.read_bytes(), str(job.source), 0)
    frame = photo.frame
    face = Face(np.array([10.123, 10, 60, 60]), np.full((5, 2), 30.456), 0.98765)
    done = Restored(
        frame, frame.image, 1.0, (face, face), (), (), (), (FaceOutcome("restored"), FaceOutcome("failed", "why")),
        timings={"network": 0.25, "total": 1.23456},
    )  # fmt: skip
    return PhotoTask(job, "digest", photo), done


def test_an_outcome_keeps_numbers_only(photos: Path, tmp_path: Path) -> None:
    """What waits to be told must not hold pictures: there may be many."""
    run = PhotoRun(OPTIONS, tmp_path / "out", Ledger(tmp_path / "out"), "settings", "compact")
    job = Job(photos / "a.png", tmp_path / "out" / "a.png")
    pending = run.encode(result_of(run, job))
    assert isinstance(pending, PendingPhoto) and len(pickle.dumps(pending)) < 4096
    outcome = run.commit(pending).outcome
    assert (outcome.status, outcome.error, outcome.seconds) == (
        "restored", f"{job.source}: 1 of 2 faces failed and were left alone: why", 1.235,
    )  # fmt: skip
    restored, failed = outcome.faces
    assert (restored.box, restored.score, restored.seconds, restored.error) == ((10.12, 10, 60, 60), 0.9877, 0.25, None)
    assert restored.landmarks == ((30.46, 30.46),) * 5 and (failed.seconds, failed.error) == (None, "why")
    assert run.ledger.state_of(job.target, "digest", "settings") == "open", "the next run tries the failed face again"


def test_an_output_that_gets_no_name_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, save=("compare",))
    out = tmp_path / "out"
    run = PhotoRun(options, out, Ledger(out), "settings", "compact")
    job = Job(photos / "a.png", out / "a.png")

    def fail(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(gfpcli.photo.batch, "encode_photo", fail)
        failed = run.encode(result_of(run, job))
    assert isinstance(failed, FinishedPhoto) and failed.outcome.error == "the disk is full"
    pending = run.encode(result_of(run, job))
    with monkeypatch.context() as full:
        full.setattr(run.ledger._journal, "append", partial(fail))
        assert run.commit(pending).outcome.error == "the disk is full"
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_the_restorer_is_told_how_many_inputs_there_are_and_where_to_warn(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number decides whether compiling pays."""
    told: list[object] = []

    def load(options: RestoreOptions, parts: Parts, **rest: object) -> object:
        told.extend((options, parts.model_name, rest))
        return replace(restorer(Model()), detector=lambda images: [() for _ in images])

    monkeypatch.setattr(gfpcli.photo.batch, "load_restorer", load)
    listener = listening([])
    restore_photos(plan_photos([str(photos)], tmp_path / "out", OPTIONS), OPTIONS, listener)
    assert told == [OPTIONS, "compact", {"n_inputs": 3, "warn": listener.warn, "watch": listener.tiles}]


def test_what_became_of_the_faces_is_what_became_of_the_photo(photos: Path, tmp_path: Path) -> None:
    run = PhotoRun(OPTIONS, tmp_path / "out", Ledger(tmp_path / "out"), "settings", "compact")
    job = Job(photos / "a.png", tmp_path / "out" / "a.png")
    _, result = result_of(run, job)
    assert isinstance(result, Restored)
    restored, failed, skipped = FaceOutcome("restored"), FaceOutcome("failed", "why"), FaceOutcome("skipped")
    face = result.found[0]
    for outcomes, status in (
        ((restored,), "restored"), ((restored, failed), "restored"), ((failed, skipped), "failed"),
        ((skipped,), "no_face"), ((), "no_face"),
    ):  # fmt: skip
        found = (face,) * len(outcomes)
        outcome = run.outcome_of(job, replace(result, found=found, outcomes=outcomes, scale=2.5))
        n_failed = outcomes.count(failed)
        assert (outcome.status, len(outcome.faces), outcome.scale) == (status, len(outcomes), 2.5)
        assert (outcome.width, outcome.height, outcome.model) == (240, 120, "compact")
        told = f"{job.source}: {n_failed} of {len(outcomes)} faces failed and were left alone: why"
        assert outcome.error == (told if n_failed else None)


def test_a_photo_done_before_is_shown_with_the_faces_of_the_ledger(photos: Path, tmp_path: Path) -> None:
    run = PhotoRun(OPTIONS, tmp_path / "out", Ledger(tmp_path / "out"), "settings", "compact", draw=pictures_for(1))
    job = Job(photos / "a.png", tmp_path / "out" / "a.png")
    run.commit(run.encode(result_of(run, job)))
    skipped = run.skipped(job, job.source.read_bytes(), "done before")
    assert skipped.outcome.faces == () and len(skipped.known_faces) == 2
    assert skipped.pictures and len(skipped.pictures.faces) == 2
