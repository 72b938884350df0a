"""The training loop, top to bottom: batch, generator, discriminators, running mean, validation, checkpoint."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gfpcli.errors import GfpError, InputError
from gfpcli.train.data import Batch, FaceSamples, Schedule, collate
from gfpcli.train.distributed import Ranks
from gfpcli.train.losses import ema_decay_of
from gfpcli.train.nets import Nets, update_mean
from gfpcli.train.objective import Objective
from gfpcli.train.options import TrainOptions
from gfpcli.train.run_log import Board, open_board
from gfpcli.train.state import STATE, Optimizers, Progress, load_state, save_state, save_weights, set_rng
from gfpcli.train.validate import Validation, validate

MAX_ROLLBACKS = 3
BETA2, BETA2_JUDGE, BETAS_PART = 0.99, 0.9905, (0.9, 0.99)  # upstream
Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who hears of a run: each iteration, each validation, and what is worth a line."""

    step: Callable[[Progress, Values], None]
    validation: Callable[[int, Validation], None]
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a run needs; only `Progress`, the networks and the optimizers change."""

    options: TrainOptions
    folder: Path
    samples: FaceSamples
    held_out: FaceSamples
    nets: Nets
    objective: Objective
    device: torch.device
    ranks: Ranks
    watch: Watch


def train(run: Run) -> Progress:
    """From the start, or from where the run's folder says, to the last iteration.

    Raises:
        GfpError: a file that cannot be read or written, a state that does not fit, or numbers that stay not finite.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    options, optimizers = run.options, optimizers_of(run)
    progress = begin(run, optimizers)
    board = open_board(run.folder, progress.iteration) if run.ranks.is_first else None
    with stop_on_interrupt() as is_stopped:
        while progress.iteration < options.iterations:
            for batches in batches_from(run, progress):
                values = take_step(run, optimizers, batches, progress)
                if not all(math.isfinite(value) for value in values.values()):
                    progress = roll_back(run, optimizers, progress)
                    break
                progress.iteration += 1
                progress.n_images += options.batch_size * options.accumulate * run.ranks.n_ranks
                is_last = progress.iteration == options.iterations
                if board:
                    is_logged = progress.iteration % options.log_every == 0 or is_last
                    board.step(progress.iteration - 1, values, is_logged=is_logged)
                    run.watch.step(progress, values)
                    if progress.iteration % options.validate_every == 0 or is_last:
                        check_quality(run, board, progress)
                must_stop = run.ranks.any(is_stopped())
                if progress.iteration % options.save_every == 0 or is_last or must_stop:
                    keep(run, optimizers, progress)
                if must_stop:
                    raise KeyboardInterrupt
    if board:
        board.close()
    return progress


def take_step(run: Run, optimizers: Optimizers, batches: list[Batch], progress: Progress) -> Values:
    """One change of every network; gives the weighted terms, the mean over processes and micro-batches."""
    options, nets, iteration = run.options, run.nets, progress.iteration
    share = 1 / len(batches)
    for name, optimizer in optimizers.items():
        peak = options.rate if name == "generator" else options.rate_d
        for group in optimizer.param_groups:
            group["lr"] = peak * rate_factor(options, iteration)
    terms: dict[str, Tensor] = {}

    def count(new: dict[str, Tensor]) -> Tensor:
        for name, value in new.items():
            terms[name] = terms.get(name, torch.zeros((), device=run.device)) + share * value.detach()
        return share * torch.stack(list(new.values())).sum()

    set_trained(nets.judges(), False)
    optimizers["generator"].zero_grad()
    outs = []
    for batch in batches:
        out, new = run.objective.restore(batch, iteration)
        count(new).backward()
        outs.append(out.detach())
        count({"mse": F.mse_loss(outs[-1].clamp(-1, 1), batch.true)})
    run.ranks.mean_gradients(nets.generator)
    if options.clip:
        nn.utils.clip_grad_norm_(nets.generator.parameters(), options.clip)
    optimizers["generator"].step()

    if run.objective.is_adversarial(iteration) and len(optimizers) > 1:
        set_trained(nets.judges(), True)
        for name in optimizers.keys() - {"generator"}:
            optimizers[name].zero_grad()
        for batch, out in zip(batches, outs, strict=True):
            if new := run.objective.judge(out, batch, iteration):
                count(new).backward()
        for judge in nets.judges():
            run.ranks.mean_gradients(judge)
        for name in optimizers.keys() - {"generator"}:
            optimizers[name].step()

    n_images = options.batch_size * options.accumulate * run.ranks.n_ranks
    warming = (1 + iteration) / (10 + iteration)  # a short run must not end near its random start
    update_mean(nets.mean, nets.generator, min(warming, ema_decay_of(n_images, options.ema)))
    values = dict(zip(terms, run.ranks.mean(torch.stack(list(terms.values()))).tolist(), strict=True))
    return values | {"psnr": -10 * math.log10(max(values.pop("mse") / 4, 1e-12))}  # the range is -1 to 1


def rate_factor(options: TrainOptions, iteration: int) -> float:
    """Of the learning rate at an iteration: warm-up, then halvings or a cosine to 0."""
    factor = min(1.0, (iteration + 1) / (options.warmup + 1))
    if options.cosine:
        return factor * (0.5 + 0.5 * math.cos(math.pi * min(1.0, iteration / options.iterations)))
    return factor * 0.5 ** sum(iteration >= milestone for milestone in options.milestones)


def optimizers_of(run: Run) -> Optimizers:
    """Adam for each network that learns."""
    options, nets = run.options, run.nets
    learned = [weight for weight in nets.generator.parameters() if weight.requires_grad]
    found = {"generator": torch.optim.Adam(learned, options.rate, (options.beta1, BETA2))}
    if nets.discriminator is not None:
        found["discriminator"] = torch.optim.Adam(nets.discriminator.parameters(), options.rate_d, (0.0, BETA2_JUDGE))
    if nets.components:
        found["components"] = torch.optim.Adam(nets.components.parameters(), options.rate_d, BETAS_PART)
    return found


def set_trained(nets: Iterator[nn.Module], is_trained: bool) -> None:
    """Whether gradients are computed for the networks' weights."""
    for net in nets:
        net.requires_grad_(is_trained)


def batches_from(run: Run, progress: Progress) -> Iterator[list[Batch]]:
    """The micro-batches of each coming iteration, on the device.

    Raises:
        InputError: a picture cannot be read any more.
    """
    options = run.options
    samples = replace(run.samples, salt=progress.n_rollbacks)
    first, last = (at * options.accumulate for at in (progress.iteration, options.iterations))
    schedule = Schedule(samples, options.batch_size, first, last, run.ranks.rank, run.ranks.n_ranks)
    loader: DataLoader[Batch | InputError] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=schedule,
        collate_fn=collate,
        num_workers=options.workers,
        worker_init_fn=_leave_interrupts,
        pin_memory=False,
        generator=torch.Generator(),  # its own: the loader must not move the saved random state
    )
    waiting: list[Batch] = []
    for drawn in loader:
        if isinstance(drawn, InputError):
            raise drawn
        waiting.append(drawn.to(run.device))
        if len(waiting) == options.accumulate:
            yield waiting
            waiting = []


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C goes to the loop, which ends its iteration and saves; worker processes end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def begin(run: Run, optimizers: Optimizers) -> Progress:
    """Goes on from the folder's state; a fresh run saves one, to have something to roll back to."""
    path = run.folder / STATE
    if path.exists():
        progress = load_state(path, run.nets, optimizers, run.options)
        set_rng(progress.rng)
        run.watch.note(f"going on after iteration {progress.iteration} of {run.options.iterations}")
        return progress
    run.ranks.share_weights(run.nets.named().values())
    progress = Progress()
    if run.ranks.is_first:
        save_state(path, run.nets, optimizers, progress, run.options)
    run.ranks.wait()
    return progress


def roll_back(run: Run, optimizers: Optimizers, progress: Progress) -> Progress:
    """The last saved state, with other draws ahead.

    Raises:
        GfpError: as often as MAX_ROLLBACKS.
    """
    n_rollbacks = progress.n_rollbacks + 1
    where = f"iteration {progress.iteration + 1}: losses are not finite numbers"
    if n_rollbacks >= MAX_ROLLBACKS:
        raise GfpError(f"{where}, {n_rollbacks} times: stopped; try a lower --set rate, or --set clip=1")
    before = load_state(run.folder / STATE, run.nets, optimizers, run.options)
    run.watch.note(f"{where}; back to iteration {before.iteration}, with other draws ahead")
    before.n_rollbacks = n_rollbacks
    return before


def check_quality(run: Run, board: Board, progress: Progress) -> None:
    """Validates the running mean, and keeps it where it is the best so far."""
    samples = run.held_out if run.held_out.faces else run.samples
    result = validate(run.nets.mean, samples, run.options.n_valid, run.device)
    board.validation(progress.iteration, result)
    run.watch.validation(progress.iteration, result)
    path = run.folder / "best.safetensors"
    if result.psnr > progress.best or not path.exists():
        progress.best = result.psnr
        save_weights(path, run.nets.mean, run.options, note=f"iteration {progress.iteration}, {result.psnr:.2f} dB")


def keep(run: Run, optimizers: Optimizers, progress: Progress) -> None:
    """The state and the last weights, by the first process."""
    if run.ranks.is_first:
        save_state(run.folder / STATE, run.nets, optimizers, progress, run.options)
        note = f"iteration {progress.iteration}"
        save_weights(run.folder / "last.safetensors", run.nets.mean, run.options, note=note)
    run.ranks.wait()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a question the loop asks after each iteration; the second one ends at once."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
