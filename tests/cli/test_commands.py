"""Commands as they are made from the options dataclasses, and their help."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gfpcli import __version__
from gfpcli.cli.app import app
from gfpcli.cli.completion import names_of
from gfpcli.options import (
    OUTPUT_FORMATS,
    PANELS,
    BenchOptions,
    EvalOptions,
    RestoreOptions,
    VideoOptions,
    WatchOptions,
    options_of,
)
from gfpcli.train.options import TRAIN_PRESETS, TrainCommandOptions
from gfpcli.weights.cache import WEIGHTS

KINDS = {
    "restore": RestoreOptions, "video": VideoOptions, "bench": BenchOptions, "eval": EvalOptions,
    "train": TrainCommandOptions, "watch": WatchOptions,
}  # fmt: skip
HEAVY = ("numpy", "torch", "cv2", "av", "facexlib", "ray", "rich.markdown")
MOST_S = 0.4  # of processor time


def commands() -> dict[str, Any]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", KINDS)
def test_each_option_is_a_flag_with_the_field_s_default_help_and_panel(name: str) -> None:
    flags = {each.name: each for each in commands()[name].params}
    for each in options_of(KINDS[name]):
        flag = flags.pop(each.name)
        expected = each.metadata["flag"] or f"--{each.name.replace('_', '-')}"
        assert expected in flag.opts and flag.help.endswith(each.metadata["help"])
        assert (flag.rich_help_panel or "") == each.metadata["panel"]
        assert flag.default == each.default or isinstance(each.default, tuple)
        assert not each.metadata["short"] or each.metadata["short"] in flag.opts
    own = {"inputs", "output", "config", "debug", "data", "restored", "reference", "folder", "context"}
    assert set(flags) <= own, "no flag is written beside the dataclass"


@pytest.mark.parametrize("name", [*KINDS, "doctor"])
def test_help_shows_examples_and_panels_in_order(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"]).stdout
    lines = shown.splitlines()
    examples = [line for line in lines if line.startswith("    gfp ")]
    assert len(examples) >= (1 if name == "doctor" else 2) and f"gfp {name}" in examples[0]
    met = [line[:-1] for line in lines if line[:-1] in PANELS]
    assert met == [panel for panel in PANELS if panel in met] and (name in ("eval", "doctor") or len(met) > 2)


def test_examples_are_words_that_the_command_takes() -> None:
    """Each is parsed (not run): a flag that was renamed is found here."""
    for name in KINDS:
        shown = commands()[name].help.splitlines()
        for line in (line.strip() for line in shown if line.startswith("  gfp ")):
            words = shlex.split(line.rpartition("&& ")[2])[2:]
            commands()[name].make_context(name, words)


def test_switches_lists_and_repeated_flags_become_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("gfpcli.cli.restore.run_restore", lambda *words, **named: seen.append(words[2]) or 0)
    words = ["restore", "a.jpg", "--save", "crops, masks", "--no-compile", "--strip", "-q", "-s", "1", "--json", "-"]
    assert CliRunner().invoke(app, words).exit_code == 0
    options = RestoreOptions(scale=1, save=("crops", "masks"), compile=False, strip=True, quiet=True, json="-")
    assert seen == [options]
    monkeypatch.setattr("gfpcli.cli.train.run_train", lambda data, folder, options, **named: seen.append(options))
    words = ["train", "--data", "a", "-o", "b", "--preset", "tiny", "--set", "loss.l1=2", "--set", "sigma=1", "--from",
             "x", "--iterations", "7"]  # fmt: skip
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2 and "no option 'sigma'" in refused.stderr
    words[words.index("sigma=1")] = "degrade.sigma=[0.1, 6]"
    assert CliRunner().invoke(app, words).exit_code == 0
    training = seen[-1]
    assert (training.loss.l1, training.degrade.sigma, training.start, training.iterations) == (2, (0.1, 6.0), "x", 7)
    assert training.batch_size == 8, "what is not given is the preset's"


def test_an_unknown_flag_suggests_the_nearest_and_a_failure_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["restore", "a.jpg", "--strenght", "1"])
    assert done.exit_code == 2 and "No such option: --strenght. Did you mean --strength?" in done.stderr
    monkeypatch.setattr("gfpcli.cli.restore.run_restore", lambda *words, **named: 3)
    assert CliRunner().invoke(app, ["restore", "a.jpg"]).exit_code == 1


def test_the_version_is_told() -> None:
    for words in (["--version"], ["version"]):
        assert CliRunner().invoke(app, words).stdout == f"{__version__}\n"


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from gfpcli.cli.app import app\n"
        "try:\n    app(['restore', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    seconds = []
    for _ in range(5):  # the processor's time, of the best one: other processes may hold the cores
        before = os.times()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.stderr.strip() == "[]" and "--strength" in done.stdout
        if seconds[-1] < MOST_S:
            break
    assert min(seconds) < MOST_S, seconds


def completions(line: str) -> list[str]:
    """What bash offers behind `gfp LINE`."""
    words = f"gfp {line}"
    count = len(words.split()) - (0 if line.endswith(" ") else 1)
    environment = {"_GFP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    return CliRunner().invoke(app, [], prog_name="gfp", env=environment).stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("restore --format ", OUTPUT_FORMATS),
        ("restore --save crops,m", ("crops,masks", "crops,map")),
        ("restore --model gfpgan-1.", ("gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2")),
        ("video --detector r", ("retinaface-r50",)),
        ("train --preset t", ("tiny",)),
        ("models pull parse", ("parsenet",)),
        ("restore --stren", ("--strength",)),
        ("restore --output ", ()),
        ("wat", ("watch",)),
    ],
)
def test_values_are_completed(line: str, expected: tuple[str, ...]) -> None:
    assert completions(line) == list(expected)


def test_the_names_that_are_offered_are_taken() -> None:
    """Each is a name that the option knows: one that was renamed is found here."""
    for name in ("model", "detector", "background", "mask"):
        flag = next(each for each in options_of(RestoreOptions) if each.name == name)
        assert len(names_of(name)) > 2 and flag.default in names_of(name)
        for word in names_of(name):
            assert word in flag.metadata["help"] or word.startswith("gfpgan-1"), word
    assert names_of("preset") == tuple(TRAIN_PRESETS) and set(names_of("weights")) >= set(WEIGHTS)
