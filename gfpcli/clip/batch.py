"""A run over many clips: inputs to outputs, and what is told of each."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import av

from gfpcli.cli.console import tell
from gfpcli.cli.output import json_line, json_sink
from gfpcli.cli.progress import Begin, Record, show_clips, tell_download
from gfpcli.clip.clip import Claim, Clip, Done, Watch, restore_clip
from gfpcli.clip.encode import choose_encoder
from gfpcli.clip.inputs import plan_videos
from gfpcli.clip.preview import preview_names, write_preview
from gfpcli.clip.read import VideoInfo, frames_info, probe
from gfpcli.clip.segments import Work
from gfpcli.cluster.pool import import_ray
from gfpcli.errors import GfpError, InputError, UsageError
from gfpcli.files.atomic import os_errors_as, sha256_of
from gfpcli.files.formats import CONTAINERS
from gfpcli.files.jobs import VideoJob, is_file_name
from gfpcli.files.ledger import Ledger, what_stands
from gfpcli.files.locking import check_inside, hold, lock_of, sweep
from gfpcli.files.storage import is_url, local_word, place_of
from gfpcli.memory import is_out_of_memory
from gfpcli.options import VideoOptions
from gfpcli.photo.codec import read_frame
from gfpcli.pipeline.restorer import Restorer
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import Parts, choose_parts, fingerprint


@dataclass(frozen=True, slots=True)
class Opened:
    """A clip that is to be restored, or gone on with."""

    job: VideoJob
    clip: Clip
    work: Work
    claim: Claim
    began: float  # by the monotonic clock


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run needs; the work goes clip by clip."""

    options: VideoOptions
    root: Path  # folder of the outputs
    ledger: Ledger
    settings: str
    model_name: str
    restorer: Callable[[], Restorer]  # loaded when the first clip needs it

    def process(self, job: VideoJob, watch: Watch) -> Record:
        """Restores one clip, or goes on with it. What goes wrong is told in its record."""
        with self.failing(job) as failed:
            if self.options.preview:
                clip = open_clip(job, self.options)
                strip, short = write_preview(clip, self.restorer())
                return {**self.record(job, "previewed"), "output": str(strip), "notes": [f"side by side: {short}"]}
            opened = self.open(job)
            if not isinstance(opened, Opened):
                return opened
            return self.close(opened, restore_clip(opened.clip, self.restorer(), opened.work, watch, opened.claim))
        return failed[0]

    @contextmanager
    def failing(self, job: VideoJob) -> Iterator[list[Record]]:
        """Turns what goes wrong with one clip into its record: the other clips are restored."""
        failed: list[Record] = []
        try:
            yield failed
        except Exception as error:
            failed.append(self.record(job, "failed", reason_of(job.source, error)))

    def open(self, job: VideoJob) -> Opened | Record:
        """A clip that is to be restored; the record of one that is done. Raises GfpError."""
        began = time.monotonic()
        check_inside(self.root, job.target)
        digest = digest_of(job)
        if not self.options.force and (reason := what_stands(self.ledger, job.target, digest, self.settings)):
            return {**self.record(job, "skipped"), "note": reason}
        clip = open_clip(job, self.options)
        work = Work(job.target, f"{digest} {self.settings} {av.__version__}", is_fresh=self.options.force)
        return Opened(job, clip, work, partial(self.ledger.add, job.target, digest, self.settings), began)

    def close(self, opened: Opened, done: Done) -> Record:
        """The record of a clip that has its name; its work folder goes."""
        opened.work.clear()
        return self.record_of(opened.job, opened.clip, done, time.monotonic() - opened.began)

    def record_of(self, job: VideoJob, clip: Clip, done: Done, seconds: float) -> Record:
        """The JSON record of a finished clip. Faces that failed keep the clip's pixels and make the error."""
        told = f"{job.source}: {done.n_failed} faces failed and were left alone" if done.n_failed else None
        height, width = (round(edge * self.options.scale) for edge in clip.info.size)
        return {
            **self.record(job, "restored" if done.n_faces else "no_face", told),
            "n_frames": done.n_frames, "n_faces": done.n_faces, "width": width, "height": height,
            "flicker": None if done.flicker is None else round(done.flicker, 4),
            "seconds": round(seconds, 3), "fps": round(done.n_frames / seconds, 2), "notes": list(done.notes),
        }  # fmt: skip

    def record(self, job: VideoJob, status: str, error: str | None = None) -> Record:
        """A record without frames."""
        return {
            "input": str(job.source), "output": None if status == "failed" else str(job.target), "status": status,
            "n_frames": 0, "n_faces": 0, "width": None, "height": None, "scale": self.options.scale,
            "model": self.model_name, "flicker": None, "seconds": 0.0, "fps": None, "notes": [], "error": error,
        }  # fmt: skip


def reason_of(source: Path, error: Exception) -> str:
    """One line that names the clip; where it is not a `GfpError` a fault of ours, or no memory."""
    if isinstance(error, GfpError):
        return str(error)
    reason = "not enough memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
    return f"{source}: {' '.join(reason.split())}"


def digest_of(job: VideoJob) -> str:
    """A hash of the input's content; for a folder of frames of all of them. Raises InputError."""
    with os_errors_as(InputError, job.source):
        if not job.pictures:
            return sha256_of(job.source)
        return hashlib.sha256("".join(sha256_of(path) for path in job.pictures).encode()).hexdigest()


def open_clip(job: VideoJob, options: VideoOptions) -> Clip:
    """The source looked at and its encoder chosen. Raises GfpError."""
    info: VideoInfo
    if job.pictures:
        rate = Fraction(options.rate).limit_denominator(1001)
        info = frames_info(read_frame(job.pictures[0], 0), len(job.pictures), rate, job.source)
    else:
        info = probe(job.source, wanted_s=options.end)
    return Clip(info, job.pictures, choose_encoder(options, info, job.target), options, job.target, job.target.stem)


def run_video(inputs: list[str], output_word: str, options: VideoOptions, json_to: str | None, *, quiet: bool) -> int:
    """Restores all it can; gives the number of inputs that failed.

    Args:
        output_word: path or `file://`.

    Raises:
        GfpError: nothing could be started.
    """
    inputs, output = [local_word(word) for word in inputs], place_of(output_word)
    if url := next(filter(is_url, [*inputs, str(output)]), None):
        raise UsageError(f"{url}: gfp video reads and writes files of this machine: copy the clip, or mount its store")
    if options.engine == "ray":
        import_ray()  # said before any work that it is missing
    is_file = is_file_name(output, CONTAINERS)
    root = output.parent if is_file else output
    jobs = plan_videos(inputs, output, added=options.suffix, made=Ledger(root).outputs())
    if options.dry_run:
        tell_plan(jobs, options)
        return 0
    check_no_source(jobs, options)
    parts = choose_parts(options, warn=tell, progress=None if quiet else tell_download)
    restorer = cache(lambda: load_restorer(options, parts, warn=tell))
    n_failed = 0
    with ExitStack() as stack:
        stack.enter_context(hold(*lock_of(root, output if is_file else None)))
        sweep((job.target.parent for job in jobs), output.name if is_file else None)  # others may write beside a file
        if options.frames_dir:
            sweep(Path(options.frames_dir) / job.target.stem for job in jobs)
        run = Run(options, root, Ledger(root), fingerprint(options, parts), parts.model_name, restorer)
        sink = json_sink(json_to, stack)
        begin = show_clips(stack, quiet=quiet)
        records = stack.enter_context(closing(each_record(run, jobs, parts, begin)))
        for end, record in records:
            end(record)
            n_failed += record["error"] is not None
            if sink:
                sink.write(json_line(record))
                sink.flush()
            if options.fail_fast and record["error"]:
                break
    return n_failed


def each_record(
    run: Run, jobs: list[VideoJob], parts: Parts, begin: Begin
) -> Generator[tuple[Callable[[Record], None], Record], None, None]:
    """The record of each clip as soon as it is done with, and what shows it."""
    if run.options.engine == "ray" and not run.options.preview:
        from gfpcli.cluster.clips import process_on_ray

        yield from process_on_ray(run, jobs, parts, begin)
        return
    for job in jobs:
        watch, end = begin(job.source)
        yield end, run.process(job, watch)


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


def tell_plan(jobs: list[VideoJob], options: VideoOptions) -> None:
    """What a run would do; writes nothing. Raises GfpError."""
    for job in jobs:
        clip = open_clip(job, options)
        info, encoder = clip.info, clip.encoder
        tell(
            f"{job.source} -> {job.target}: {info.n_frames} frames of {info.size[1]}x{info.size[0]}, "
            f"{info.codec} {info.pix_fmt} -> {encoder.name} {encoder.pix_fmt}"
        )
    tell(f"{len(jobs)} clips, scale {options.scale:g}, model {options.model}; nothing was written (--dry-run)")
