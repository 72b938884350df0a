"""A run over many clips: each is restored, or gone on with, entered into the ledger, and its outcome is told."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import av

from gfpcli.clip.clip import Clip, ClipResult, RecordOutput, listed, open_clip, restore_clip
from gfpcli.clip.disk import check_room
from gfpcli.clip.inputs import plan_videos
from gfpcli.clip.preview import preview_names, write_preview
from gfpcli.clip.report import open_clip_report
from gfpcli.clip.segments import ClipWorkspace
from gfpcli.errors import InputError, OutputError, UsageError, failure_line
from gfpcli.files.atomic import os_errors_as, sha256_of, write_bytes
from gfpcli.files.folders import LeftOut
from gfpcli.files.formats import WRITTEN
from gfpcli.files.jobs import VideoJob, is_file_name
from gfpcli.files.ledger import Ledger, what_stands
from gfpcli.files.locking import check_inside, hold, lock_of, sweep
from gfpcli.memory import without_collecting
from gfpcli.options import VideoOptions
from gfpcli.photo.extras import about
from gfpcli.photo.label import Label, label_of, made_with
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import Stop
from gfpcli.types import ClipFacts, Listener, Outcome, OutcomeStatus
from gfpcli.weights.build import load_detector_for, load_restorer
from gfpcli.weights.cache import BUILTINS, licence_of
from gfpcli.weights.choose import Parts, choose_parts, fingerprint

FRAMES_MARK = ".gfp-frames"  # in a folder of kept frames: gfp made it


@dataclass(frozen=True, slots=True)
class OpenClip:
    """A clip that is to be restored, or gone on with."""

    job: VideoJob
    clip: Clip
    workspace: ClipWorkspace
    record_output: RecordOutput
    began: float  # by the monotonic clock


@dataclass(frozen=True, slots=True)
class ClipRun:
    """What the clips of a run have in common, and the steps of one clip: open, (restore), close."""

    options: VideoOptions
    root: Path  # folder of the outputs
    ledger: Ledger
    settings: str  # fingerprint of options and weights
    model_name: str
    restorer: Callable[[], Restorer]  # loaded when the first clip needs it
    label: Label | None = None  # of the outputs, before their faces are counted; None where none is wanted
    made_with: str = ""  # what the ledger tells of the run's settings

    def process(self, job: VideoJob, listener: Listener) -> Outcome:
        """Restores one clip on this machine, or goes on with it."""
        with self.failing(job) as failed:
            listener.frames(job.source, 0, 0, 0)
            if self.options.preview:
                return self.preview(job)
            opened = self.open(job, listener)
            if isinstance(opened, Outcome):
                return opened
            watch = partial(listener.frames, job.source)
            restorer = self.restorer()
            done = restore_clip(opened.clip, restorer, opened.workspace, watch, opened.record_output)
            return replace(self.close(opened, done), computed_in=restorer.computes_in if done.n_faces else "")
        return failed[0]

    @contextmanager
    def failing(self, job: VideoJob) -> Iterator[list[Outcome]]:
        """Turns any error of one clip into its outcome, put into the list: the others go on."""
        failed: list[Outcome] = []
        try:
            yield failed
        except Exception as error:
            failed.append(self.failed(job, failure_line(job.source, error)))

    def failed(self, job: VideoJob, reason: str) -> Outcome:
        """The outcome of a clip without an output."""
        return replace(self.outcome(job, "failed"), output=None, error=reason)

    def preview(self, job: VideoJob) -> Outcome:
        """Writes a strip and a short clip instead of the whole. Raises GfpError."""
        for path in () if self.options.force else preview_names(job.target):
            self.ledger.check_ours(path)
        digest = digest_of(job)
        strip, short = write_preview(
            self.clip_of(job), self.restorer(), lambda path, made: self.recorder(job, path, digest)(made)
        )
        notes = (f"side by side: {short}",)
        return replace(self.outcome(job, "previewed"), output=str(strip), notes=notes, clip=ClipFacts())

    def open(self, job: VideoJob, listener: Listener) -> OpenClip | Outcome:
        """A clip that is to be restored; the outcome of one that is done. Raises GfpError."""
        began = time.monotonic()
        check_inside(self.root, job.target)
        digest = digest_of(job)
        if not self.options.force and (reason := what_stands(self.ledger, job.target, digest, self.settings)):
            return replace(self.outcome(job, "skipped"), notes=(reason,))
        clip = self.clip_of(job)
        if self.options.frames_dir:
            claim_frames_folder(Path(self.options.frames_dir) / clip.target.stem, is_forced=self.options.force)
        workspace = ClipWorkspace(job.target, f"{digest} {self.settings} {av.__version__}", is_fresh=self.options.force)
        if room := check_room(clip, job.target.parent, workspace.n_bytes):
            listener.warn(room)
        return OpenClip(job, clip, workspace, self.recorder(job, job.target, digest), began)

    def clip_of(self, job: VideoJob) -> Clip:
        """The source examined, its encoder chosen, and its label known but for the faces. Raises GfpError."""
        return replace(open_clip(job, self.options), label=self.label)

    def recorder(self, job: VideoJob, path: Path, digest: str) -> RecordOutput:
        """What enters an output of a job into the ledger, whose source has the hash `digest`."""
        return partial(
            self.ledger.add, path, digest, self.settings, source=str(job.source), made_with=self.made_with
        )

    def close(self, opened: OpenClip, done: ClipResult) -> Outcome:
        """The outcome of a clip that has its name; its work folder goes. Faces that failed are an error."""
        opened.workspace.clear()
        job, seconds = opened.job, time.monotonic() - opened.began
        height, width = done.size
        flicker = None if done.flicker is None else round(done.flicker, 4)
        return replace(
            self.outcome(job, "restored" if done.n_faces + done.n_left else "no_face"), width=width, height=height,
            seconds=round(seconds, 3),
            error=f"{job.source}: {failed_line(done)}" if done.n_failed else None,
            notes=done.notes, clip=ClipFacts(done.n_frames, done.n_faces, flicker, round(done.n_frames / seconds, 2)),
        )  # fmt: skip

    def outcome(self, job: VideoJob, status: OutcomeStatus) -> Outcome:
        """An outcome without frames."""
        scale = self.options.scale
        return Outcome(str(job.source), str(job.target), status, scale, self.model_name, clip=ClipFacts())


def failed_line(done: ClipResult) -> str:
    """How many faces failed, and when they are shown, as far as that is known."""
    told = f"{done.n_failed} faces failed and were left alone"
    return f"{told}: at {listed([f'{at:.2f} s' for at in done.failed_at])}" if done.failed_at else told


def claim_frames_folder(folder: Path, *, is_forced: bool) -> None:
    """Marks a folder of `--frames-dir` as gfp's.

    Raises:
        OutputError: it holds files and gfp did not make it, or it cannot be written.
    """
    mark = folder / FRAMES_MARK
    with os_errors_as(OutputError, folder):
        if not is_forced and folder.is_dir() and any(folder.iterdir()) and not mark.is_file():
            raise OutputError(
                f"{folder}: holds files and is not gfp's: choose another --frames-dir, empty it, or --force"
            )
    write_bytes(mark, b"gfp video --frames-dir writes its frames here and replaces those of an earlier run\n")


def digest_of(job: VideoJob) -> str:
    """A hash of the input's content; for a folder of frames of all of them. Raises InputError."""
    with os_errors_as(InputError, job.source):
        if not job.pictures:
            return sha256_of(job.source)
        return hashlib.sha256("".join(sha256_of(path) for path in job.pictures).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """The inputs of a run and their outputs, known before work starts."""

    jobs: list[VideoJob]
    root: Path  # folder of the outputs
    file: Path | None  # the output, where `--output` names one file
    left_out: LeftOut = LeftOut()


def plan_clips(inputs: list[str], output: Path, options: VideoOptions) -> ClipPlan:
    """Finds the inputs.

    Raises:
        InputError, UsageError, OutputError: as `plan_videos`, or the output folder cannot be read.
    """
    is_file = is_file_name(output, WRITTEN)
    root = output.parent if is_file else output
    jobs, left_out = plan_videos(
        inputs, output, added=options.suffix, made=Ledger(root).outputs(), takes_hidden=options.hidden
    )
    return ClipPlan(jobs, root, output if is_file else None, left_out)


ClipEngine: TypeAlias = Callable[[ClipRun, list[VideoJob], Parts, Listener, Callable[[Outcome], None]], None]
"""Restores the jobs of a run, on this machine or others, and emits what became of each. Raises what `emit` raises."""


def restore_clips_here(
    run: ClipRun, jobs: list[VideoJob], parts: Parts, listener: Listener, emit: Callable[[Outcome], None]
) -> None:
    """The `ClipEngine` of this machine."""
    for job in jobs:
        emit(run.process(job, listener))


def restore_clips(
    plan: ClipPlan, options: VideoOptions, listener: Listener, *, engine: ClipEngine = restore_clips_here,
    report_to: Path | None = None,
) -> None:  # fmt: skip
    """Restores all it can of a plan; with `fail_fast` up to the first failure.

    Args:
        report_to: the HTML page to write.

    Raises:
        GfpError: nothing could be started.
    """
    check_no_source(plan.jobs, options)
    parts = choose_parts(options, warn=listener.warn, progress=listener.download)
    restorer = cache(without_collecting()(lambda: load_restorer(options, parts, warn=listener.warn)))

    # on the CPU, and without the networks that restore: the machine that starts a cluster needs no GPU
    detector = cache(lambda: load_detector_for(options, parts.detector or BUILTINS["builtin"]))
    licence = licence_of(parts.model)

    def emit(outcome: Outcome) -> None:
        listener.outcome(replace(outcome, licence=licence))
        if report:
            report.add(outcome, detector)
        if options.fail_fast and outcome.error:
            raise Stop

    report = None
    with ExitStack() as stack:
        stack.enter_context(hold(*lock_of(plan.root, plan.file)))
        if report_to:
            shown = options.start, options.end
            page = open_clip_report(report_to, about(options, parts), shown, len(plan.jobs), is_forced=options.force)
            report = stack.enter_context(page)
        # beside a single file others may be writing
        sweep((job.target.parent for job in plan.jobs), plan.file.name if plan.file else None)
        if options.frames_dir:
            sweep(Path(options.frames_dir) / job.target.stem for job in plan.jobs)
        label = label_of(parts, options)
        run = ClipRun(
            options, plan.root, Ledger(plan.root), fingerprint(options, parts), parts.model_name, restorer,
            label if options.label else None, made_with(label, options),
        )  # fmt: skip
        listener.begin(len(plan.jobs))
        with suppress(Stop):
            engine(run, plan.jobs, parts, listener, emit)


def check_no_source(jobs: list[VideoJob], options: VideoOptions) -> None:
    """Raises UsageError where frames that are kept, or a preview, would replace an input."""
    sources = {os.path.realpath(path) for job in jobs for path in (job.source, *job.pictures)}
    for job in jobs:
        made = list(preview_names(job.target)) if options.preview else []
        if options.frames_dir:
            made.append(Path(options.frames_dir) / job.target.stem)
        for path in made:
            if os.path.realpath(path) in sources:
                raise UsageError(f"{path} is an input: choose another --frames-dir or --output")
