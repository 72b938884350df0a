"""What `gfp export` writes does what the network does, and gfp runs it in the network's place."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from facexlib.parsing.parsenet import ParseNet
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from gfpcli.adapters.facexlib import load_maskers
from gfpcli.adapters.onnxruntime import open_onnx
from gfpcli.cli.app import app
from gfpcli.errors import CheckpointError, UsageError
from gfpcli.files.atomic import sha256_of
from gfpcli.model.checkpoint import read_state
from gfpcli.model.compact import CompactUNet, CompactUNet512
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import read_frame
from gfpcli.types import ExportFacts, Image
from gfpcli.weights import export as exporting
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS, cache_folder
from gfpcli.weights.choose import choose_parts, fingerprint
from gfpcli.weights.export import export_network
from gfpcli.weights.onnx_parts import onnx_masker
from tests.model.test_gfpgan import reference
from tests.onnx_files import same_face, striped_face, weighted_face

PORTRAIT = Path(__file__).resolve().parents[2] / "examples" / "photos" / "grace_hopper.jpg"
onnx = pytest.importorskip("onnx", reason="the extra gfpcli[onnx] is not installed")


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def saved(net: torch.nn.Module, path: Path) -> Path:
    save_file(net.state_dict(), path)
    return path


def parsenet() -> ParseNet:
    torch.manual_seed(4)
    return ParseNet(in_size=512, out_size=512, parsing_ch=19).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The built-in networks as ONNX."""
    folder = tmp_path_factory.mktemp("onnx")
    parts = {"restorer": "compact", "detector": "builtin", "background": "compact-x2", "identifier": "identity"}
    for kind, name in parts.items():
        parity = export_network(BUILTINS[name], name, kind, "fp32", folder / f"{kind}.onnx")
        assert parity.most_levels < 0.01 and parity.psnr > 100
    return {kind: folder / f"{kind}.onnx" for kind in parts}


@pytest.mark.parametrize("layout", ["clean", "paper"])
def test_official_layouts_are_the_same_as_onnx(tmp_path: Path, layout: str) -> None:
    path = saved(reference(layout, 64, 0.25, 1), tmp_path / "x.safetensors")
    assert export_network(path, "x", "restorer", "fp32", tmp_path / "x.onnx").most_levels < 0.01


def test_the_restorer_of_512_px_is_the_same_as_onnx(tmp_path: Path) -> None:
    net = CompactUNet512(CompactUNet((8, 16), 4), 8)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))  # no layer is silent
    path = saved(net, tmp_path / "x.safetensors")
    assert export_network(path, "x", "restorer", "fp32", tmp_path / "x.onnx").most_levels < 0.01


def test_parsenet_is_the_same_as_onnx(tmp_path: Path) -> None:
    path = saved(parsenet(), tmp_path / "parse.safetensors")
    assert export_network(path, "x", "mask", "fp32", tmp_path / "parse.onnx").most_levels < 0.01
    faces = [read_frame(PORTRAIT, 0).image[80:240, 190:350]]
    maskers = load_maskers(read_state(path), source="x", device=torch.device("cpu"), dtypes=("fp32",))
    by_torch = maskers["fp32 at 512"]
    by_onnx = onnx_masker(tmp_path / "parse.onnx", RestoreOptions(), n_batch=1)
    (want,), (got,) = (replace(masker, size=128)(faces) for masker in (by_torch, by_onnx))
    assert np.ptp(want) > 0.5 and np.abs(want - got).max() < 1 / 255


def test_a_large_background_network_is_the_same_as_onnx(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "weights" / "realesrgan_x4plus_fp16.safetensors"
    assert export_network(path, "x4", "background", "fp32", tmp_path / "x4.onnx").most_levels < 0.1


def test_the_file_says_what_it_is(made: dict[str, Path]) -> None:
    net = open_onnx(made["restorer"])
    licence = "CC BY-NC-SA 4.0"
    digest, layout = sha256_of(BUILTINS["compact"]), '{"kind": "compact-unet"}'
    assert net.facts == ExportFacts("restorer", "compact", digest, "ffhq_512", licence, "fp32", "17", layout)
    model = onnx.load(str(made["restorer"]))
    assert model.opset_import[0].version == 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_half_precision_is_half_as_large_and_near(tmp_path: Path, made: dict[str, Path]) -> None:
    path = BUILTINS["compact-x2"]
    assert export_network(path, "x2", "background", "fp16", tmp_path / "half.onnx").most_levels < 2
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * made["background"].stat().st_size
    image = read_frame(PORTRAIT, 0).image[80:140, 190:260]
    options = RestoreOptions(background=str(tmp_path / "half.onnx"), model="compact", detector="builtin", mask="soft")
    large = load_restorer(options, choose_parts(options, warn=print)).upsampler(image, (120, 140))
    assert np.abs(large.astype(float) - cv2.resize(image, (140, 120))).mean() < 8


def test_an_export_that_is_not_the_network_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = saved(CompactUNet((8, 16)), tmp_path / "x.safetensors"), tmp_path / "x.onnx"
    own = exporting.write_onnx

    def other(net: torch.nn.Module, *rest: object) -> None:
        own(torch.nn.Sequential(net, torch.nn.Hardtanh(-0.1, 0.1)), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "write_onnx", other)
    with pytest.raises(CheckpointError, match="not the same network: largest difference .* nothing was written"):
        export_network(path, "x", "restorer", "fp32", target)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.safetensors"]


def restored(image: Image, **asked: object) -> Image:
    options = replace(RestoreOptions(detector="builtin", mask="soft", offline=True, precision="fp32"), **asked)  # type: ignore[arg-type]
    restorer = load_restorer(options, choose_parts(options, warn=print))
    return restorer.restore(replace(read_frame(PORTRAIT, 0), image=image)).image


def test_a_photo_through_onnx_is_the_photo_through_torch(made: dict[str, Path]) -> None:
    image = read_frame(PORTRAIT, 0).image[40:300, 130:400]
    parts = {"model": made["restorer"], "detector": made["detector"], "background": made["background"],
             "identifier": made["identifier"]}  # fmt: skip
    want = restored(image, model="compact", background="compact-x2").astype(int)
    by_file = restored(image, **{flag: str(path) for flag, path in parts.items()})
    assert np.abs(want - by_file).max() <= 1
    by_runtime = restored(image, model="compact", background="compact-x2", runtime="onnx")
    assert (by_runtime == by_file).all()
    kept = sorted((cache_folder() / "onnx").glob("*.onnx"))
    assert [path.stem.rpartition("-")[0][:-17] for path in kept] == ["compact", "compact-x2", "detector", "identity"]
    before = [path.stat().st_mtime_ns for path in kept]
    restored(image, model="compact", background="compact-x2", runtime="onnx")
    assert [path.stat().st_mtime_ns for path in kept] == before  # exported once


def test_the_fingerprint_holds_the_content_of_an_onnx_file(made: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "other name.onnx"
    copy.write_bytes(made["restorer"].read_bytes())
    options = RestoreOptions(model=str(made["restorer"]), detector="builtin", offline=True)
    parts = choose_parts(options, warn=print)
    base = fingerprint(options, parts)
    assert fingerprint(options, replace(parts, model=copy)) == base
    assert fingerprint(replace(options, runtime="onnx"), parts) != base
    assert fingerprint(replace(options, fidelity=0.5), parts) != base
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert fingerprint(options, replace(parts, model=copy)) != base


def test_detail_of_a_larger_output_reaches_a_large_face(tmp_path: Path) -> None:
    """Stripes of 8 px at 1024 that a face of 256 px could not hold."""
    portrait = read_frame(PORTRAIT, 0).image[40:300, 130:400]
    large = np.asarray(cv2.resize(portrait, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC), np.uint8)
    whole = {"identity_guard": "off", "strength": "1"}  # stripes are nobody
    model = str(striped_face(tmp_path / "restoreformer.onnx"))
    out = restored(large, model=model, scale=1, template="ffhq_512", **whole)
    face = out[500:800, 450:750].astype(float)
    assert np.ptp(face, axis=1).mean() > 150  # 0.8 of the range, where the stripes are kept


def test_the_template_goes_by_the_name_or_the_flag(tmp_path: Path) -> None:
    told: list[str] = []

    def template(name: str, **asked: object) -> str:
        path = same_face(tmp_path / name)
        options = RestoreOptions(
            model=str(path), detector="builtin", mask="soft", offline=True, accept_licence=("gpen",), **asked
        )  # type: ignore[arg-type]
        return load_restorer(options, choose_parts(options, warn=told.append), warn=told.append).options.template

    assert template("GPEN-BFR-256.onnx") == "arcface_128" and template("restoreformer_plus_plus.onnx") == "ffhq_512"
    assert template("gpen_bfr_512.onnx") == "ffhq_512" and not told
    assert template("mine.onnx", template="arcface_128") == "arcface_128" and not told
    assert template("mine.onnx") == "ffhq_512"
    (line,) = told
    assert "mine.onnx: nothing says how it aligns faces" in line and "--template" in line


def test_flags_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = weighted_face(tmp_path / "restoreformer.onnx")
    options = RestoreOptions(model=str(path), detector="builtin", mask="soft", offline=True)
    load = partial(load_restorer, parts=choose_parts(options, warn=print))
    with pytest.raises(UsageError, match="--runtime torch: .*restoreformer.onnx is run by onnxruntime"):
        load(replace(options, runtime="torch"))
    told: list[str] = []
    load(replace(options, precision="bf16"), warn=told.append)
    assert len(told) == 1 and "runs in the precision that it was made in" in told[0]
    compact = replace(options, model="compact", fidelity=0.5)
    with pytest.raises(UsageError, match="--fidelity: .*compact.safetensors has no `weight` input"):
        load_restorer(compact, choose_parts(compact, warn=print))


def test_the_command_writes_a_file_and_says_how_near_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = saved(CompactUNet((8, 16)), tmp_path / "x.safetensors"), tmp_path / "x.onnx"
    done = gfp("export", "--model", path, "-o", target)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(target)
    assert re.fullmatch(
        r"restorer x.safetensors, opset 17, fp32: largest difference [\d.]+ grey levels, PSNR .*, on 5 crops\n",
        done.stderr,
    )
    for words, code, said in (
        (("--model", path, "-o", target), 1, "is there already"),
        (("--model", path, "-o", tmp_path / "x.bin"), 2, "must end in .onnx"),
        (("--model", path, "--mask", "parse", "-o", tmp_path / "y.onnx"), 2, "give one of --model"),
        (("--mask", "soft", "-o", tmp_path / "y.onnx"), 2, "--mask soft: names no weights"),
        (("--background", path, "-o", tmp_path / "y.onnx"), 1, "not a background upsampler"),
    ):
        refused = gfp("export", *words)
        assert refused.exit_code == code and said in refused.stderr and refused.stderr.count("\n") == 1
    monkeypatch.setitem(sys.modules, "onnx", None)
    without = gfp("export", "--model", path, "-o", tmp_path / "y.onnx")
    assert without.exit_code == 1 and "pip install 'gfpcli[onnx]'" in without.stderr and without.stderr.count("\n") == 1
