"""The options of the commands: their rules, and what is said of each at its field."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from gfpcli.errors import UsageError
from gfpcli.options import (
    PANELS,
    BenchOptions,
    EvalOptions,
    FaceOptions,
    RestoreOptions,
    RunOptions,
    VideoOptions,
    devices_in,
    options_of,
)

KINDS = (RestoreOptions, VideoOptions, BenchOptions)


@pytest.mark.parametrize("kind", [*KINDS, EvalOptions])
def test_each_field_says_its_help_and_panel_and_its_default_is_valid(kind: type[RestoreOptions]) -> None:
    kind()
    for each in options_of(kind):
        assert each.metadata["help"], each.name
        assert each.metadata["panel"] in PANELS or kind is EvalOptions, each.name
        assert not each.metadata["short"] or len(each.metadata["short"]) == 2, each.name


def test_options_of_a_run_are_apart_from_those_of_faces_and_change_no_output() -> None:
    run, face = ({each.name for each in fields(kind)} for kind in (RunOptions, FaceOptions))
    assert not run & face and {"force", "engine", "address", "dry_run", "json"} <= run
    assert not any(each.metadata["in_fingerprint"] for each in fields(RunOptions))


def test_options_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RestoreOptions().scale = 3  # type: ignore[misc]
    assert replace(RestoreOptions(), scale=3).scale == 3


def test_a_clip_keeps_its_size_and_a_bench_is_of_this_machine() -> None:
    assert (VideoOptions().scale, RestoreOptions().scale) == (1, 2)
    assert "aligned" not in {each.name for each in options_of(VideoOptions)}
    assert not {"engine", "force", "save"} & {each.name for each in options_of(BenchOptions)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"scale": 9}, "--scale 9: choose a number from 1 to 8"),
        ({"strength": "nan"}, "from 0 to 1"),
        ({"strength": "half"}, "choose auto, or a number from 0 to 1"),
        ({"identity_guard": "2"}, "from 0 to 1"),
        ({"identity_guard": "yes"}, "choose on, off, or a number from 0 to 1"),
        ({"det_threshold": -1}, "--det-threshold -1"),
        ({"precision": "fp8"}, "--precision 'fp8': choose one of auto, fp32, bf16, fp16"),
        ({"tile": 8}, "at least 32"),
        ({"faces": "some"}, "largest"),
        ({"faces": "0"}, "above 0"),
        ({"device": "tpu"}, "cuda:N"),
        ({"address": "auto"}, "--address is of --engine ray"),
        ({"suffix": "a/b"}, "path separator"),
        ({"gpus_per_worker": 1.5}, "whole number"),
    ],
)
def test_values_out_of_range_are_refused(kind: type[RestoreOptions], values: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kind(**values)  # type: ignore[arg-type]


def test_rules_of_one_command() -> None:
    for kind, values, told in (
        (RestoreOptions, {"workers": 65}, "from 0 to 64"),
        (RestoreOptions, {"save": ("crops", "all")}, "--save 'all': choose one of crops"),
        (RestoreOptions, {"aligned": True, "background": "compact-x2"}, "--aligned has no background"),
        (VideoOptions, {"workers": 2}, "--workers is of --engine ray"),
        (VideoOptions, {"start": 2.0, "end": 1.0}, "not after"),
        (VideoOptions, {"codec": "h266"}, "hardware encoder"),
        (VideoOptions, {"codec": "prores", "crf": 3}, "no such setting"),
    ):
        with pytest.raises(UsageError, match=told):
            kind(**values)  # type: ignore[operator]
    assert RestoreOptions(workers=65, engine="ray").n_threads == 2 and RestoreOptions(workers=5).n_threads == 5


@pytest.mark.parametrize("digits", ["²", "٣", "1²", "९", "9" * 5000])
def test_digits_that_are_no_numbers_are_refused(digits: str) -> None:
    """`str.isdigit` takes them all; `int` raises ValueError for the first, torch for the others."""
    with pytest.raises(UsageError, match="--faces"):
        RestoreOptions(faces=digits)
    with pytest.raises(UsageError, match="--device"):
        devices_in(f"cuda:0,cuda:{digits}")


def test_device_numbers_that_torch_wraps_are_refused() -> None:
    """torch.device("cuda:256") is cuda:0."""
    assert devices_in("cuda:127") == ("cuda:127",)
    with pytest.raises(UsageError, match="cuda:256"):
        devices_in("cuda:256")
