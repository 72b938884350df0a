"""The training loop. `training_loop` reads top to bottom; what it calls follows in the same order."""

from __future__ import annotations

import hashlib
import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from gfpcli.errors import GfpError, InputError
from gfpcli.train.data import Batch, BatchSampler, FaceDataset, collate
from gfpcli.train.distributed import World
from gfpcli.train.losses import ema_decay_of
from gfpcli.train.nets import Nets, generator_groups, update_ema
from gfpcli.train.objective import Phases, Terms
from gfpcli.train.options import TrainOptions
from gfpcli.train.run_log import RunLog, open_run_log
from gfpcli.train.state import (
    STATE,
    Optimizers,
    RunFacts,
    TrainProgress,
    apply_state,
    changes_of,
    load_state,
    read_training_state,
    save_state,
    save_weights,
    score_of,
    set_rng,
)
from gfpcli.train.validate import Validated

MAX_ROLLBACKS = 3
BEST = "best.safetensors"
BETA2, BETA2_DISCRIMINATOR, BETAS_COMPONENTS = 0.99, 0.9905, (0.9, 0.99)  # of Adam, as upstream
BETAS_PROJECTED = (0.0, 0.99)  # as in Projected GANs
Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class TrainCallbacks:
    """What is called after each iteration, after each validation, and with each message."""

    step: Callable[[TrainProgress, Values], None]
    validation: Callable[[int, Validated], None]
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Everything that a run needs; training changes the networks only."""

    options: TrainOptions
    folder: Path
    samples: FaceDataset
    held_out: FaceDataset
    nets: Nets
    objective: Phases
    device: torch.device
    world: World
    callbacks: TrainCallbacks


def training_loop(run: TrainingRun) -> TrainProgress:
    """Trains from the start, or from the state in the run's folder, to the last iteration.

    Raises:
        GfpError: a file that cannot be read or written, a state that does not fit, or losses that stay not finite.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    options, nets, objective, world = run.options, run.nets, run.objective, run.world
    optimizers = make_optimizers(options, nets)
    progress = begin(run, optimizers)
    log = open_run_log(run.folder, progress.iteration) if world.is_first else None
    n_images = options.batch_size * options.accumulate * world.world_size  # in each iteration
    loader = load_batches(run, progress)
    with stop_on_interrupt() as is_stopped:
        while progress.iteration < options.iterations:
            iteration = progress.iteration
            batches = next(loader)  # the micro-batches of this iteration
            set_rates(optimizers, options, iteration)
            sums: Terms = {}

            # G main and G path length: the generator against frozen discriminators
            set_trainable(nets.discriminators(), False)
            optimizers["generator"].zero_grad()
            fakes = []
            for batch in batches:
                fake, terms, measured = objective.generator_main(batch, iteration)  # (N, 3, S, S)
                if objective.is_path_regularised(iteration):
                    penalty, lengths = objective.generator_path_length(batch)
                    terms, measured = terms | penalty, measured | lengths
                loss = torch.stack(list(terms.values())).sum() / len(batches)
                loss.backward()
                fakes.append(fake.detach())
                add_terms(sums, terms | measured, len(batches))
            world.average_gradients(nets.generator)
            if options.clip:
                nn.utils.clip_grad_norm_(nets.generator.parameters(), options.clip)
            optimizers["generator"].step()

            # D main and D R1: the discriminators on true faces and on the faces that the generator made above
            if objective.is_adversarial(iteration):
                set_trainable(nets.discriminators(), True)
                for name in optimizers.keys() - {"generator"}:
                    optimizers[name].zero_grad()
                for batch, fake in zip(batches, fakes, strict=True):
                    terms, measured = objective.discriminator_main(fake, batch)
                    if objective.is_regularised(iteration):
                        terms |= objective.discriminator_r1(batch)
                    loss = torch.stack(list(terms.values())).sum() / len(batches)
                    loss.backward()
                    add_terms(sums, terms | measured, len(batches))
                for discriminator in nets.discriminators():
                    world.average_gradients(discriminator)
                for name in optimizers.keys() - {"generator"}:
                    optimizers[name].step()

            # G EMA: the moving average of the generator
            update_ema(nets.g_ema, nets.generator, ema_decay_at(iteration, n_images, options))

            values = mean_values(sums, world)
            if not all(math.isfinite(value) for value in values.values()):
                progress = roll_back(run, optimizers, progress)
                loader = load_batches(run, progress)
                log = log and log.rewind(progress.iteration)
                continue
            objective.follow(values, n_images)
            progress.iteration += 1
            progress.n_images += n_images

            is_last = progress.iteration == options.iterations
            if log:
                log.step(iteration, values, is_logged=is_last or progress.iteration % options.log_every == 0)
                run.callbacks.step(progress, values)
                if is_last or progress.iteration % options.validate_every == 0:
                    evaluate_ema(run, log, progress)
            must_stop = world.any(is_stopped())
            if is_last or must_stop or progress.iteration % options.save_every == 0:
                save(run, optimizers, progress)
            if must_stop:
                raise KeyboardInterrupt
    if log:
        log.close()
    return progress


def begin(run: TrainingRun, optimizers: Optimizers) -> TrainProgress:
    """Resumes from the state in the folder. A fresh run saves one first, so that it can roll back.

    The first process decides for all: another one that comes late may find the state that the first is writing.
    """
    path = run.folder / STATE
    if run.world.broadcast_flag(path.exists()):
        content = read_training_state(path)
        progress = apply_state(path, content, run.nets, optimizers, run.options)
        progress.best = max(progress.best, score_of(run.folder / BEST))  # a killed run may have saved a better one
        set_rng(progress.rng)
        for line in changes_of(content, run.options, facts_of(run)):
            run.callbacks.note(line)
        run.callbacks.note(f"going on after iteration {progress.iteration} of {run.options.iterations}")
        return progress
    run.world.broadcast_weights(run.nets.named().values())
    progress = TrainProgress()
    if run.world.is_first:
        save_state(path, run.nets, optimizers, progress, run.options, facts_of(run))
    run.world.barrier()
    return progress


def facts_of(run: TrainingRun) -> RunFacts:
    """What the run computes with besides its options."""
    faces = [(face.name, face.landmarks) for part in (run.samples, run.held_out) for face in part.faces]
    digest = hashlib.sha256(json.dumps(faces).encode()).hexdigest()
    return RunFacts(digest, len(faces), run.world.world_size)


def load_batches(run: TrainingRun, progress: TrainProgress) -> Iterator[list[Batch]]:
    """The micro-batches of each coming iteration, on the device.

    Raises:
        InputError: a picture cannot be read any more.
    """
    options = run.options
    samples = replace(run.samples, salt=progress.n_rollbacks)
    first, last = (at * options.accumulate for at in (progress.iteration, options.iterations))
    sampler = BatchSampler(samples, options.batch_size, first, last, run.world.rank, run.world.world_size)
    loader: DataLoader[Batch | InputError] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=sampler, collate_fn=collate, num_workers=options.workers, worker_init_fn=_init_worker,
        generator=torch.Generator(),  # its own: the loader must not advance the generator whose state is saved
    )  # fmt: skip
    batches: list[Batch] = []
    for drawn in loader:
        if isinstance(drawn, InputError):
            raise drawn
        batches.append(drawn.to(run.device))
        if len(batches) == options.accumulate:
            yield batches
            batches = []


def _init_worker(worker: int) -> None:
    """Ctrl-C is left to the training process, which ends its iteration and saves; its workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def make_optimizers(options: TrainOptions, nets: Nets) -> Optimizers:
    """Adam for the generator, the whole-face discriminator, those of the components, and the projected one."""
    found = {
        "generator": torch.optim.Adam(generator_groups(nets.generator), options.rate, (options.beta1, BETA2))
    }
    if nets.discriminator is not None:
        betas = (0.0, BETA2_DISCRIMINATOR)
        found["discriminator"] = torch.optim.Adam(nets.discriminator.parameters(), options.rate_d, betas)
    if nets.components:
        found["components"] = torch.optim.Adam(nets.components.parameters(), options.rate_d, BETAS_COMPONENTS)
    if nets.projected is not None:
        found["projected"] = torch.optim.Adam(nets.projected.parameters(), options.rate_projected, BETAS_PROJECTED)
    return found


def set_rates(optimizers: Optimizers, options: TrainOptions, iteration: int) -> None:
    """Sets the learning rates of an iteration; a group of weights may have a share of it."""
    rates = {"generator": options.rate, "projected": options.rate_projected}
    for name, optimizer in optimizers.items():
        rate = rates.get(name, options.rate_d)
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(options, iteration) * group.get("share", 1.0)


def rate_factor(options: TrainOptions, iteration: int) -> float:
    """Factor of the learning rates: warm-up, then halvings, or a cosine that ends at 0."""
    factor = min(1.0, (iteration + 1) / (options.warmup + 1))
    if options.cosine:
        return factor * (0.5 + 0.5 * math.cos(math.pi * min(1.0, iteration / options.iterations)))
    return factor * 0.5 ** sum(iteration >= milestone for milestone in options.milestones)


def set_trainable(nets: Iterator[nn.Module], is_trainable: bool) -> None:
    """Whether gradients are computed for the networks' weights."""
    for net in nets:
        net.requires_grad_(is_trainable)


def ema_decay_at(iteration: int, n_images: int, options: TrainOptions) -> float:
    """Decay of the moving average: smaller in the first iterations, so that the random start is soon forgotten."""
    warm_up = (1 + iteration) / (10 + iteration)
    return min(warm_up, ema_decay_of(n_images, options.ema))


def add_terms(sums: Terms, terms: Terms, n_batches: int) -> None:
    """Adds one micro-batch's terms to their means over the iteration."""
    for name, value in terms.items():
        sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / n_batches


def mean_values(sums: Terms, world: World) -> Values:
    """The terms' means over the processes; `psnr` in dB replaces `mse`, the error of images in [-1, 1]."""
    values = dict(zip(sums, world.mean(torch.stack(list(sums.values()))).tolist(), strict=True))
    if "mse" in values:
        values["psnr"] = -10 * math.log10(max(values.pop("mse") / 4, 1e-12))
    return values


def roll_back(run: TrainingRun, optimizers: Optimizers, progress: TrainProgress) -> TrainProgress:
    """Loads the last saved state after losses that are not finite; the coming draws are others than before.

    Raises:
        GfpError: for the MAX_ROLLBACKS-th time.
    """
    n_rollbacks = progress.n_rollbacks + 1
    where = f"iteration {progress.iteration + 1}: losses are not finite numbers"
    if n_rollbacks >= MAX_ROLLBACKS:
        raise GfpError(f"{where}, {n_rollbacks} times: stopped; try a lower --set rate, or --set clip=1")
    before = load_state(run.folder / STATE, run.nets, optimizers, run.options)
    run.callbacks.note(f"{where}; back to iteration {before.iteration}, with other draws ahead")
    before.n_rollbacks = n_rollbacks
    before.best = max(before.best, progress.best)  # best.safetensors stays: it is no part of what is rolled back
    return before


def evaluate_ema(run: TrainingRun, log: RunLog, progress: TrainProgress) -> None:
    """Validates the moving average, and saves it where its score is the best so far."""
    samples = run.held_out if run.held_out.faces else run.samples
    result = run.objective.validate(samples, run.device)
    log.validation(progress.iteration, result)
    run.callbacks.validation(progress.iteration, result)
    path = run.folder / BEST
    if result.score > progress.best or not path.exists():
        progress.best = result.score
        note = f"iteration {progress.iteration}, {result.told_score}"
        save_weights(path, run.nets.g_ema, run.options, note=note, score=result.score)


def save(run: TrainingRun, optimizers: Optimizers, progress: TrainProgress) -> None:
    """Saves the state and the weights of the moving average; only the first process writes."""
    if run.world.is_first:
        save_state(run.folder / STATE, run.nets, optimizers, progress, run.options, facts_of(run))
        note = f"iteration {progress.iteration}"
        save_weights(run.folder / "last.safetensors", run.nets.g_ema, run.options, note=note)
    run.world.barrier()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed; a second Ctrl-C interrupts at once."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
