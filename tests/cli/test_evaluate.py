"""`gfp eval` as a user runs it: pairs by name, the table, records, and what cannot be compared."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import vgg
from typer.testing import CliRunner, Result

from gfpcli.adapters._compat import prepare_basicsr
from gfpcli.cli.app import app
from gfpcli.model.arcface import ArcFaceR18
from gfpcli.weights.cache import RECORD, WEIGHTS, cache_folder

prepare_basicsr()

from basicsr.archs import inception as inception_arch  # noqa: E402  (only after the preparation above)
from basicsr.metrics import calculate_niqe, calculate_psnr  # noqa: E402

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "photos" / "grace_hopper.jpg"


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two true pictures (PNG) and blurred ones of the same names (one BMP, one in a folder)."""
    photo = cv2.imread(str(PHOTO))
    assert photo is not None
    restored, true = tmp_path / "restored", tmp_path / "true"
    for name, suffix, at in (("a", ".bmp", 0), ("sub/b", ".png", 100)):
        part = photo[at : at + 256, at : at + 256]
        for folder, end, picture in ((true, ".png", part), (restored, suffix, cv2.GaussianBlur(part, (0, 0), 2))):
            path = folder / f"{name}{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    return restored, true


def test_folders_are_compared_by_name_with_basicsr_s_numbers(folders: tuple[Path, Path], tmp_path: Path) -> None:
    restored, true = folders
    told = tmp_path / "told.jsonl"
    done = gfp("eval", restored, true, "--json", told)
    assert done.exit_code == 0, done.stderr
    assert "PSNR, dB (higher)" in done.stdout and "PSNR, dB: peak 255; 8 bits, RGB" in done.stdout
    assert done.stdout.count("left out; gfp models pull") == 3 and "lpips: left out" in done.stderr
    first, second, means = map(json.loads, told.read_text().splitlines())
    pair = cv2.imread(str(restored / "a.bmp")), cv2.imread(str(true / "a.png"))
    assert first["psnr"] == pytest.approx(calculate_psnr(*pair, 0))
    assert first["niqe"] == pytest.approx(calculate_niqe(pair[0], 0))
    assert means["mean"]["psnr"] == pytest.approx((first["psnr"] + second["psnr"]) / 2) and means["pairs"] == 2
    low, high = means["interval"]["psnr"]
    assert low == min(first["psnr"], second["psnr"]) and high == max(first["psnr"], second["psnr"])
    assert means["definitions"].keys() == {"psnr", "ssim", "niqe", "lpips", "deg", "lmd", "identity", "fid"}


def test_what_cannot_be_compared_is_named_and_the_rest_is_done(folders: tuple[Path, Path]) -> None:
    restored, true = folders
    cv2.imwrite(str(restored / "lonely.png"), np.zeros((9, 9, 3), np.uint8))
    (restored / "sub" / "b.png").write_bytes((restored / "sub" / "b.png").read_bytes()[:500])
    done = gfp("eval", restored, true, "--json", "-")
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    assert "lonely.png: no picture of that name" in done.stderr and "b.png" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["pairs"] == 1
    assert "b.png" in json.loads(done.stdout.splitlines()[1])["error"]
    cv2.imwrite(str(true / "other.png"), np.zeros((9, 9, 3), np.uint8))
    (restored / "sub" / "b.png").unlink()
    done = gfp("eval", restored, true)
    assert done.exit_code == 1 and f"other.png: no picture of that name in {restored}" in done.stderr
    assert f"{true / 'sub' / 'b.png'}: no picture" in done.stderr and "PSNR, dB (higher)" in done.stdout
    (true / "other.png").unlink()
    cv2.imwrite(str(true / "a.png"), np.zeros((9, 9, 3), np.uint8))
    done = gfp("eval", restored / "a.bmp", true / "a.png")
    assert done.exit_code == 1 and "256x256 and 9x9" in done.stderr
    done = gfp("eval", restored, true / "a.png")
    assert done.exit_code == 1 and "two pictures or two folders" in done.stderr


def test_the_very_name_comes_before_the_stem_which_is_told(folders: tuple[Path, Path]) -> None:
    restored, true = folders
    picture = cv2.imread(str(true / "a.png"))
    assert picture is not None
    cv2.imwrite(str(true / "a.bmp"), 255 - picture)
    done = gfp("eval", restored, true, "--json", "-")
    assert [Path(json.loads(line)["reference"]).name for line in done.stdout.splitlines()[:-1]] == ["a.bmp", "b.png"]
    assert "another suffix" not in done.stderr
    (restored / "a.bmp").rename(restored / "a.dib.bmp")
    cv2.imwrite(str(restored / "a.jpg"), picture)
    done = gfp("eval", restored, true)
    assert done.exit_code == 1 and "a.jpg: several pictures of that name" in done.stderr
    (true / "a.bmp").unlink()
    done = gfp("eval", restored, true)
    assert f"a.jpg: compared with {true / 'a.png'}, which has another suffix" in done.stderr


def test_weights_that_are_not_what_they_were_are_refused(folders: tuple[Path, Path]) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    name = WEIGHTS["arcface-r18"].file
    torch.save(ArcFaceR18().state_dict(), cache_folder() / name)
    (cache_folder() / RECORD).write_text(json.dumps({name: "0" * 64}))
    done = gfp("eval", *folders)
    assert (done.exit_code, done.stderr.count("SHA-256")) == (1, 1) and "gfp models pull arcface-r18" in done.stderr


def test_an_equal_picture_has_no_psnr_and_json_stays_json(folders: tuple[Path, Path]) -> None:
    picture = folders[1] / "a.png"
    done = gfp("eval", picture, picture, "--json", "-")
    assert done.exit_code == 0 and json.loads(done.stdout.splitlines()[0])["psnr"] is None
    told = json.loads(done.stdout.splitlines()[1])
    assert told["mean"]["psnr"] is None and told["infinite"]["psnr"] == 1 and told["missing"]["psnr"] == 0


def test_tables_are_written_as_csv_and_latex(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table, paper = tmp_path / "tables" / "a.csv", tmp_path / "tables" / "a.tex"
    done = gfp("eval", *folders, "--channel", "y", "--crop", 8, "--csv", table, "--latex", paper)
    assert done.exit_code == 0, done.stderr
    assert "8 bits, Y of BT.601, 16 to 235; 8 px cut off each edge" in done.stdout
    (psnr,) = [row for row in csv.DictReader(io.StringIO(table.read_text())) if row["metric"] == "psnr"]
    assert psnr["pictures"] == "2" and "8 px cut off" in psnr["definition"]
    assert f"& {float(psnr['mean']):.4f} &" in paper.read_text()
    done = gfp("eval", *folders, "--csv", tmp_path / "a.png")
    assert done.exit_code == 2 and "ends in .csv" in done.stderr


def test_pictures_without_a_reference(folders: tuple[Path, Path]) -> None:
    done = gfp("eval", folders[0], "--no-reference", "--json", "-")
    assert done.exit_code == 0 and "models pull" not in done.stderr, done.stderr
    first, second, means = map(json.loads, done.stdout.splitlines())
    assert first.keys() == {"restored", "niqe", "sharpness"} and means["mean"].keys() == {"niqe", "sharpness"}
    assert means["mean"]["sharpness"] == pytest.approx((first["sharpness"] + second["sharpness"]) / 2)
    assert "FID: left out; --fid-stats" in gfp("eval", folders[0], "--no-reference").stdout
    for words in ((folders[0],), (*folders, "--no-reference")):
        done = gfp("eval", *words)
        assert done.exit_code == 2 and "RESTORED and --no-reference" in done.stderr


def test_fid_statistics_without_the_network_are_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = gfp("eval", *folders, "--fid-stats", tmp_path / "a.npz")
    assert done.exit_code == 1 and "gfp models pull inception-fid" in done.stderr.splitlines()[-1]


def test_all_metrics_where_the_weights_are(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random networks in the official layouts, taken from the cache as if they were the official files."""
    monkeypatch.setattr("gfpcli.weights.cache.expected_hash", lambda weight: None)
    torch.manual_seed(2)
    fid_net = inception_arch.models.inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        n_in = {"Mixed_5b": 192, "Mixed_5c": 256, "Mixed_5d": 288}[name]
        setattr(fid_net, name, inception_arch.FIDInceptionA(n_in, 32 if name == "Mixed_5b" else 64))
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        setattr(fid_net, name, inception_arch.FIDInceptionC(768, width))
    fid_net.Mixed_7b, fid_net.Mixed_7c = inception_arch.FIDInceptionE_1(1280), inception_arch.FIDInceptionE_2(2048)
    vgg16 = torch.nn.ModuleDict({"features": vgg.make_layers(vgg.cfgs["D"])})
    states = {"vgg16": vgg16, "arcface-r18": ArcFaceR18(), "inception-fid": fid_net}
    cache_folder().mkdir(parents=True, exist_ok=True)
    for name, net in states.items():
        torch.save(net.state_dict(), cache_folder() / WEIGHTS[name].url.rsplit("/", 1)[1])
    done = gfp("eval", *folders, "--json", "-")
    assert done.exit_code == 0, done.stderr
    first, _, means = map(json.loads, done.stdout.splitlines())
    assert {"psnr", "ssim", "niqe", "lpips", "deg"} <= first.keys()
    assert first["lpips"] > 0 and 0 < first["deg"] <= 180 and means["mean"]["fid"] >= 0
    for name in ("vgg16", "arcface-r18"):  # they take time
        (cache_folder() / WEIGHTS[name].file).unlink()
    statistics = tmp_path / "true.npz"
    done = gfp("eval", *folders, "--fid-stats", statistics, "--json", "-")
    assert done.exit_code == 0 and f"{statistics}: FID's statistics of 2 pictures, written" in done.stderr
    again = gfp("eval", folders[0], "--no-reference", "--fid-stats", statistics, "--json", "-")
    assert again.exit_code == 0 and f"{statistics}: FID's statistics of 2 pictures\n" in again.stderr
    for each in (done, again):
        found = json.loads(each.stdout.splitlines()[-1])["mean"]["fid"]
        assert found == pytest.approx(means["mean"]["fid"], rel=1e-4)
    done = gfp("eval", folders[0], "--no-reference", "--fid-stats", tmp_path / "none.npz")
    assert done.exit_code == 2 and "it is made with a REFERENCE" in done.stderr
