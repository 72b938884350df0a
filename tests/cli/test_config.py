"""gfp.toml and `--config`: the names of the flags, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.cli.config import TABLES, read_table
from gfpcli.errors import InputError, UsageError
from gfpcli.options import BenchOptions, RestoreOptions, VideoOptions


def table(tmp_path: Path, text: str, kind: type = RestoreOptions, name: str = "restore") -> dict[str, object]:
    path = tmp_path / "gfp.toml"
    path.write_text(text)
    return read_table(path, kind, name)


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_values_come_as_the_options_have_them(tmp_path: Path) -> None:
    text = '[restore]\nscale = 1\ndet-threshold = 0.5\nsave = ["crops", "masks"]\ncompile = true\njson = "-"\n'
    given = table(tmp_path, text)
    assert given == {
        "scale": 1.0, "det_threshold": 0.5, "save": ("crops", "masks"), "compile": True, "json": "-",
    }  # fmt: skip
    assert type(given["scale"]) is float and RestoreOptions(**given).scale == 1  # type: ignore[arg-type]
    assert table(tmp_path, '[restore]\nsave = "crops, faces"')["save"] == ("crops", "faces")
    assert table(tmp_path, "[video]\nsmooth = 0.1\n[bench]\nrounds = 2") == {}, "tables of other commands"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[retsore]\nscale = 1", r"no command reads 'retsore': choose one of \[restore\], \[faces\], .*\[bench\]"),
        ("scale = 1", "no command reads 'scale'"),
        ("restore = 3", r"restore must be a table: write \[restore\]"),
        ("video = 3", "video must be a table"),
        ("[[restore]]\nscale = 1", "restore must be a table"),
        ("[restore]\nscael = 1", r"\[restore\] has no 'scael': choose one of model, scale"),
        ("[restore]\nsmooth = 1", r"\[restore\] has no 'smooth'"),
        ("[restore]\nscale = true", "scale must be float, not True"),
        ("[restore]\ncompile = 1", "compile must be bool, not 1"),
        ("[restore]\njson = 1", "json must be str, not 1"),
        ("[restore]\nsave = [1]", "save must be a list of words"),
        ("[restore]\nsave = 1", "save must be a list of words"),
        ("[", "not TOML"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{tmp_path}")


def test_a_command_takes_its_own_options_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no 'aligned'"):
        table(tmp_path, "[video]\naligned = true", VideoOptions, "video")
    with pytest.raises(UsageError, match="no 'engine'"):
        table(tmp_path, '[bench]\nengine = "ray"', BenchOptions, "bench")
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "none.toml", RestoreOptions, "restore")


def test_the_commands_tell_it_and_flags_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("restore = 3", "[retsore]\nscale = 1"):
        Path("gfp.toml").write_text(text)
        done = gfp("restore", "none.jpg")
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and "gfp.toml" in done.stderr, done.stderr
    Path("gfp.toml").write_text("[restore]\nscale = 9")
    assert "--scale 9.0: choose a number from 1 to 8" in gfp("restore", "none.jpg").stderr
    assert "none.jpg" in gfp("restore", "none.jpg", "--scale", 2).stderr


def test_each_table_is_a_command() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(TABLES) <= set(commands)
    assert {name for name in TABLES if any(each.name == "config" for each in commands[name].params)} == set(TABLES)
