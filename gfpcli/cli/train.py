"""The commands of `gfp train`: a plan, a sheet of degradations, or a run and what is shown of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gfpcli.cli.console import tell
from gfpcli.cli.progress import BAR_WIDTH, tell_download
from gfpcli.cli.train_options import yaml_of
from gfpcli.errors import UsageError
from gfpcli.files.atomic import write_bytes
from gfpcli.files.locking import hold, lock_of, sweep
from gfpcli.train.build import choose_files, is_begun, load_run, open_samples
from gfpcli.train.distributed import World, join_world
from gfpcli.train.faces import CUT
from gfpcli.train.loop import TrainCallbacks, TrainingRun, Values, training_loop
from gfpcli.train.nets import make_nets
from gfpcli.train.options import TrainOptions
from gfpcli.train.prior_figure import FIGURE_TITLES
from gfpcli.train.run_log import GRIDS
from gfpcli.train.sources import open_source
from gfpcli.train.state import STATE, TrainProgress
from gfpcli.train.validate import Validated, contact_sheet

TIME_WIDTH = 14  # columns of the time left, with the spaces between


def run_train(
    data: Path, folder: Path, options: TrainOptions, *, device: str, offline: bool, is_fresh: bool, quiet: bool
) -> None:
    """Trains, or goes on with a run. Raises GfpError."""
    if not is_fresh:
        is_begun(folder, options)  # before anything is downloaded or written
    with ExitStack() as stack:
        world = stack.enter_context(join_world("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"))
        if not world.is_first:
            world.barrier()  # the first process downloads
        files = choose_files(options, offline=offline, progress=None if quiet else tell_download)
        if world.is_first:
            world.barrier()
            stack.enter_context(hold(*lock_of(folder, None)))
        world.barrier()
        callbacks = show_run(options, world, stack, quiet=quiet)
        run = load_run(
            data, folder, options, files, world, callbacks,
            device=device, is_fresh=is_fresh, detected=show_detection(stack, quiet=quiet),
        )  # fmt: skip
        world.barrier()  # all have read the faces, and write no file any more
        if world.is_first:
            sweep([folder, folder / CUT, folder / GRIDS])
            if is_fresh:
                (folder / STATE).unlink(missing_ok=True)
            write_bytes(folder / "options.yaml", yaml_of(options).encode())
            callbacks.note(
                f"{len(run.samples.faces)} faces to train on, {len(run.held_out.faces)} held out; {terms_of(options)}"
            )
            if not run.held_out.faces and options.stage != "prior":
                callbacks.note("no face is held out: validation looks at training faces")
        start = time.monotonic()
        progress = training_loop(run)
        minutes = (time.monotonic() - start) / 60
        if world.is_first:
            tell_end(run, progress, minutes)


def as_many_as_fit(start: str, words: Iterable[str], room: int) -> str:
    """A start with as many words behind it as `room` characters hold: what is longer would push the bar away."""
    for word in words:
        if len(start) + len(word) + 2 > room:
            break
        start = f"{start}  {word}"
    return start


def tell_end(run: TrainingRun, progress: TrainProgress, minutes: float) -> None:
    """Tells where the results are."""
    best = f"PSNR {progress.best:.2f} dB; gfp restore PHOTO --model {run.folder / 'best'}"
    if run.options.stage == "prior":
        best = f"{FIGURE_TITLES[run.options.figure]} {-progress.best:.4f}; gfp train --prior {run.folder / 'best'}"
    run.callbacks.note(
        f"{progress.iteration} iterations, {progress.n_images} images, {minutes:.1f} minutes; best {best}"
    )


def terms_of(options: TrainOptions) -> str:
    """The loss terms that are on, with their weights."""
    on = ", ".join(f"{name} {weight:g}" for name, weight in asdict(options.loss).items() if weight)
    return f"terms: {on}"


def tell_training_plan(data: Path, folder: Path, options: TrainOptions, *, is_fresh: bool) -> None:
    """Tells what a run would do, and writes nothing. Raises GfpError."""
    source = open_source(data, besides=folder)
    nets = make_nets(options, None, None)
    for name, net in nets.named().items():
        count = sum(weight.numel() for weight in net.parameters())
        if name != "g_ema" and count:
            tell(f"{name}: {count / 1e6:.2f} M parameters")
    n_images = options.iterations * options.batch_size * options.accumulate
    what = f"prior of {options.arch}" if options.stage == "prior" else options.arch
    tell(f"{len(source.names)} pictures in {data}; {what} at {options.size} px")
    tell(f"{options.iterations} iterations of {options.batch_size * options.accumulate}: {n_images} images")
    tell(terms_of(options))
    goes_on = not is_fresh and is_begun(folder, options)
    tell(f"{'goes on' if goes_on else 'begins'} in {folder}; nothing was written (--dry-run)")


def write_degradation_sheet(data: Path, folder: Path, options: TrainOptions, target: Path, *, quiet: bool) -> None:
    """Writes a contact sheet of faces and draws of their degradation. Raises GfpError."""
    if options.stage == "prior":
        raise UsageError("--preview-degradation: a prior is trained on faces as they are")
    if target.suffix.lower() != ".png":
        raise UsageError(f"--preview-degradation {target}: give a name that ends in .png")
    with ExitStack() as stack:
        told = show_detection(stack, quiet=quiet)
        samples, _ = open_samples(data, folder, options, None, World(), tell, told)
        write_bytes(target, cv2.imencode(".png", contact_sheet(samples))[1].tobytes())
    if not quiet:
        tell(f"{target}: a row for each face: itself, then draws of the degradation")


def show_detection(stack: ExitStack, *, quiet: bool) -> Callable[[int, int], None]:
    """Shows a bar on a terminal while faces are detected; elsewhere a line at the end."""
    console = Console(stderr=True)
    if quiet:
        return lambda done, n_all: None
    if not console.is_terminal:
        return lambda done, n_all: tell(f"looked at {done} pictures") if done == n_all else None
    bar = stack.enter_context(Bar(TextColumn("looking at pictures"), BarColumn(), MofNCompleteColumn(), console=console,
                                  transient=True))  # fmt: skip
    task = bar.add_task("looking", total=None)

    def told(done: int, n_all: int) -> None:
        bar.update(task, completed=done, total=n_all)
        if done == n_all:
            bar.stop()

    return told


def show_run(options: TrainOptions, world: World, stack: ExitStack, *, quiet: bool) -> TrainCallbacks:
    """Shows a bar with losses, faces/s and ETA on a terminal, lines elsewhere; only the first process speaks."""
    if not world.is_first:
        return TrainCallbacks(lambda progress, values: None, lambda iteration, result: None, lambda line: None)
    console = Console(stderr=True)
    bar: Bar | None = None
    if console.is_terminal and not quiet:
        columns = (TextColumn("{task.description}"), BarColumn(BAR_WIDTH), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Bar(*columns, console=console)
        task = bar.add_task("training", total=options.iterations)
        stack.callback(bar.stop)
    seen: list[tuple[float, int]] = []  # (time, images) of the last steps

    def line(text: str) -> None:
        if bar:
            bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not quiet:
            tell(text)

    def step(progress: TrainProgress, values: Values) -> None:
        seen.append((time.monotonic(), progress.n_images))
        del seen[:-50]
        rate = (seen[-1][1] - seen[0][1]) / max(seen[-1][0] - seen[0][0], 1e-9)
        if bar:
            bar.start()
            room = console.width - BAR_WIDTH - 2 * len(str(options.iterations)) - TIME_WIDTH
            words = [f"{name} {value:.3g}" for name, value in values.items()]
            shown = as_many_as_fit(f"{rate:.1f} faces/s", words, room)
            bar.update(task, completed=progress.iteration, description=shown)
        elif progress.iteration % options.log_every == 0 or progress.iteration == options.iterations:
            left = (options.iterations - progress.iteration) * (seen[-1][0] - seen[0][0]) / max(len(seen) - 1, 1)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            line(f"{progress.iteration}/{options.iterations}: {shown}; {rate:.1f} faces/s, {left / 60:.1f} min left")

    def validation(iteration: int, result: Validated) -> None:
        line(f"validation {iteration}: {result.told}")

    return TrainCallbacks(step, validation, line)
