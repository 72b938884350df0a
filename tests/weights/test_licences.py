"""Non-commercial networks of other origins: accepted by name once, told in one line before that."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gfpcli.cli.app import app
from gfpcli.errors import UsageError, WeightsError
from gfpcli.options import RestoreOptions
from gfpcli.weights.cache import BUILTINS, licence_of
from gfpcli.weights.choose import choose_parts
from gfpcli.weights.licences import accepted_licences, check_architecture

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "photos" / "grace_hopper.jpg"


def options_for(path: Path, *accepted: str) -> RestoreOptions:
    path.write_bytes(b"weights")
    return RestoreOptions(model=str(path), detector="builtin", offline=True, accept_licence=accepted)


@pytest.mark.parametrize(("name", "licence"), [("GPEN-BFR-512.onnx", "gpen"), ("codeformer_v0.1.onnx", "codeformer")])
def test_a_non_commercial_file_is_accepted_once(tmp_path: Path, name: str, licence: str) -> None:
    choose = partial(choose_parts, warn=print)
    with pytest.raises(WeightsError, match=f"{name}: its licence is .*non-commercial.*--accept-licence {licence} once"):
        choose(options_for(tmp_path / name))
    assert choose(options_for(tmp_path / name, licence)).model == tmp_path / name
    assert accepted_licences() == {licence}
    assert choose(options_for(tmp_path / name)).model == tmp_path / name  # remembered


def test_others_are_not_asked_for(tmp_path: Path) -> None:
    for name in ("restoreformer_plus_plus.onnx", "gfpgan_1.4.onnx", "GFPGANv1.4.pth", "mine.pth"):
        choose_parts(options_for(tmp_path / name), warn=print)
    choose_parts(RestoreOptions(model="compact", offline=True), warn=print)
    with pytest.raises(UsageError, match="--accept-licence 'mine': choose one of gpen, codeformer"):
        RestoreOptions(accept_licence=("mine",))


def test_architectures_of_the_extra_package_are_accepted_too(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="S-Lab.*--accept-licence codeformer once"):
        check_architecture(tmp_path / "x.pth", (), "CodeFormer")
    with pytest.raises(WeightsError, match="that of MPRNet.*--accept-licence spandrel-extra-arches once"):
        check_architecture(tmp_path / "x.pth", ("codeformer",), "MPRNet")
    check_architecture(tmp_path / "x.pth", ("codeformer",), "CodeFormer")


def test_licences_are_told_of_files_and_in_records(tmp_path: Path) -> None:
    assert licence_of(BUILTINS["compact"]) == "CC BY-NC-SA 4.0" and licence_of(tmp_path / "x.pth").startswith("its own")
    assert "S-Lab" in licence_of(tmp_path / "codeformer.pth")
    listed = CliRunner().invoke(app, ["models", "list"]).stdout
    assert "codeformer (files of yours)" in listed and "S-Lab" in listed and "not accepted" in listed
    words = ["restore", str(PHOTO), "-o", str(tmp_path), "--offline", "--model", "compact", "--detector", "builtin"]
    done = CliRunner().invoke(app, [*words, "--scale", "1", "--json", str(tmp_path / "r.jsonl")])
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "r.jsonl").read_text())["licence"] == "CC BY-NC-SA 4.0"
