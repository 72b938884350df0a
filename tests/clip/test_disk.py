"""Room on the disk: told, and asked for, before the work."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from gfpcli.clip.clip import Clip, open_clip
from gfpcli.clip.disk import check_room, room_for
from gfpcli.errors import OutputError
from gfpcli.files.jobs import VideoJob
from tests.clip.reencode import FAST, reencode
from tests.clips import talking, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("disk")
    source = write_clip(folder / "in.mp4", talking(60), tone=True)
    return open_clip(VideoJob(source, folder / "out.mp4"), FAST)


def test_what_is_told_is_about_what_it_becomes(clip: Clip) -> None:
    finished, needed = room_for(clip)
    true = reencode(clip.info.path, clip.target).stat().st_size
    assert 0.6 < finished / true < 1.6 and 1.7 < needed / finished < 2


@pytest.mark.parametrize(("n_free", "is_enough"), [(10**10, True), (5 * 10**6, True), (10**5, False)])
def test_it_is_told_where_it_is_not_beyond_doubt_and_refused_where_it_lacks(
    n_free: int, is_enough: bool, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=n_free))
    folder = clip.target.parent / "new" / "folder"
    if n_free == 10**10:
        assert check_room(clip, folder) is None
    elif is_enough:
        told = str(check_room(clip, folder))
        assert " MB are needed in " in told and "5.0 MB are free" in told
    else:
        with pytest.raises(OutputError, match=r"are needed in .* are free: make room") as told:
            check_room(clip, folder)
        assert "\n" not in str(told.value)
        assert check_room(clip, folder, n_kept=10**8)
