"""The scripts of `examples` that measure: they run, keep to their time, and tell no figure that they do not have."""

from __future__ import annotations

import json
import logging
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from gfpcli.weights.cpu import CpuFeatures

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import each other, and their children this package."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def run(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", [str(EXAMPLES / f"{name}.py"), *map(str, words)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_without_a_gpu_one_line_and_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caplog.set_level(logging.INFO)
    run("gpu", monkeypatch, "--out", tmp_path / "out")
    assert [each.message for each in caplog.records] == [
        "no CUDA GPU here: nothing was measured, and no table is written"
    ]
    assert not (tmp_path / "out").exists()


def test_the_table_of_the_gpu_script_as_made_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("gpu", monkeypatch, "--device", "cpu", "--quick", "--out", tmp_path)
    told = json.loads((tmp_path / "gpu.json").read_text())
    figures = {part: [row["figure"] for row in told["rows"] if row["part"] == part] for part in
               ("parity", "network", "pipeline")}  # fmt: skip
    assert [len(each) for each in figures.values()] == [2, 6, 1]
    assert min(figures["parity"]) > 40 and min(figures["network"]) > 0
    assert told["rows"][-1]["goal"] == "30 frames/s on an H100"
    page = (tmp_path / "gpu.md").read_text()
    assert page.count("\n| parity |") + page.count("\n| network |") + page.count("\n| pipeline |") == len(told["rows"])


def test_what_the_time_does_not_reach_is_told_as_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("gpu", monkeypatch, "--device", "cpu", "--quick", "--minutes", 0, "--out", tmp_path)
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [(row["part"], row["figure"]) for row in rows] == [("network", None), ("pipeline", None)]
    assert (tmp_path / "gpu.md").read_text().count("not measured") == 2


def test_growth_is_told_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import growth
    import plots
    import runs

    def fake(verb: str, source: Path, flags: tuple[str, ...]) -> runs.Run:
        assert source.exists() and verb == ("video" if source.suffix else "restore")
        n = int((source.parent if source.suffix else source).name.split()[1])
        return runs.Run(2.0 + 0.5 * n, 1.0 + n, 1 << 30, n, ())

    monkeypatch.setattr(growth, "run_gfp", fake)
    monkeypatch.setattr(growth, "cpu_features", lambda: CpuFeatures("A processor", (), "AVX2", ""))
    monkeypatch.setattr(growth, "QUICK", growth.Amounts((1, 2), (1, 2), (1, 2), (2, 3)))
    monkeypatch.setattr("sys.argv", ["growth", "--quick", "--json", str(tmp_path / "growth.json")])
    caplog.set_level(logging.INFO)
    growth.main()
    assert "photos: 2.0 s + 0.500 each, off a straight line by at most 0 %" in caplog.text
    assert "faces (4 pictures each): 1.0 processor s + 1.000 each" in caplog.text
    told: dict[str, Any] = json.loads((tmp_path / "growth.json").read_text())
    assert list(told["rows"]) == ["photos", "megapixels", "faces", "frames"] and told["cpu"]["name"]
    (tmp_path / "against_original.json").write_text(json.dumps(
        {"machine": "here", "ratios": {"portrait": {"gfp": [6.0, 7.0], "gfp without bf16": [3.0]}, "group": {
            "gfp": [7.0], "gfp without bf16": [4.0]}}}))  # fmt: skip
    monkeypatch.setattr(plots, "FIGURES", tmp_path)
    monkeypatch.setattr(plots, "PICTURES", tmp_path)
    plots.main()
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert (tmp_path / "against_original.png").stat().st_size > 5_000


def test_each_side_is_told_against_the_original(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import against_original

    class Fake:
        def __init__(self, name: str, seconds: list[float]) -> None:
            self.name, self.seconds = name, iter(seconds)

        def ask(self, source: Path, target: Path) -> dict[str, Any]:
            assert len(list(source.glob("*.jpg"))) == 1 and not target.exists()
            return {"seconds": next(self.seconds), "faces": 6, "spent": {"net": 0.5}, "peak": 1 << 30}

    sides = [Fake("original", [12.0, 8.0]), Fake("gfp", [2.0, 1.0]), Fake("gfp without bf16", [3.0, 4.0])]
    caplog.set_level(logging.INFO)
    ratios = against_original.compare("group", tmp_path, sides, 2)
    assert ratios == {"gfp": [6.0, 8.0], "gfp without bf16": [2.0, 4.0]}
    assert "group, gfp: 7.00 times as fast (6.00 to 8.00), median of 2 pairs" in caplog.text
    assert "gfp without bf16 6 faces, 3.50 s: net 0.50 s (14%)" in caplog.text
