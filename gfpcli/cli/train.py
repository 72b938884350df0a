"""The body of `gfp train`: options to a plan or a run, and what is shown while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import cv2
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gfpcli.cli.console import tell
from gfpcli.cli.progress import tell_download
from gfpcli.errors import UsageError
from gfpcli.files.atomic import write_bytes
from gfpcli.files.locking import hold, lock_of, sweep
from gfpcli.train.build import choose_files, load_run, open_samples
from gfpcli.train.distributed import Ranks, join_ranks
from gfpcli.train.faces import CUT
from gfpcli.train.loop import Run, Values, Watch, train
from gfpcli.train.nets import make_nets
from gfpcli.train.options import TrainOptions
from gfpcli.train.run_log import GRIDS
from gfpcli.train.sources import open_source
from gfpcli.train.state import STATE, Progress, plain
from gfpcli.train.validate import Validation, contact_sheet


def run_train(
    data: Path, folder: Path, options: TrainOptions, *, device: str, offline: bool, is_fresh: bool, quiet: bool
) -> None:
    """Trains, or goes on. Raises GfpError."""
    with ExitStack() as stack:
        ranks = stack.enter_context(join_ranks("cpu" if device == "cpu" else "cuda" if _has_cuda() else "cpu"))
        if not ranks.is_first:
            ranks.wait()  # the first process downloads
        files = choose_files(options, offline=offline, progress=None if quiet else tell_download)
        if ranks.is_first:
            ranks.wait()
        if ranks.is_first:
            stack.enter_context(hold(*lock_of(folder, None)))
            sweep([folder, folder / CUT, folder / GRIDS])
        if is_fresh and ranks.is_first:
            (folder / STATE).unlink(missing_ok=True)
        ranks.wait()
        watch = show_run(options, ranks, stack, quiet=quiet)
        run = load_run(
            data, folder, options, files, ranks, watch, device=device, looked=show_looking(stack, quiet=quiet)
        )
        if ranks.is_first:
            write_bytes(folder / "options.yaml", yaml.safe_dump(plain(asdict(options)), sort_keys=False).encode())
            watch.note(
                f"{len(run.samples.faces)} faces to train on, {len(run.held_out.faces)} held out; {terms_of(options)}"
            )
            if not run.held_out.faces:
                watch.note("no face is held out: validation looks at training faces")
        start = time.monotonic()
        progress = train(run)
        minutes = (time.monotonic() - start) / 60
        if ranks.is_first:
            tell_end(run, progress, minutes)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def tell_end(run: Run, progress: Progress, minutes: float) -> None:
    """Where the results are."""
    run.watch.note(
        f"{progress.iteration} iterations, {progress.n_images} images, {minutes:.1f} minutes; "
        f"best PSNR {progress.best:.2f} dB; gfp restore PHOTO --model {run.folder / 'best'}"
    )


def terms_of(options: TrainOptions) -> str:
    """The terms that are on, with their weights."""
    on = ", ".join(f"{name} {weight:g}" for name, weight in asdict(options.loss).items() if weight)
    return f"terms: {on}"


def tell_plan(data: Path, folder: Path, options: TrainOptions) -> None:
    """What a run would do; writes nothing. Raises GfpError."""
    source = open_source(data, besides=folder)
    nets = make_nets(options, None, None)
    for name, net in nets.named().items():
        if name != "mean":
            count = sum(weight.numel() for weight in net.parameters())
            tell(f"{name}: {count / 1e6:.2f} M parameters")
    n_images = options.iterations * options.batch_size * options.accumulate
    tell(f"{len(source.names)} pictures in {data}; {options.arch} at {options.size} px")
    tell(f"{options.iterations} iterations of {options.batch_size * options.accumulate}: {n_images} images")
    tell(terms_of(options))
    is_begun = (folder / STATE).exists()
    tell(f"{'goes on' if is_begun else 'begins'} in {folder}; nothing was written (--dry-run)")


def write_preview(data: Path, folder: Path, options: TrainOptions, target: Path, *, quiet: bool) -> None:
    """A contact sheet of faces and draws of their degradation. Raises GfpError."""
    if target.suffix.lower() != ".png":
        raise UsageError(f"--preview-degradation {target}: give a name that ends in .png")
    with ExitStack() as stack:
        told = show_looking(stack, quiet=quiet)
        samples, _ = open_samples(data, folder, options, None, Ranks(), tell, told)
        write_bytes(target, cv2.imencode(".png", contact_sheet(samples))[1].tobytes())
    if not quiet:
        tell(f"{target}: a row for each face: itself, then draws of the degradation")


def show_looking(stack: ExitStack, *, quiet: bool) -> Callable[[int, int], None]:
    """A bar on a terminal while pictures are looked at; else a line at the end."""
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


def show_run(options: TrainOptions, ranks: Ranks, stack: ExitStack, *, quiet: bool) -> Watch:
    """A live bar with terms, faces/s and ETA on a terminal, plain lines without one; other processes are silent."""
    if not ranks.is_first:
        return Watch(lambda progress, values: None, lambda iteration, result: None, lambda line: None)
    console = Console(stderr=True)
    bar: Bar | None = None
    if console.is_terminal and not quiet:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Bar(*columns, console=console)
        task = bar.add_task("training", total=options.iterations)
        stack.callback(bar.stop)
    seen: list[tuple[float, int]] = []  # (time, images) of the last steps

    def line(text: str) -> None:
        if bar:
            bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not quiet:
            tell(text)

    def step(progress: Progress, values: Values) -> None:
        seen.append((time.monotonic(), progress.n_images))
        del seen[:-50]
        rate = (seen[-1][1] - seen[0][1]) / max(seen[-1][0] - seen[0][0], 1e-9)
        if bar:
            bar.start()
            shown = "  ".join(f"{name} {values[name]:.3g}" for name in list(values)[:5])
            bar.update(task, completed=progress.iteration, description=f"{rate:.1f} faces/s  {shown}")
        elif progress.iteration % options.log_every == 0 or progress.iteration == options.iterations:
            left = (options.iterations - progress.iteration) * (seen[-1][0] - seen[0][0]) / max(len(seen) - 1, 1)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            line(f"{progress.iteration}/{options.iterations}: {shown}; {rate:.1f} faces/s, {left / 60:.1f} min left")

    def validation(iteration: int, result: Validation) -> None:
        line(
            f"validation {iteration}: PSNR {result.before[0]:.2f} -> {result.psnr:.2f} dB, SSIM {result.before[1]:.4f} "
            f"-> {result.ssim:.4f}, NIQE {result.before[2]:.2f} -> {result.niqe:.2f}"
        )

    return Watch(step, validation, line)
