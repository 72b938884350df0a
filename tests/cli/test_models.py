"""`gfp models` and `gfp doctor`."""

from __future__ import annotations

from pathlib import Path

import torch
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.model.checkpoint import read_state
from gfpcli.model.compact import CompactUNet
from gfpcli.weights.cache import WEIGHTS, cache_folder


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_list_names_every_weight_and_its_licence() -> None:
    done = gfp("models", "list")
    assert done.exit_code == 0
    assert all(name in done.stdout for name in (*WEIGHTS, "compact", "compact-x2 (background)"))
    assert "CC BY-NC-SA 4.0" in done.stdout and "BSD-3-Clause" in done.stdout


def test_verify_names_a_file_that_is_not_what_it_should_be() -> None:
    assert gfp("models", "verify").exit_code == 0
    cache_folder().mkdir(exist_ok=True)
    (cache_folder() / "GFPGANv1.4.pth").write_bytes(b"other")
    done = gfp("models", "verify")
    assert done.exit_code == 1 and "gfpgan-1.4: WRONG" in done.stdout
    assert gfp("models", "path", "gfpgan-1.4").stdout.strip().endswith("GFPGANv1.4.pth")
    doctor = gfp("doctor")
    assert doctor.exit_code == 1 and "wrong hash: gfpgan-1.4" in doctor.stdout


def test_path_and_pull_tell_what_is_missing() -> None:
    assert gfp("models", "path").stdout.strip() == str(cache_folder())
    assert gfp("models", "path", "compact").stdout.strip().endswith("compact.safetensors")
    missing = gfp("models", "path", "parsenet")
    assert missing.exit_code == 1 and "gfp models pull parsenet" in missing.stderr
    offline = gfp("models", "pull", "parsenet", "--offline")
    assert offline.exit_code == 1 and offline.stderr.count("\n") == 1
    assert "choose one of" in gfp("models", "pull", "nonsense").stderr


def test_pull_without_a_name_shows_sizes_and_licences_and_takes_nothing() -> None:
    done = gfp("models", "pull")
    assert done.exit_code == 0 and all(name in done.stdout for name in WEIGHTS) and "built in" not in done.stdout
    assert "348.6 MB" in done.stdout and "BSD-3-Clause" in done.stdout
    assert "nothing was downloaded" in done.stderr and not list(cache_folder().iterdir())


def test_convert_keeps_the_weights(tmp_path: Path) -> None:
    state = CompactUNet((8, 16)).state_dict()
    torch.save({"params": state}, tmp_path / "a.pth")
    done = gfp("models", "convert", tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert done.exit_code == 0, done.stderr
    read = read_state(tmp_path / "a.safetensors")
    assert all(torch.equal(read[key], state[key]) for key in state)
    again = ("models", "convert", tmp_path / "a.pth", tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").stat().st_mtime_ns
    refused = gfp(*again)
    assert refused.exit_code == 1 and "is there already" in refused.stderr
    assert (tmp_path / "a.safetensors").stat().st_mtime_ns == before
    assert gfp(*again, "--force").exit_code == 0 and (tmp_path / "a.safetensors").stat().st_mtime_ns > before
    half = gfp("models", "convert", tmp_path / "a.pth", tmp_path / "h.safetensors", "--half")
    assert half.exit_code == 0
    assert (tmp_path / "h.safetensors").stat().st_size < 0.7 * (tmp_path / "a.safetensors").stat().st_size
    assert gfp("models", "convert", tmp_path / "a.pth", tmp_path / "a.bin").exit_code == 2
    assert "none.pth" in gfp("models", "convert", tmp_path / "none.pth", tmp_path / "x.safetensors").stderr


def test_doctor_looks_at_everything() -> None:
    done = gfp("doctor")
    assert done.exit_code == 0, done.stdout
    for name in ("torch", "device", "precision", "ffmpeg", "cache", "self-test  ok"):
        assert name in done.stdout
