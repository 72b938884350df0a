"""Where records go, and which files they never replace."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from gfpcli.cli.output import json_line, json_sink
from gfpcli.errors import GfpError, OutputError, UsageError


def write(path: Path | str, *, is_forced: bool = False) -> None:
    with ExitStack() as stack:
        sink = json_sink(str(path), stack, is_forced=is_forced)
        assert sink
        sink.write(json_line({"input": "a.png"}))


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [
        ("", True), ('{"input": "a.png"}\n', True), ('{"stage": "decode"}\n', True), ('{"restored": "a"}', True),
        ("notes\n", False), ('{"name": "a model"}\n', False), ("[1]\n", False), ("{", False), ("\xff\x00", False),
        ('{"output": "a.png", "input_sha256": ""}\n', False), ("[" * 100_000, False),
    ],
)  # fmt: skip
def test_only_records_are_replaced(tmp_path: Path, text: str, is_ours: bool) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(text, encoding="latin-1")
    if not is_ours:
        with pytest.raises(OutputError, match="holds no records of gfp"):
            write(path)
        assert path.read_text(encoding="latin-1") == text
        write(path, is_forced=True)
    write(path)
    assert json.loads(path.read_text()) == {"input": "a.png"}


def test_records_of_many_faces_are_known_by_their_beginning(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"input": "a.png", "faces": ["x" * 100] * 30_000}) + "\n")
    write(path)


def test_a_pipe_is_written_and_hidden_files_and_folders_are_not(tmp_path: Path) -> None:
    write(Path(os.devnull))
    for name in (".gfp-ledger.jsonl", ".gfp-lock"):
        with pytest.raises(UsageError, match="gfp keeps this file for itself"):
            write(tmp_path / name, is_forced=True)
    for path in (tmp_path, "s3://album/r.jsonl"):
        with pytest.raises(GfpError):
            write(path)
    assert not list(tmp_path.iterdir())
