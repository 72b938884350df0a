"""The training loop: losses, phases, moving average, resuming, roll-back and what is written."""

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
from torch import nn

from gfpcli.errors import CheckpointError, GfpError, InputError, UsageError
from gfpcli.model.checkpoint import load_face_net
from gfpcli.train import loop, losses
from gfpcli.train.data import Batch
from gfpcli.train.distributed import World
from gfpcli.train.faces import TrainingFace
from gfpcli.train.loop import TrainCallbacks, TrainingRun, make_optimizers, rate_factor, training_loop
from gfpcli.train.objective import Objective, Terms
from gfpcli.train.state import STATE, TrainProgress, read_training_state, score_of
from gfpcli.train.validate import Validation
from tests.train.conftest import MakeRun, options_of

EVERYTHING = {"pyramid": 1.0, "gan": 0.1, "component_gan": 1.0, "component_style": 200.0, "gradient": 0.5,
              "lowpass": 1.0, "texture": 1.0, "checkerboard": 1.0, "lite": 1.0, "projected_gan": 0.1}  # fmt: skip


def lines_of(run: TrainingRun) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


def broken(run: TrainingRun, calls: set[int], seen: list[tuple[int, torch.Tensor]]) -> TrainingRun:
    """A run whose generator loss is NaN in some calls, counted from 1; `seen` collects (iteration, degraded faces)."""

    class Broken(Objective):
        def generator_main(self, batch: Batch, iteration: int) -> tuple[torch.Tensor, Terms, Terms]:
            fake, terms, measured = super().generator_main(batch, iteration)
            seen.append((iteration, batch.low))
            return fake, terms | {"l1": terms["l1"] * (math.nan if len(seen) in calls else 1)}, measured

    return replace(run, objective=Broken(run.options, run.nets))


def gradient_norm(net: nn.Module) -> float:
    return math.sqrt(sum(float(weight.grad.square().sum()) for weight in net.parameters() if weight.grad is not None))


@pytest.mark.parametrize("arch", ["clean", "paper"])
def test_training_lowers_the_loss_and_writes_all_files(make_run: MakeRun, arch: str) -> None:
    run = make_run(arch=arch, iterations=40, batch_size=4, rate=2e-3, loss={"pyramid": 1.0})
    progress = training_loop(run)
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
    g_ema = run.nets.g_ema.state_dict()
    assert all(torch.equal(value, g_ema[key]) for key, value in net.state_dict().items())
    assert any((run.folder / "tensorboard").iterdir())


def test_every_term_is_there_finite_and_named(make_run: MakeRun) -> None:
    run = make_run(iterations=5, r1_every=4, loss=EVERYTHING)
    training_loop(run)
    rows = lines_of(run)
    parts = ("left_eye", "right_eye", "mouth")
    ours = {"gradient", "lowpass", "texture", "checkerboard", "lite", "gan_projected", "d_projected"}
    always = {"l1", "pyramid", "gan", "d", "psnr", *ours} | {
        f"{k}_{p}" for k in ("gan", "style", "d") for p in parts
    }
    assert all(always <= row.keys() for row in rows)
    assert [row["iteration"] for row in rows if "r1" in row] == [0, 4]  # lazy
    assert all(math.isfinite(value) for row in rows for value in row.values())


@pytest.mark.parametrize(
    "term",
    ["gan", "component_gan", "component_style", "pyramid", "gradient", "lowpass", "texture", "checkerboard", "lite",
     "projected_gan"],
)
def test_a_term_that_is_off_is_gone(make_run: MakeRun, term: str) -> None:
    run = make_run(iterations=1, loss={**EVERYTHING, term: 0.0})
    training_loop(run)
    names = {"component_gan": "gan_mouth", "component_style": "style_mouth", "projected_gan": "d_projected"}
    assert names.get(term, term) not in lines_of(run)[0]


def test_the_pyramid_ends_and_the_discriminators_begin_when_told(make_run: MakeRun) -> None:
    run = make_run(iterations=4, pyramid_until=2, gan_from=3, loss=EVERYTHING)
    before = {key: value.clone() for key, value in run.nets.discriminator.state_dict().items()}  # type: ignore[union-attr]
    training_loop(run)
    rows = lines_of(run)
    assert ["pyramid" in row for row in rows] == [True, True, False, False]
    assert ["gan" in row for row in rows] == ["d" in row for row in rows] == [False, False, False, True]
    after = run.nets.discriminator.state_dict()  # type: ignore[union-attr]
    assert any((before[key] != after[key]).any() for key in before)


def test_discriminators_see_fine_detail_made_stronger(make_run: MakeRun) -> None:
    def seen_by(emphasis: float) -> list[torch.Tensor]:
        run = make_run(folder=str(emphasis), iterations=1, emphasis=emphasis, loss=EVERYTHING)
        assert run.nets.discriminator is not None
        seen: list[torch.Tensor] = []
        watched = (run.nets.discriminator, run.nets.components["mouth"])
        hooks = [net.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach())) for net in watched]
        training_loop(run)
        for hook in hooks:
            hook.remove()
        return seen

    plain, strong = seen_by(0.0), seen_by(3.0)
    assert len(plain) == len(strong) > 4
    for one, other in zip(plain, strong, strict=True):
        around = F.avg_pool2d(one, 5, 1, 2, count_include_pad=False)
        assert torch.allclose(other, one + 3 * (one - around), atol=1e-5)


def test_each_network_moves_in_its_own_step_only(make_run: MakeRun) -> None:
    run = make_run(iterations=1, loss=EVERYTHING)
    training_loop(run)
    nets = [*run.nets.discriminators()]
    assert len(nets) == 5
    assert all(weight.grad is not None for net in nets for weight in net.parameters())
    run = make_run(folder="later", iterations=1, loss=EVERYTHING, gan_from=9)
    training_loop(run)
    assert all(weight.grad is None for net in run.nets.discriminators() for weight in net.parameters())


def test_the_projected_discriminator_and_the_generator_learn_from_each_other_only(make_run: MakeRun) -> None:
    """The generator's step leaves the discriminator alone, and the other way round; the features stay frozen."""
    run = make_run(loss={"projected_gan": 1.0, "l1": 0.0})
    judge = run.nets.projected
    assert judge is not None and isinstance(run.objective.lite, nn.Module)
    ((batch,),) = (next(loop.load_batches(run, TrainProgress())),)
    loop.set_trainable(run.nets.discriminators(), False)
    fake, terms, _ = run.objective.generator_main(batch, 0)
    assert terms.keys() == {"gan_projected"}
    terms["gan_projected"].backward()
    assert gradient_norm(run.nets.generator) > 0 and gradient_norm(judge) == 0
    run.nets.generator.zero_grad()
    loop.set_trainable(run.nets.discriminators(), True)
    terms, _ = run.objective.discriminator_main(fake.detach(), batch)
    assert terms.keys() == {"d_projected"}
    terms["d_projected"].backward()
    assert gradient_norm(judge) > 0 and gradient_norm(run.nets.generator) == gradient_norm(run.objective.lite) == 0
    assert not run.objective.generator_main(batch, -1)[1], "before `gan_from` there is no such term"


def test_a_resumed_run_equals_an_uninterrupted_one(make_run: MakeRun) -> None:
    whole = make_run(folder="whole", iterations=8, loss=EVERYTHING, workers=0)
    training_loop(whole)
    training_loop(make_run(folder="parts", iterations=5, loss=EVERYTHING))
    notes: list[str] = []
    parts = make_run(notes, folder="parts", iterations=8, loss=EVERYTHING)
    training_loop(parts)
    assert notes == ["going on after iteration 5 of 8"]
    assert lines_of(parts) == lines_of(whole)  # to the last bit
    one, other = (load_file(run.folder / "last.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    one, other = (read_training_state(run.folder / STATE)["nets"]["projected"] for run in (whole, parts))
    assert any("_u" in key for key in one) and any("mixing" in key for key in one)  # all that it computes with
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_data_processes_change_nothing(make_run: MakeRun) -> None:
    for workers in (0, 2):
        training_loop(make_run(folder=str(workers), iterations=3, workers=workers))
    one, two = (lines_of(make_run(folder=str(workers))) for workers in (0, 2))
    assert one == two


def test_accumulated_steps_equal_one_large_step(make_run: MakeRun) -> None:
    large, small = (
        make_run(folder=str(batch), iterations=3, batch_size=batch, accumulate=4 // batch) for batch in (4, 1)
    )
    training_loop(large), training_loop(small)
    for one, other in zip(lines_of(large), lines_of(small), strict=True):
        assert one["l1"] == pytest.approx(other["l1"], rel=1e-4)


def test_not_finite_losses_roll_back_to_the_saved_state(make_run: MakeRun) -> None:
    notes: list[str] = []
    seen: list[tuple[int, torch.Tensor]] = []
    run = broken(make_run(notes, iterations=5, save_every=2), {4}, seen)
    progress = training_loop(run)
    assert notes == ["iteration 4: losses are not finite numbers; back to iteration 2, with other draws ahead"]
    assert progress.iteration == 5 and progress.n_rollbacks == 1
    assert [iteration for iteration, _ in seen] == [0, 1, 2, 3, 2, 3, 4]
    assert (seen[2][1] != seen[4][1]).any() and (seen[3][1] != seen[5][1]).any()
    assert [row["iteration"] for row in lines_of(run)] == [0, 1, 2, 3, 4]
    assert all(value.isfinite().all() for net in run.nets.named().values() for value in net.state_dict().values())


def test_a_roll_back_or_a_kill_lets_no_worse_network_replace_the_best(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations of 20, 30 and, after a roll-back or a kill behind the second, 25 dB."""
    grid = np.zeros((4, 4, 3), np.uint8)
    shown = iter((20.0, 30.0, 25.0, 26.0))
    monkeypatch.setattr(
        "gfpcli.train.objective.validate",
        lambda *_: Validation(next(shown), 0.5, math.nan, (1.0, 0.5, math.nan), grid),
    )
    run = broken(make_run(iterations=3, validate_every=1, save_every=9), {3}, [])

    def stop(progress: TrainProgress, values: dict[str, float]) -> None:
        if progress.n_rollbacks and progress.iteration == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):  # before the second validation of that time, 26 dB
        training_loop(replace(run, callbacks=TrainCallbacks(stop, lambda *_: None, lambda _: None)))
    assert score_of(run.folder / "best.safetensors") == 30.0
    assert read_training_state(run.folder / STATE)["best"] == -math.inf  # the state is of before
    training_loop(make_run(iterations=1, validate_every=1))
    assert score_of(run.folder / "best.safetensors") == 30.0
    assert read_training_state(run.folder / STATE)["best"] == 30.0


def test_the_third_roll_back_ends_the_run(make_run: MakeRun) -> None:
    with pytest.raises(GfpError, match="3 times: stopped"):
        training_loop(broken(make_run(iterations=5), set(range(9)), []))


def test_the_first_process_decides_whether_a_run_is_resumed(make_run: MakeRun) -> None:
    """A process that comes late finds a state that the first one is still writing, and must not read it."""

    class Late(World):
        def broadcast_flag(self, is_true: bool) -> bool:
            assert is_true  # what this process sees
            return False  # what the first process saw

        def broadcast_weights(self, nets: object) -> None: ...
        def barrier(self) -> None: ...

    run = make_run()
    run.folder.mkdir()
    (run.folder / STATE).write_bytes(b"half")
    assert loop.begin(replace(run, world=Late(1, 2)), make_optimizers(run.options, run.nets)) == TrainProgress()


def test_the_moving_average_forgets_the_random_start_soon(make_run: MakeRun) -> None:
    run = make_run(iterations=1, batch_size=2, ema=200)
    start = {key: value.clone() for key, value in run.nets.g_ema.state_dict().items()}
    training_loop(run)
    for key, value in run.nets.generator.state_dict().items():
        assert torch.allclose(run.nets.g_ema.state_dict()[key], 0.1 * start[key] + 0.9 * value, atol=1e-6)
    assert loop.ema_decay_at(10_000, 2, run.options) == 0.5 ** (2 / 200)


def test_the_r1_penalty_is_weighted_by_its_interval(make_run: MakeRun) -> None:
    for interval in (1, 4):
        run = make_run(folder=str(interval), iterations=1, r1_every=interval, loss={"gan": 0.1, "r1": 6.0})
        assert run.nets.discriminator is not None
        ((batch,),) = (next(loop.load_batches(run, TrainProgress())),)
        real = batch.true.requires_grad_(True)
        penalty = float(losses.r1_penalty(run.nets.discriminator(real), real).detach())
        training_loop(run)
        assert lines_of(run)[0]["r1"] == pytest.approx(6 / 2 * interval * penalty, rel=1e-4)


def test_the_r1_penalty_is_computed_in_every_nth_iteration(make_run: MakeRun) -> None:
    run = make_run(iterations=5, r1_every=2, loss={"gan": 0.1, "r1": 6.0})
    training_loop(run)
    assert [row["iteration"] for row in lines_of(run) if "r1" in row] == [0, 2, 4]


def test_the_generator_s_gradient_is_clipped(make_run: MakeRun) -> None:
    free, clipped = (make_run(folder=str(clip), iterations=1, clip=clip) for clip in (0.0, 1e-3))
    training_loop(free), training_loop(clipped)
    assert gradient_norm(free.nets.generator) > 1e-2
    assert gradient_norm(clipped.nets.generator) == pytest.approx(1e-3, rel=1e-2)


def test_an_interrupt_saves_and_the_run_goes_on(make_run: MakeRun) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in a shell's background ignores it

    def press(progress: TrainProgress, values: dict[str, float]) -> None:
        if progress.iteration == 3:
            signal.raise_signal(signal.SIGINT)

    run = make_run(iterations=6)
    with pytest.raises(KeyboardInterrupt):
        training_loop(replace(run, callbacks=TrainCallbacks(press, lambda *_: None, lambda _: None)))
    assert read_training_state(run.folder / STATE)["iteration"] == 3
    assert training_loop(make_run(iterations=6)).iteration == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_picture_that_disappears_is_named(make_run: MakeRun) -> None:
    run = make_run(iterations=2, batch_size=4)
    faces = (*run.samples.faces, TrainingFace("away.png", False, []))
    with pytest.raises(InputError, match="away.png"):
        training_loop(replace(run, samples=replace(run.samples, faces=faces)))


def test_other_options_are_refused_by_name(make_run: MakeRun) -> None:
    training_loop(make_run(iterations=1))
    with pytest.raises(UsageError, match=r"rate=0.001, now 0.5.*loss=l1 1.0, now 2.0"):
        training_loop(make_run(iterations=2, rate=0.5, loss={"l1": 2.0}))


def test_an_option_that_came_later_counts_as_its_default(make_run: MakeRun) -> None:
    run = make_run(iterations=1)
    training_loop(run)
    state = torch.load(run.folder / STATE, weights_only=True)
    del state["options"]["identity_net"], state["options"]["loss"]["lite"]
    torch.save(state, run.folder / STATE)
    assert training_loop(make_run(iterations=2)).iteration == 2
    with pytest.raises(UsageError, match=r"identity_net=arcface, now builtin; loss=lite 0.0, now 1.0"):
        training_loop(make_run(iterations=3, identity_net="builtin", loss={"lite": 1.0}))


def test_a_wrong_or_cut_state_is_one_clear_error(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(iterations=1)
    training_loop(run)
    whole = (run.folder / STATE).read_bytes()
    for content, reason in ((b"text", "not a run's state|refused"), (whole[: len(whole) // 2], "cut short|refused")):
        (run.folder / STATE).write_bytes(content)
        with pytest.raises(CheckpointError, match=reason):
            training_loop(make_run(iterations=2))
    for found, reason in (({"a": 1}, "not the state of a run"), ({"format": 1, "options": {}}, "another version")):
        torch.save(found, run.folder / STATE)
        with pytest.raises(CheckpointError, match=reason):
            training_loop(make_run(iterations=2))


def test_the_rate_warms_up_and_falls() -> None:
    steps = options_of(iterations=100, warmup=4, milestones=(50, 80))
    assert [rate_factor(steps, at) for at in (0, 4, 49, 50, 80)] == [0.2, 1, 1, 0.5, 0.25]
    curve = options_of(iterations=100, milestones=(), cosine=True)
    assert rate_factor(curve, 0) == 1 and rate_factor(curve, 50) == pytest.approx(0.5) and rate_factor(curve, 99) < 0.01


def test_bf16_trains_close_to_fp32(make_run: MakeRun) -> None:
    for precision in ("fp32", "bf16"):
        training_loop(make_run(folder=precision, iterations=4, precision=precision))
    one, two = (lines_of(make_run(folder=precision)) for precision in ("fp32", "bf16"))
    assert one[-1]["l1"] == pytest.approx(two[-1]["l1"], rel=0.1) and one != two


def test_what_a_run_writes_and_tells_comes_at_its_intervals(make_run: MakeRun) -> None:
    """Every iteration is told with its count of images; logs, validations and states by their own intervals."""
    stepped: list[tuple[int, int]] = []
    validated: list[int] = []
    callbacks = TrainCallbacks(
        lambda progress, values: stepped.append((progress.iteration, progress.n_images)),
        lambda iteration, result: validated.append(iteration), lambda _: None,
    )  # fmt: skip
    run = make_run(iterations=5, batch_size=2, accumulate=2, validate_every=2, save_every=9)
    progress = training_loop(replace(run, callbacks=callbacks))
    assert stepped == [(i, 4 * i) for i in range(1, 6)] and validated == [2, 4, 5]
    assert progress == replace(progress, iteration=5, n_images=20)
    assert read_training_state(run.folder / STATE)["iteration"] == 5
    assert (run.folder / "last.safetensors").exists() and (run.folder / "best.safetensors").exists()


def test_the_optimizers_are_upstream_s(make_run: MakeRun) -> None:
    weights = {"gan": 0.1, "component_gan": 1.0, "projected_gan": 0.1}
    run = make_run(loss=weights, rate=3e-4, rate_d=2e-4, rate_projected=1e-4, beta1=0.5)
    found = {name: optimizer.param_groups[0] for name, optimizer in make_optimizers(run.options, run.nets).items()}
    assert {name: (group["lr"], group["betas"]) for name, group in found.items()} == {
        "generator": (3e-4, (0.5, 0.99)), "discriminator": (2e-4, (0.0, 0.9905)), "components": (2e-4, (0.9, 0.99)),
        "projected": (1e-4, (0.0, 0.99)),
    }  # fmt: skip
    optimizers = make_optimizers(run.options, run.nets)
    loop.set_rates(optimizers, replace(run.options, warmup=3, milestones=(9,)), 1)
    assert [each.param_groups[0]["lr"] for each in optimizers.values()] == [1.5e-4, 1e-4, 1e-4, 5e-5]


def test_psnr_is_of_images_from_minus_1_to_1() -> None:
    sums: Terms = {}
    for value in (0.02, 0.06):
        loop.add_terms(sums, {"l1": torch.tensor(value * 10), "mse": torch.tensor(value)}, 2)
    values = loop.mean_values(sums, World(0, 1))
    assert values == pytest.approx({"l1": 0.4, "psnr": 20.0})  # mse 0.04 of a range of 2
    assert loop.mean_values({"mse": torch.tensor(0.0)}, World(0, 1))["psnr"] == pytest.approx(120)


def test_the_moving_average_s_decay_grows_from_a_tenth() -> None:
    options = options_of(ema=10_000)
    assert [loop.ema_decay_at(at, 4, options) for at in (0, 8, 90)] == [0.1, 0.5, 0.91]


def test_roll_backs_are_counted_and_the_third_names_the_iteration(make_run: MakeRun) -> None:
    notes: list[str] = []
    run = make_run(notes, iterations=5)
    optimizers = make_optimizers(run.options, run.nets)
    progress = loop.begin(run, optimizers)
    again = loop.roll_back(run, optimizers, replace(progress, iteration=6, n_rollbacks=1))
    assert (again.iteration, again.n_rollbacks) == (0, 2)
    assert notes[-1] == "iteration 7: losses are not finite numbers; back to iteration 0, with other draws ahead"
    with pytest.raises(GfpError, match=r"^iteration 3: .*, 3 times: stopped; try a lower --set rate, or --set clip=1$"):
        loop.roll_back(run, optimizers, replace(progress, iteration=2, n_rollbacks=2))
