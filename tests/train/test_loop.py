"""The loop: it learns, goes on exactly, rolls back, and keeps what it promises."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gfpcli.errors import CheckpointError, GfpError, InputError, OutputError, UsageError
from gfpcli.model.checkpoint import load_face_net
from gfpcli.train import loop
from gfpcli.train.faces import TrainingFace
from gfpcli.train.loop import Run, Watch, optimizers_of, rate_factor, take_step, train
from gfpcli.train.state import STATE, Progress, read_training_state, write_whole
from tests.train.conftest import MakeRun, options_of

EVERYTHING = {"pyramid": 1.0, "gan": 0.1, "component_gan": 1.0, "component_style": 200.0, "edges": 0.5,
              "coarse": 1.0, "detail": 1.0, "grid": 1.0}  # fmt: skip


def lines_of(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


def step_once(run: Run, progress: Progress) -> None:
    batches = next(loop.batches_from(run, progress))
    take_step(run, optimizers_of(run), batches, progress)


@pytest.mark.parametrize("arch", ["clean", "paper"])
def test_it_learns_four_faces_and_leaves_what_it_promises(make_run: MakeRun, arch: str) -> None:
    run = make_run(arch=arch, iterations=40, batch_size=4, rate=2e-3, loss={"pyramid": 1.0})
    progress = train(run)
    rows = lines_of(run)
    assert [row["iteration"] for row in rows] == list(range(40))
    first, last = (np.mean([row["l1"] for row in part]) for part in (rows[:4], rows[-4:]))
    assert last < 0.7 * first
    assert progress.n_images == 160
    assert {path.name for path in run.folder.iterdir()} >= {
        STATE, "best.safetensors", "last.safetensors", "losses.png", "grids", "tensorboard",
    }  # fmt: skip
    grid = cv2.imread(str(run.folder / "grids" / "0000040.png"))
    assert grid.shape == (2 * 32, 3 * 32, 3)  # before, after, truth
    net = load_face_net(run.folder / "best.safetensors")
    mean = run.nets.mean.state_dict()
    assert all(torch.equal(value, mean[key]) for key, value in net.state_dict().items())
    assert any((run.folder / "tensorboard").iterdir())


def test_every_term_is_there_finite_and_named(make_run: MakeRun) -> None:
    run = make_run(iterations=5, r1_every=4, loss=EVERYTHING)
    train(run)
    rows = lines_of(run)
    parts = ("left_eye", "right_eye", "mouth")
    always = {"l1", "edges", "coarse", "detail", "grid", "pyramid", "gan", "d", "psnr"} | {
        f"{k}_{p}" for k in ("gan", "style", "d") for p in parts
    }
    assert all(always <= row.keys() for row in rows)
    assert [row["iteration"] for row in rows if "r1" in row] == [0, 4]  # lazy
    assert all(math.isfinite(value) for row in rows for value in row.values())


@pytest.mark.parametrize(
    "term", ["gan", "component_gan", "component_style", "pyramid", "edges", "coarse", "detail", "grid"]
)
def test_a_term_that_is_off_is_gone(make_run: MakeRun, term: str) -> None:
    run = make_run(iterations=1, loss={**EVERYTHING, term: 0.0})
    train(run)
    name = {"component_gan": "gan_mouth", "component_style": "style_mouth"}.get(term, term)
    assert name not in lines_of(run)[0]


def test_the_pyramid_ends_and_the_discriminators_begin_when_told(make_run: MakeRun) -> None:
    run = make_run(iterations=4, pyramid_until=2, gan_from=3, loss=EVERYTHING)
    before = {key: value.clone() for key, value in run.nets.discriminator.state_dict().items()}  # type: ignore[union-attr]
    train(run)
    rows = lines_of(run)
    assert ["pyramid" in row for row in rows] == [True, True, False, False]
    assert ["gan" in row for row in rows] == ["d" in row for row in rows] == [False, False, False, True]
    after = run.nets.discriminator.state_dict()  # type: ignore[union-attr]
    assert any((before[key] != after[key]).any() for key in before)


def test_discriminators_see_fine_detail_made_stronger(make_run: MakeRun) -> None:
    def seen_by(emphasis: float) -> list[torch.Tensor]:
        run = make_run(emphasis=emphasis, loss=EVERYTHING)
        assert run.nets.discriminator is not None
        seen: list[torch.Tensor] = []
        judges = (run.nets.discriminator, run.nets.components["mouth"])
        hooks = [net.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach())) for net in judges]
        step_once(run, Progress())
        for hook in hooks:
            hook.remove()
        return seen

    plain, strong = seen_by(0.0), seen_by(3.0)
    assert len(plain) == len(strong) > 4
    for one, other in zip(plain, strong, strict=True):
        around = F.avg_pool2d(one, 5, 1, 2, count_include_pad=False)
        assert torch.allclose(other, one + 3 * (one - around), atol=1e-5)


def test_each_network_moves_in_its_own_step_only(make_run: MakeRun) -> None:
    run = make_run(loss=EVERYTHING)
    step_once(run, Progress())
    judges = [*run.nets.judges()]
    assert len(judges) == 4
    assert all(weight.grad is not None for judge in judges for weight in judge.parameters())
    run = make_run(loss=EVERYTHING, gan_from=9)
    step_once(run, Progress())
    assert all(weight.grad is None for judge in run.nets.judges() for weight in judge.parameters())


def test_stopped_and_resumed_is_as_if_never_stopped(make_run: MakeRun) -> None:
    whole = make_run(folder="whole", iterations=8, loss=EVERYTHING, workers=0)
    train(whole)
    train(make_run(folder="parts", iterations=5, loss=EVERYTHING))
    notes: list[str] = []
    parts = make_run(notes, folder="parts", iterations=8, loss=EVERYTHING)
    train(parts)
    assert notes == ["going on after iteration 5 of 8"]
    assert lines_of(parts) == lines_of(whole)  # to the last bit
    one, other = (load_file(run.folder / "last.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_data_processes_change_nothing(make_run: MakeRun) -> None:
    for workers in (0, 2):
        train(make_run(folder=str(workers), iterations=3, workers=workers))
    one, two = (lines_of(make_run(folder=str(workers))) for workers in (0, 2))
    assert one == two


def test_accumulated_steps_equal_one_large_step(make_run: MakeRun) -> None:
    large, small = (
        make_run(folder=str(batch), iterations=3, batch_size=batch, accumulate=4 // batch) for batch in (4, 1)
    )
    train(large), train(small)
    for one, other in zip(lines_of(large), lines_of(small), strict=True):
        assert one["l1"] == pytest.approx(other["l1"], rel=1e-4)


def test_not_finite_losses_roll_back_and_end_after_three(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loop.take_step, [0]

    def broken_once(run: Run, *rest: object) -> dict[str, float]:
        calls[0] += 1
        values = real(run, *rest)  # type: ignore[arg-type]
        return {**values, "l1": math.nan} if calls[0] == 4 else values

    monkeypatch.setattr(loop, "take_step", broken_once)
    notes: list[str] = []
    run = make_run(notes, iterations=5, save_every=2)
    progress = train(run)
    assert notes == ["iteration 4: losses are not finite numbers; back to iteration 2, with other draws ahead"]
    assert progress.iteration == 5 and progress.n_rollbacks == 1
    monkeypatch.setattr(loop, "take_step", lambda *_: {"l1": math.inf})
    with pytest.raises(GfpError, match="3 times: stopped"):
        train(make_run(folder="other", iterations=5))


def test_an_interrupt_saves_and_the_run_goes_on(make_run: MakeRun) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in a shell's background ignores it

    def press(progress: Progress, values: dict[str, float]) -> None:
        if progress.iteration == 3:
            signal.raise_signal(signal.SIGINT)

    run = make_run(iterations=6)
    with pytest.raises(KeyboardInterrupt):
        train(replace(run, watch=Watch(press, lambda *_: None, lambda _: None)))
    assert read_training_state(run.folder / STATE)["iteration"] == 3
    assert train(make_run(iterations=6)).iteration == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_file_that_goes_away_is_named(make_run: MakeRun) -> None:
    run = make_run(iterations=2, batch_size=4)
    faces = (*run.samples.faces, TrainingFace("away.png", False, []))
    with pytest.raises(InputError, match="away.png"):
        train(replace(run, samples=replace(run.samples, faces=faces)))


def test_other_options_are_refused_by_name(make_run: MakeRun) -> None:
    train(make_run(iterations=1))
    with pytest.raises(UsageError, match=r"rate=0.001, now 0.5.*loss=l1 1.0, now 2.0"):
        train(make_run(iterations=2, rate=0.5, loss={"l1": 2.0}))


def test_a_wrong_or_cut_state_is_one_clear_error(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(iterations=1)
    train(run)
    whole = (run.folder / STATE).read_bytes()
    for content, reason in ((b"text", "not a run's state|refused"), (whole[: len(whole) // 2], "cut short|refused")):
        (run.folder / STATE).write_bytes(content)
        with pytest.raises(CheckpointError, match=reason):
            train(make_run(iterations=2))
    torch.save({"a": 1}, run.folder / STATE)
    with pytest.raises(CheckpointError, match="not the state of a run"):
        train(make_run(iterations=2))


def test_a_write_that_fails_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(b"before")

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(OutputError, match="cannot be written"):
        write_whole(path, fail)
    assert path.read_bytes() == b"before" and [*tmp_path.iterdir()] == [path]


def test_the_rate_warms_up_and_falls() -> None:
    steps = options_of(iterations=100, warmup=4, milestones=(50, 80))
    assert [rate_factor(steps, at) for at in (0, 4, 49, 50, 80)] == [0.2, 1, 1, 0.5, 0.25]
    curve = options_of(iterations=100, milestones=(), cosine=True)
    assert rate_factor(curve, 0) == 1 and rate_factor(curve, 50) == pytest.approx(0.5) and rate_factor(curve, 99) < 0.01


def test_bf16_trains_close_to_fp32(make_run: MakeRun) -> None:
    for precision in ("fp32", "bf16"):
        train(make_run(folder=precision, iterations=4, precision=precision))
    one, two = (lines_of(make_run(folder=precision)) for precision in ("fp32", "bf16"))
    assert one[-1]["l1"] == pytest.approx(two[-1]["l1"], rel=0.1) and one != two
