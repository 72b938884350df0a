"""Whose sidecar a file is, and what becomes of it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gfpcli.files.atomic import PendingOutput
from gfpcli.files.jobs import Job
from gfpcli.files.storage import LOCAL
from gfpcli.photo.geometry import Placement
from gfpcli.photo.sidecars import assign_sidecars, prepare_sidecars, read_sidecars, settings_with
from tests.photo.made import made_xmp

PLACEMENT = Placement((16, 24), 6, (48, 32))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    sidecars = (tmp_path / "a.xmp", tmp_path / "a.jpg.xmp")
    for path in sidecars:
        path.write_bytes(made_xmp("", 'tiff:Orientation="6"'))
    return Job(tmp_path / "a.jpg", tmp_path / "out" / "a_r.png", sidecars=sidecars)


def test_sidecars_are_read_with_their_targets(job: Job) -> None:
    job.sidecars[0].chmod(0o640)
    (one, two), notes = read_sidecars(job)
    assert (one.target.name, two.target.name, notes) == ("a_r.xmp", "a_r.png.xmp", ())
    assert one.facts.mode == 0o640 and one.data == made_xmp("", 'tiff:Orientation="6"')
    job.sidecars[0].unlink()
    os.truncate(job.sidecars[1], 65 << 20)
    assert read_sidecars(job) == ((), (
        "a.xmp is not copied: No such file or directory", "a.jpg.xmp is not copied: is larger than any sidecar",
    ))  # fmt: skip


def test_settings_change_with_what_a_sidecar_holds(job: Job) -> None:
    (one, two), _ = read_sidecars(job)
    changed = replace(one, data=b"other")
    assert settings_with("f" * 32, ()) == "f" * 32
    made = [settings_with("f" * 32, each) for each in ((one,), (one, two), (changed,), (changed, two))]
    assert len({*made, "f" * 32}) == 5 and {len(each) for each in made} == {32}


def test_copies_are_corrected_and_what_is_lost_is_told(job: Job) -> None:
    (one, two), _ = read_sidecars(job)
    promise = replace(one, data=made_xmp("", 'GCamera:MotionPhoto="1"'))
    with ExitStack() as pending:
        made = list(prepare_sidecars((one, promise, replace(two, data=b"?")), PLACEMENT, pending, keeps_times=True))
        outputs = [each[0] for each in made if not isinstance(each, str)]
        assert all(isinstance(each, PendingOutput) for each in outputs) and len(outputs) == 2
        assert b'tiff:Orientation="1"' in outputs[0].temporary.read_bytes()
        assert LOCAL.facts(outputs[0].temporary).times_ns[1] == one.facts.times_ns[1]  # type: ignore[index]
        assert [each for each in made if isinstance(each, str)] == [
            "left out of a.xmp: motion photo", "a.jpg.xmp is not copied: its XMP has no content",
        ]  # fmt: skip
    assert not any(each.temporary.exists() for each in outputs)


def test_a_shared_sidecar_is_the_raw_s_else_the_first_photo_s(job: Job, tmp_path: Path) -> None:
    other = Job(tmp_path / "a.nef", tmp_path / "out" / "a.tif", sidecars=job.sidecars[:1])
    first, second = assign_sidecars([job, other], set())
    assert (first, second.sidecars) == (job, ()) and second.notes == ("a.xmp is taken for the sidecar of a.jpg",)
    first, second = assign_sidecars([job, other], {other.source})
    assert second == other and first.sidecars == job.sidecars[1:]
    plain = [Job(tmp_path / "b.jpg", tmp_path / "out" / "b.jpg")]
    assert assign_sidecars(plain, set()) == plain


def test_an_input_is_never_a_copy_s_target(job: Job, tmp_path: Path) -> None:
    os.link(job.sidecars[0], tmp_path / "b.xmp")
    for target in ("a.png", "b.png"):
        (beside,) = assign_sidecars([replace(job, target=tmp_path / target)], set())
        assert beside.sidecars == job.sidecars[1:]
        assert beside.notes == ("a.xmp is left as it is: its copy would replace an input",)
