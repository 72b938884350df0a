"""`gfp video`: clips to clips, a record for each."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av

from gfpcli.build import choose_parts, fingerprint, load_restorer
from gfpcli.cli.console import tell
from gfpcli.cli.progress import Record, show_clips, tell_download
from gfpcli.cli.restore import json_sink, open_ledger
from gfpcli.clip import Clip, Done, Watch, restore_clip
from gfpcli.encode import choose_encoder
from gfpcli.errors import GfpError, InputError
from gfpcli.images import read_frame
from gfpcli.inputs import CONTAINERS, VideoJob, plan_videos
from gfpcli.ledger import Ledger
from gfpcli.options import VideoOptions
from gfpcli.preview import write_preview
from gfpcli.restorer import Restorer
from gfpcli.segments import Work
from gfpcli.video import VideoInfo, frames_info, probe
from gfpcli.weights import sha256_of


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run needs; the work goes clip by clip."""

    options: VideoOptions
    ledger: Ledger
    settings: str
    model_name: str
    restorer: Callable[[], Restorer]  # loaded when the first clip needs it

    def process(self, job: VideoJob, watch: Watch) -> Record:
        """Restores one clip, or goes on with it. What goes wrong is told in its record."""
        start = time.monotonic()
        try:
            if self.options.preview:
                clip = open_clip(job, self.options)
                strip, short = write_preview(clip, self.restorer())
                return {**self.record(job, "previewed"), "output": str(strip), "notes": [f"side by side: {short}"]}
            digest = digest_of(job)
            if not self.options.force and self.ledger.is_done(job.target, digest, self.settings):
                return self.record(job, "skipped")
            clip = open_clip(job, self.options)
            work = Work(job.target, f"{digest} {self.settings} {av.__version__}", is_fresh=self.options.force)
            done = restore_clip(clip, self.restorer(), work, watch)
            self.ledger.add(job.target, digest, self.settings)
            work.clear()
            return self.record_of(job, clip, done, time.monotonic() - start)
        except GfpError as error:
            return self.record(job, "failed", str(error))

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


def digest_of(job: VideoJob) -> str:
    """A hash of the input's content; for a folder of frames of all of them. Raises InputError."""
    try:
        if not job.pictures:
            return sha256_of(job.source)
        return hashlib.sha256("".join(sha256_of(path) for path in job.pictures).encode()).hexdigest()
    except OSError as error:
        raise InputError(f"{job.source}: {error.strerror or error}") from error


def open_clip(job: VideoJob, options: VideoOptions) -> Clip:
    """The source looked at and its encoder chosen. Raises GfpError."""
    info: VideoInfo
    if job.pictures:
        rate = Fraction(options.rate).limit_denominator(1001)
        info = frames_info(read_frame(job.pictures[0], 0), len(job.pictures), rate, job.source)
    else:
        info = probe(job.source, wanted_s=options.end)
    return Clip(info, job.pictures, choose_encoder(options, info, job.target), options, job.target, job.target.stem)


def run_video(inputs: list[str], output: Path, options: VideoOptions, json_to: str | None, *, quiet: bool) -> int:
    """Restores all it can; gives the number of inputs that failed.

    Raises:
        GfpError: nothing could be started.
    """
    jobs = plan_videos(inputs, output, added=options.suffix)
    if options.dry_run:
        tell_plan(jobs, options)
        return 0
    parts = choose_parts(options, warn=tell, progress=None if quiet else tell_download)
    root = jobs[0].target.parent if output.suffix.lower() in CONTAINERS and not output.is_dir() else output
    restorer = cache(lambda: load_restorer(options, parts, warn=tell))
    run = Run(options, open_ledger(root), fingerprint(options, parts), parts.model_name, restorer)
    n_failed = 0
    with ExitStack() as stack:
        sink = json_sink(json_to, stack)
        begin = show_clips(stack, quiet=quiet)
        for job in jobs:
            watch, end = begin(job.source)
            record = run.process(job, watch)
            end(record)
            n_failed += record["error"] is not None
            if sink:
                sink.write(json.dumps(record, ensure_ascii=False) + "\n")
                sink.flush()
            if options.fail_fast and record["error"]:
                break
    return n_failed


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
