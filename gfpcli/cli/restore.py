"""`gfp restore`: inputs to outputs, a record for each."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from gfpcli.build import Parts, choose_parts, fingerprint, load_restorer
from gfpcli.cli.console import tell
from gfpcli.cli.extras import about, save_extras
from gfpcli.cli.plan import tell_plan
from gfpcli.cli.progress import Record, Tally, show_progress, tell_download
from gfpcli.errors import GfpError, InputError, OutputError, UsageError
from gfpcli.images import decode_frame, encode_image, read_frame, write_image
from gfpcli.inputs import FORMAT_SUFFIXES, SUFFIX_FORMATS, Job, plan_jobs
from gfpcli.ledger import Ledger
from gfpcli.options import RestoreOptions
from gfpcli.report import Pictures, Picturing, check_report_path, open_report, pictures_for
from gfpcli.restorer import Restorer
from gfpcli.sheets import Layers
from gfpcli.stream import map_ahead
from gfpcli.types import Failed, Frame, Restored


@dataclass(frozen=True, slots=True)
class Task:
    """A job with its input's content known."""

    job: Job
    sha256: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of an input when it is done with."""

    record: Record
    pictures: Pictures | None = None
    faces: Sequence[Mapping[str, Any]] = ()  # of an input done before: its record tells none

    def for_report(self) -> Record:
        """The record, with the faces that are known from before."""
        return {**self.record, "faces": self.record["faces"] or list(self.faces)}


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run needs; the work goes task by task."""

    options: RestoreOptions
    root: Path  # folder of the outputs
    ledger: Ledger
    settings: str
    model_name: str
    picture: Picturing | None = None  # makes the report's pictures, where one is wanted

    def prepare(self, numbered: tuple[int, Job]) -> Task | Told:
        """Read and decode, in a thread; what is told of an input that is done or cannot be read."""
        index, job = numbered
        try:
            try:
                data = job.source.read_bytes()
            except OSError as error:
                raise InputError(f"{job.source}: {error.strerror or error}") from error
            digest = hashlib.sha256(data).hexdigest()
            if not self.options.force and self.ledger.is_done(job.target, digest, self.settings):
                return self.told_of_done(job, data)
            return Task(job, digest, decode_frame(data, str(job.source), index))
        except GfpError as error:
            return Told(self.record(job, "failed", error=str(error)))

    def told_of_done(self, job: Job, data: bytes) -> Told:
        """An input that was done before; for a report it is looked at again, with what the ledger knows."""
        record, pictures, faces = self.record(job, "skipped"), None, self.ledger.faces_of(job.target)
        if self.picture:
            with suppress(GfpError):  # then it has none
                before, after = decode_frame(data, str(job.source), 0), read_frame(job.target, 0)
                pictures = self.pictured((before.image, before.alpha), (after.image, after.alpha), faces)
        return Told(record, pictures, faces)

    def pictured(self, before: Layers, after: Layers, faces: Sequence[Mapping[str, Any]]) -> Pictures | None:
        """The report's pictures of an input: none where no report is wanted, or no memory is left for them."""
        with suppress(MemoryError, cv2.error):
            return self.picture and self.picture(before, after, faces)
        return None

    def deliver(self, item: tuple[Task, Restored | Failed]) -> Told:
        """Encode, write and enter into the ledger, in a thread of its own: what is written is never done again."""
        task, result = item
        if isinstance(result, Failed):
            return Told(self.record(task.job, "failed", error=str(result.error)))
        try:
            save_extras(self.root, task.job, result, self.options)
            write_image(
                task.job.target,
                result.image,
                result.frame,
                alpha=result.alpha,
                quality=self.options.quality,
                strip=self.options.strip,
            )
            record = self.record_of(task.job, result)
            if record["error"] is None:  # else the next run tries again
                self.ledger.add(task.job.target, task.sha256, self.settings, record["faces"])
            frame = result.frame
            shown = self.pictured((frame.image, frame.alpha), (result.image, result.alpha), record["faces"])
            return Told(record, shown)
        except GfpError as error:
            return Told(self.record(task.job, "failed", error=str(error)))

    def record_of(self, job: Job, result: Restored) -> Record:
        """The JSON record of a written output. Faces that failed keep the photo's pixels and make the error."""
        each_s = result.timings["network"] / max(len(result.crops), 1)
        faces: list[Record] = [
            {
                "box": np.round(face.box, 2).tolist(),
                "landmarks": np.round(face.landmarks, 2).tolist(),
                "score": round(face.score, 4),
                "status": outcome.status,
                **({"seconds": round(each_s, 4)} if outcome.status == "restored" else {}),
                **({"error": outcome.error} if outcome.error else {}),
            }
            for face, outcome in zip(result.found, result.outcomes, strict=True)
        ]
        is_restored = any(outcome.status == "restored" for outcome in result.outcomes)
        errors = [outcome.error for outcome in result.outcomes if outcome.status == "failed"]
        status = "restored" if is_restored else "failed" if errors else "no_face"
        told = (
            f"{job.source}: {len(errors)} of {len(faces)} faces failed and were left alone: {errors[0]}"
            if errors
            else None
        )
        height, width = result.image.shape[:2]
        seconds = round(result.timings["total"], 3)
        facts = {"width": width, "height": height, "seconds": seconds, "scale": result.scale}
        note = {"note": result.frame.note} if result.frame.note else {}
        return {**self.record(job, status, told), "output": str(job.target), "faces": faces, **facts, **note}

    def record(self, job: Job, status: str, error: str | None = None) -> Record:
        """A record without faces."""
        return {
            "input": str(job.source), "output": None if status == "failed" else str(job.target), "status": status,
            "faces": [], "width": None, "height": None, "scale": self.options.scale, "model": self.model_name,
            "seconds": 0.0, "error": error,
        }  # fmt: skip

    def process(self, jobs: list[Job], load: Callable[[], Restorer], emit: Callable[[Told], None]) -> None:
        """Emits what is told of each job, as soon as it is known, always on the caller's thread.

        The network is loaded when the first input needs it. Whatever `emit` raises ends the run.
        """
        tasks: deque[Task] = deque()

        def frames() -> Iterator[Frame]:
            depth = self.options.workers + 2
            prepared = map_ahead(
                self.prepare, enumerate(jobs), workers=self.options.workers, depth=depth, weigh_result=weight_of
            )
            for item in prepared:
                if isinstance(item, Task):
                    tasks.append(item)
                    yield item.frame
                else:
                    emit(item)

        def results() -> Iterator[tuple[Task, Restored | Failed]]:
            source = frames()
            for first in source:  # once: the stream takes the rest
                for result in load().stream(chain([first], source)):
                    yield tasks.popleft(), result

        for told in map_ahead(self.deliver, results(), workers=1, depth=4, weigh_item=weight_of_result):
            emit(told)


def weight_of(item: Task | Told) -> int:
    """Bytes of a decoded picture that waits; a record weighs nothing."""
    return item.frame.image.nbytes if isinstance(item, Task) else 0


def weight_of_result(item: tuple[Task, Restored | Failed]) -> int:
    """Bytes of a picture with its result that waits to be written."""
    task, result = item
    return task.frame.image.nbytes + (result.image.nbytes if isinstance(result, Restored) else 0)


class _Stop(Exception):
    """`--fail-fast` met a failure."""


def run_restore(
    inputs: list[str], output: Path, options: RestoreOptions, json_to: str | None, report_to: Path | None, *,
    began: float, quiet: bool,
) -> int:  # fmt: skip
    """Restores all it can; gives the number of inputs that failed.

    Args:
        began: when the command began, by the monotonic clock.

    Raises:
        GfpError: nothing could be started.
    """
    if report_to:
        check_report_path(report_to)
    if inputs == ["-"]:
        if report_to or options.dry_run:
            raise UsageError(f"{'--report' if report_to else '--dry-run'} is for files, not for stdin")
        return restore_stdin(output, options)
    if str(output) == "-":
        raise UsageError("-o - takes its image from stdin: gfp restore - -o -")
    jobs = plan_jobs(inputs, output, wanted=options.format, added=options.suffix)
    root = jobs[0].target.parent if output.suffix.lower() in SUFFIX_FORMATS and not output.is_dir() else output
    if options.dry_run:
        tell_plan(jobs, root, options, began)
        return 0
    parts = choose_parts(options, warn=tell, progress=None if quiet else tell_download)
    ledger = open_ledger(root)
    picture = pictures_for(len(jobs)) if report_to else None
    run = Run(options, root, ledger, fingerprint(options, parts), parts.model_name, picture)
    tally = Tally()
    with ExitStack() as stack:
        sink = json_sink(json_to, stack)
        report = report_to and stack.enter_context(open_report(report_to, about(options, parts), len(jobs)))
        show, tiles = show_progress(len(jobs), stack, quiet=quiet)

        def emit(told: Told) -> None:
            record = told.record
            tally.add(record)
            if report:
                report.add(told.for_report(), told.pictures)
            if sink:
                sink.write(json.dumps(record, ensure_ascii=False) + "\n")
                sink.flush()
            show(record, tally)
            if options.fail_fast and record["error"]:
                raise _Stop

        with suppress(_Stop):
            run.process(jobs, lambda: load_restorer(options, parts, n_inputs=len(jobs), warn=tell, watch=tiles), emit)
    if not quiet:
        tell(f"{tally.line()}; results in {root}" + (f", report in {report_to}" if report_to else ""))
    return tally.n_failed


def open_ledger(root: Path) -> Ledger:
    """The ledger of an output folder, made if missing. Raises OutputError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{root}: {error.strerror or error}") from error
    return Ledger(root)


def restore_stdin(output: Path, options: RestoreOptions) -> int:
    """One image from stdin, to stdout with `-o -`, else to a file. Raises GfpError."""
    frame = decode_frame(sys.stdin.buffer.read(), "stdin", 0)
    parts: Parts = choose_parts(options, warn=tell)
    result = load_restorer(options, parts, warn=tell).restore(frame)
    kind = SUFFIX_FORMATS[FORMAT_SUFFIXES.get(frame.format, ".png")]
    kind = kind if options.format == "auto" else SUFFIX_FORMATS[f".{options.format}"]
    if str(output) == "-":
        data = encode_image(result.image, frame, result.alpha, kind, options.quality, options.strip)
        sys.stdout.buffer.write(data)
        return 0
    target = output if output.suffix.lower() in SUFFIX_FORMATS else output / f"stdin{FORMAT_SUFFIXES[kind]}"
    write_image(target, result.image, frame, alpha=result.alpha, quality=options.quality, strip=options.strip)
    return 0


def json_sink(json_to: str | None, stack: ExitStack) -> TextIO | None:
    """Where records go, closed with `stack`. Raises OutputError."""
    if json_to is None or json_to == "-":
        return sys.stdout if json_to else None
    try:
        Path(json_to).parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(Path(json_to).open("w", encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{json_to}: {error.strerror or error}") from error
