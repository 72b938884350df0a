"""What is told while a background takes long."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gfpcli.cli import progress


def test_a_line_every_half_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = progress.Lines(is_quiet=False).tiles
    for seconds, n_done in ((0, 0), (20, 1), (20, 2), (20, 3), (20, 4), (20, 5)):
        now[0] += seconds
        watch(n_done, 5)
    assert capsys.readouterr().err.splitlines() == [
        "background: 2 of 5 tiles, about 60 s left",
        "background: 4 of 5 tiles, about 20 s left",
    ]
    watch(0, 3)
    now[0] += 1
    watch(1, 3)
    assert capsys.readouterr().err == ""
