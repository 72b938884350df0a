"""The body of `gfp restore`: words to a run over photos, on this machine or a cluster, and what is shown of it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gfpcli.cli.console import tell
from gfpcli.cli.progress import RunView, Tally, next_steps, tell_files_left_out
from gfpcli.errors import InputError, UsageError
from gfpcli.files.storage import is_remote, is_url, place_of
from gfpcli.options import RestoreOptions
from gfpcli.photo.batch import PhotoEngine, PhotoPlan, plan_photos, restore_photos, restore_photos_here
from gfpcli.photo.codec import MAX_BYTES
from gfpcli.photo.report import check_report_path
from gfpcli.types import Outcome


def run_restore(
    inputs: list[str], output_word: str, options: RestoreOptions, json_to: str | None, report_word: str | None, *,
    began: float, quiet: bool,
) -> int:  # fmt: skip
    """Restores all it can; gives the number of inputs that failed.

    Args:
        output_word: path or URL, `-` for stdout.
        began: when the command began, by the monotonic clock.

    Raises:
        GfpError: nothing could be started.
    """
    report_to = _report_path(report_word, options)
    engine = _photo_engine(options)
    stdin = _read_stdin(options, report_to) if inputs == ["-"] else None
    is_to_stdout = output_word == "-"
    if is_to_stdout:
        _check_stdout(inputs, options)
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="gfp-")) if is_to_stdout else output_word
        plan = plan_photos(inputs, place_of(folder), options, stdin)
        if options.dry_run:
            _dry_run(plan, options, began)
            return 0
        tally = Tally(review_below=options.review_below)
        view = RunView(json_to, quiet, options.force, is_stdout_taken=is_to_stdout, tally=tally)
        _restore(plan, options, view, engine, report_to)
    return view.tally.n_failed


def _restore(
    plan: PhotoPlan, options: RestoreOptions, view: RunView, engine: PhotoEngine, report_to: Path | None
) -> None:
    """The run, and its totals as the last line."""
    where = "" if view.is_stdout_taken else f"; results in {plan.root}"
    with view.listening() as listener:
        show = listener.outcome
        if view.is_stdout_taken:
            listener = replace(listener, outcome=lambda outcome: show(_to_stdout(outcome)))
        try:
            restore_photos(plan, options, listener, engine=engine, report_to=report_to)
        except KeyboardInterrupt:
            tell(f"{view.tally.line()}{where}")
            raise
    if not view.is_quiet:
        tell_files_left_out(plan.left_out)
        if options.review_below:
            tell(view.tally.review_line())
        tell(f"{view.tally.line()}{where}" + (f", report in {report_to}" if report_to else ""))
        if view.is_on_terminal:
            for step in next_steps(view.tally, report_to):
                tell(step)


def _report_path(word: str | None, options: RestoreOptions) -> Path | None:
    """Raises UsageError and OutputError as `check_report_path`."""
    if not word:
        return None
    if is_url(word):
        raise UsageError(f"--report {word}: is written on this machine; give a path")
    check_report_path(Path(word), is_forced=options.force)
    return Path(word)


def _photo_engine(options: RestoreOptions) -> PhotoEngine:
    """What restores the photos. Raises EngineError where Ray is not installed."""
    if options.engine != "ray":
        return restore_photos_here
    from gfpcli.cluster.photos import restore_photos_on_cluster
    from gfpcli.cluster.pool import import_ray

    import_ray()  # said before any work that it is missing
    return restore_photos_on_cluster


def _read_stdin(options: RestoreOptions, report_to: Path | None) -> bytes:
    """The picture that comes by stdin.

    Raises:
        UsageError: a flag that is for files.
        InputError: it is larger than any picture.
    """
    flags = {"report": report_to, "dry-run": options.dry_run, "engine ray": options.engine == "ray"}
    if flag := next((name for name, is_given in flags.items() if is_given), None):
        raise UsageError(f"--{flag} is for files, not for stdin")
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"stdin: more than {MAX_BYTES / 1e9:.1f} GB, larger than any picture")
    return data


def _check_stdout(inputs: list[str], options: RestoreOptions) -> None:
    """Raises UsageError for what stdout cannot hold."""
    if inputs != ["-"]:
        raise UsageError("-o - takes its image from stdin: gfp restore - -o -")
    if options.save:
        raise UsageError("--save keeps files: give -o a folder, not -")


def _to_stdout(outcome: Outcome) -> Outcome:
    """Writes the output's bytes to stdout, where there are any."""
    if not outcome.output:
        return outcome
    sys.stdout.buffer.write(Path(outcome.output).read_bytes())
    sys.stdout.buffer.flush()
    return replace(outcome, output="-")


def _dry_run(plan: PhotoPlan, options: RestoreOptions, began: float) -> None:
    if is_remote(plan.root) or any(is_remote(job.source) for job in plan.jobs):
        raise UsageError("--dry-run looks into every input: it is for files of this machine, not for URLs")
    from gfpcli.cli.plan import tell_plan  # it loads torch, to ask for a GPU's memory

    tell_plan(plan.jobs, plan.root, options, began)
    tell_files_left_out(plan.left_out)
