"""Names to files, files to a restorer, and the settings' fingerprint."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from facexlib.parsing.parsenet import ParseNet

from gfpcli.adapters.onnxruntime import OnnxClassNet
from gfpcli.errors import ChecksumError, DownloadError, UsageError
from gfpcli.model.checkpoint import read_state
from gfpcli.options import RestoreOptions, VideoOptions
from gfpcli.pipeline.parsing import ParseNetMasker
from gfpcli.pipeline.tensors import ArrayNet
from gfpcli.pipeline.upsample import NetUpsampler
from gfpcli.weights import autotune, cpu
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS, WEIGHTS, cache_folder
from gfpcli.weights.choose import Parts, choose_parts, fingerprint

AUTO = RestoreOptions(offline=True)


def put(name: str) -> Path:
    path = cache_folder() / WEIGHTS[name].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
    return path


def test_auto_takes_the_best_of_the_cache_and_else_the_builtin_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    parts = choose_parts(AUTO, warn=told.append)
    assert (parts.model, parts.detector, parts.mask) == (BUILTINS["compact-512"], BUILTINS["builtin"], None)
    assert len(told) == 1 and "gfp models pull gfpgan-1.4" in told[0] and "built-in detector and model" in told[0]
    paths = {name: put(name) for name in ("gfpgan-1.3", "gfpgan-1", "retinaface-r50", "parsenet")}
    with pytest.raises(ChecksumError, match="gfp models pull"):  # the right name is not enough
        choose_parts(AUTO, warn=told.append)
    monkeypatch.setattr("gfpcli.weights.cache.expected_hash", lambda weight: None)
    parts = choose_parts(AUTO, warn=told.append)
    assert len(told) == 1 and parts.model_name == "gfpgan-1.3"
    assert (parts.model, parts.detector, parts.mask) == tuple(
        paths[n] for n in ("gfpgan-1.3", "retinaface-r50", "parsenet")
    )
    assert choose_parts(replace(AUTO, aligned=True), warn=told.append).detector is None


def test_auto_without_a_network_works_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GFP_MIRROR", "http://127.0.0.1:9")
    told: list[str] = []
    assert choose_parts(RestoreOptions(), warn=told.append).model_name == "compact-512"
    assert choose_parts(VideoOptions(), warn=told.append).model_name == "compact"
    assert "the network failed" in told[0] and "\n" not in told[0]
    with pytest.raises(DownloadError):
        choose_parts(RestoreOptions(model="gfpgan-1.4"), warn=told.append)


def test_the_builtin_restorer_of_512_px_goes_by_its_name() -> None:
    told: list[str] = []
    options = RestoreOptions(model="compact-512", mask="soft", device="cpu", precision="fp32", offline=True)
    parts = choose_parts(options, warn=told.append)
    assert (parts.model, parts.detector) == (BUILTINS["compact-512"], BUILTINS["builtin"]) and not told
    restorer = load_restorer(options, parts)
    assert [model.size for model in restorer.models] == [256, 512]  # of small and of other faces
    assert parts.model.stat().st_size < 24e6


def test_in_a_clip_and_for_aligned_pictures_there_is_one_network() -> None:
    """The faces of a track have one size, whatever they grow to; an aligned picture is wanted at the network's."""
    for_photos = RestoreOptions(model="compact-512", mask="soft", offline=True)
    others = VideoOptions(model="compact-512", mask="soft", offline=True), replace(for_photos, aligned=True)
    assert [choose_parts(each, warn=print).small_model for each in others] == [None, None]
    assert choose_parts(for_photos, warn=print).small_model == BUILTINS["compact"]


@pytest.mark.parametrize("offline", [True, False])
def test_own_weights_with_the_builtin_detector_are_told_so(monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    monkeypatch.setenv("GFP_MIRROR", "http://127.0.0.1:9")
    told: list[str] = []
    own = RestoreOptions(model=str(BUILTINS["compact"]), offline=offline)
    assert choose_parts(own, warn=told.append).detector == BUILTINS["builtin"]
    (line,) = told
    why = "--offline is set" if offline else "the network failed"
    assert "built-in detector" in line and why in line and "gfp models pull retinaface-r50" in line
    assert "model and" not in line and "\n" not in line


@pytest.mark.parametrize("asked", [{"model": "compact"}, {"detector": "builtin"}, {"aligned": True}])
def test_who_asks_for_what_is_built_in_is_told_nothing_of_the_detector(asked: dict[str, Any]) -> None:
    told: list[str] = []
    choose_parts(replace(RestoreOptions(model=str(BUILTINS["compact"]), offline=True), **asked), warn=told.append)
    assert not told


@pytest.mark.parametrize("flag", ["model", "detector", "mask"])
def test_an_unknown_name_lists_the_known_ones(flag: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag} 'nonsense': choose one of auto, "):
        choose_parts(replace(RestoreOptions(model="compact", offline=True), **{flag: "nonsense"}), warn=print)


def test_several_devices_share_a_detector_and_a_ledger() -> None:
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", device="cpu,cpu", offline=True)
    parts = choose_parts(options, warn=print)
    both = load_restorer(options, parts)
    assert len(both.replicas) == 1 and both.replicas[0].model is not both.model
    assert fingerprint(options, parts) == fingerprint(replace(options, device="cpu"), parts)
    for names in ("cpu,cuda", "auto,cpu", "cpu,"):
        with pytest.raises(UsageError, match="--device"):
            RestoreOptions(device=names)


def test_the_fingerprint_changes_with_what_changes_pixels_only(tmp_path: Path) -> None:
    options = RestoreOptions(model="compact", offline=True)
    parts = choose_parts(options, warn=print)
    base = fingerprint(options, parts)
    assert fingerprint(replace(options, workers=7, force=True), parts) == base
    assert fingerprint(replace(options, strength="0.5"), parts) != base
    (tmp_path / "x.pth").write_bytes(b"other weights")
    assert fingerprint(options, replace(parts, model=tmp_path / "x.pth")) != base
    assert fingerprint(options, replace(parts, background=tmp_path / "x.pth")) != base


def test_the_fingerprint_of_the_same_settings_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen values: a change of them has every photo and clip of earlier runs made again, so it must be meant."""
    monkeypatch.setattr("gfpcli.weights.choose.__version__", "0.1.0")
    (tmp_path / "m").write_bytes(b"model")
    (tmp_path / "d").write_bytes(b"detector")
    parts = Parts(tmp_path / "m", "x", tmp_path / "d", None)
    photo = RestoreOptions(
        scale=3, strength="0.7", faces="2", save=("crops", "faces"), suffix="_r", quality="80", format="png",
        strip=True, device="cuda:1,cuda:2", precision="bf16", force=True, workers=3, engine="ray", min_face=20,
        aligned=True, tile=64, json="-", quiet=True, report="r.html",
    )  # fmt: skip
    clip = VideoOptions(
        scale=2.0, codec="h265", crf=20, preset="slow", start=1.5, end=3.0, smooth=0.8, detect_every=3, rate=30.0,
        frames_dir="f", preview=2, pix_fmt="yuv420p", suffix="_v",
    )  # fmt: skip
    assert fingerprint(RestoreOptions(), parts) == "f068826713f5ca184676433c53055fb6"
    assert fingerprint(photo, parts) == "b1ed8965aa747e87153519188aff34bb"
    assert fingerprint(VideoOptions(), parts) == "57e5a74dbb5377274063695ac010affa"
    assert fingerprint(clip, parts) == "9b5afd1bee7003cbd6b84f7a50c4b28e"


def test_backgrounds_by_name_and_in_a_precision_that_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfpcli.weights.cache.expected_hash", lambda weight: None)
    options = RestoreOptions(model="compact", offline=True, background="compact-x2", tile=77, precision="bf16")
    parts = choose_parts(options, warn=print)
    assert parts.background == BUILTINS["compact-x2"]
    put("realesr-general")
    assert choose_parts(replace(options, background="realesr-general"), warn=print).background is not None
    told: list[str] = []
    upsampler = load_restorer(options, parts, warn=told.append).upsampler
    assert isinstance(upsampler, NetUpsampler) and upsampler.tile == 77 and not told
    assert isinstance(upsampler.fast, ArrayNet) and upsampler.fast.dtype == torch.bfloat16
    state = {key: 1e4 * value for key, value in read_state(BUILTINS["compact-x2"]).items()}
    torch.save(state, tmp_path / "wild.pth")
    wild = load_restorer(options, replace(parts, background=tmp_path / "wild.pth"), warn=told.append).upsampler
    assert isinstance(wild, NetUpsampler) and wild.fast is None
    assert "does not agree with fp32" in told[0]


@pytest.mark.parametrize(
    ("precision", "runtime", "has_int8", "names"),
    [
        ("fp32", "auto", True, ["fp32"]), ("auto", "torch", True, ["fp32", "bf16"]),
        ("auto", "auto", True, ["fp32", "bf16", "onnxruntime int8"]),
        ("auto", "auto", False, ["fp32", "bf16", "onnxruntime fp32"]),
    ],
)  # fmt: skip
def test_masks_are_offered_at_half_size_and_exact_ones_in_fp32_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, precision: str, runtime: str, has_int8: bool, names: list[str]
) -> None:
    monkeypatch.setattr(cpu, "has_int8", lambda: has_int8)
    offered: list[str] = []

    def last(candidates: list[autotune.Candidate[object]], matches: Callable[..., bool], key: str) -> str:
        offered.extend(each.name for each in candidates)
        return candidates[-1].name

    monkeypatch.setattr(autotune, "fastest_matching", last)
    torch.save(ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(), tmp_path / "parse.pth")
    mask = str(tmp_path / "parse.pth")
    options = RestoreOptions(model="compact", offline=True, mask=mask, precision=precision, runtime=runtime)
    masker = load_restorer(options, choose_parts(options, warn=print)).masker
    without_versions = [re.sub(r" \(.*\)", "", name) for name in offered]
    assert without_versions == [f"{name} at {size}" for name in names for size in (512, 256)]
    assert isinstance(masker, ParseNetMasker) and masker.size == 256
    assert isinstance(masker.net, OnnxClassNet) == names[-1].startswith("onnxruntime")
    (mask,) = masker(autotune.probe_faces(256)[:1])
    assert mask.shape == (256, 256) and mask[:5].max() == 0
