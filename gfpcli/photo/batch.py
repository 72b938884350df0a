"""A run over many photos: inputs to outputs, and what is told of each."""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from gfpcli.cli.console import tell
from gfpcli.cli.output import json_line, json_sink
from gfpcli.cli.plan import tell_plan
from gfpcli.cli.progress import Record, Tally, show_progress, tell_download
from gfpcli.cluster.pool import import_ray
from gfpcli.errors import GfpError, UsageError
from gfpcli.files.atomic import PendingOutput, prepare_output
from gfpcli.files.formats import FORMAT_SUFFIXES, SUFFIX_FORMATS
from gfpcli.files.jobs import Job, is_file_name
from gfpcli.files.ledger import Ledger, what_stands
from gfpcli.files.locking import check_inside, hold, lock_of, sweep
from gfpcli.files.storage import is_remote, is_url, place_of
from gfpcli.memory import is_out_of_memory
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import decode_frame, encode_image, read_file, read_frame, writable, write_image
from gfpcli.photo.extras import about, save_extras
from gfpcli.photo.inputs import plan_jobs
from gfpcli.photo.report import Pictures, Picturing, check_report_path, open_report, pictures_for
from gfpcli.photo.sheets import Layers
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import map_ahead
from gfpcli.types import Failed, Frame, Restored
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import Parts, choose_parts, fingerprint

T = TypeVar("T")
FACES_FAILED = "some faces failed"  # settings that no run has
WAITING = 4  # results that wait to be written


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
class Staged:
    """A finished output, on the disk under a hidden name, with what the ledger is to know of it."""

    job: Job
    told: Told
    pending: PendingOutput
    input_sha256: str
    settings: str
    output_sha256: str


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
        with self.failing(job) as failed:
            check_inside(self.root, job.target)
            data = read_file(job.source)
            digest = hashlib.sha256(data).hexdigest()
            if not self.options.force and (reason := what_stands(self.ledger, job.target, digest, self.settings)):
                return self.told_of_done(job, data, reason)
            return Task(job, digest, decode_frame(data, str(job.source), index))
        return failed[0]

    @contextmanager
    def failing(self, job: Job) -> Iterator[list[Told]]:
        """Turns what goes wrong with one job into what is told of it: nothing that a photo does stops the others."""
        failed: list[Told] = []
        try:
            yield failed
        except GfpError as error:
            failed.append(Told(self.record(job, "failed", error=str(error))))
        except Exception as error:  # a fault of ours, or no memory
            reason = "not enough memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
            failed.append(Told(self.record(job, "failed", error=f"{job.source}: {' '.join(reason.split())}")))

    def told_of_done(self, job: Job, data: bytes, reason: str) -> Told:
        """An input that was done before; for a report it is looked at again, with what the ledger knows."""
        record = {**self.record(job, "skipped"), "note": reason}
        pictures, faces = None, self.ledger.faces_of(job.target)
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

    def encode(self, item: tuple[Task, Restored | Failed]) -> Staged | Told:
        """The output's bytes under a hidden name in its folder; what is told where there is none."""
        task, result = item
        job, options = task.job, self.options
        if isinstance(result, Failed):
            return Told(self.record(job, "failed", error=str(result.error)))
        with self.failing(job) as failed:
            save_extras(self.root, job, result, options)
            kind = SUFFIX_FORMATS[job.target.suffix.lower()]
            result = replace(result, frame=writable(result.frame, kind))
            data = encode_image(result.image, result.frame, result.alpha, kind, options.quality, options.strip)
            record = self.record_of(job, result)
            before, after = (result.frame.image, result.frame.alpha), (result.image, result.alpha)
            told = Told(record, self.pictured(before, after, record["faces"]))
            # where a face failed it is not known as finished, so that the next run tries again
            settings = self.settings if record["error"] is None else FACES_FAILED
            pending = prepare_output(job.target, [data])
            return Staged(job, told, pending, task.sha256, settings, hashlib.sha256(data).hexdigest())
        return failed[0]

    def commit(self, made: Staged | Told) -> Told:
        """Enters an output into the ledger, then gives it its name: what has a name is never done again."""
        if isinstance(made, Told):
            return made
        job = made.job
        with self.failing(job) as failed:
            faces = made.told.record["faces"]
            try:
                self.ledger.add(job.target, made.input_sha256, made.settings, made.output_sha256, faces)
            except GfpError:
                made.pending.discard()
                raise
            made.pending.publish()
            return made.told
        return failed[0]

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

        Whatever `emit` raises ends the run.
        """
        results = self.results(jobs, load, emit)
        deliver_all(results, lambda item: self.commit(self.encode(item)), emit, weigh=weight_of_result)

    def results(
        self, jobs: Iterable[Job], load: Callable[[], Restorer], emit: Callable[[Told], None]
    ) -> Iterator[tuple[Task, Restored | Failed]]:
        """Each job through the network, which is loaded when the first one needs it; `emit` hears of the others."""
        tasks: deque[Task] = deque()
        n_threads = self.options.n_threads

        def frames() -> Iterator[Frame]:
            prepared = map_ahead(
                self.prepare, enumerate(jobs), workers=n_threads, depth=n_threads + 2, weigh_result=weight_of
            )
            for item in prepared:
                if isinstance(item, Task):
                    tasks.append(item)
                    yield item.frame
                else:
                    emit(item)

        source = frames()
        for first in source:  # once: the stream takes the rest
            for result in load().stream(chain([first], source)):
                yield tasks.popleft(), result


def deliver_all(
    items: Iterable[T], finish: Callable[[T], Told], emit: Callable[[Told], None], *,
    weigh: Callable[[T], int] | None = None,
) -> None:  # fmt: skip
    """Finishes each item in a thread behind, and emits what is told of it; what was finished is told, come what may."""
    delivered: deque[Told] = deque()

    def deliver(item: T) -> None:
        delivered.append(finish(item))

    try:
        with closing(map_ahead(deliver, items, workers=1, depth=WAITING, weigh_item=weigh)) as behind:
            for _ in behind:
                emit(delivered.popleft())
    except KeyboardInterrupt:
        for told in delivered:  # written while the interrupt was on its way
            emit(told)
        raise


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
    inputs: list[str], output_word: str, options: RestoreOptions, json_to: str | None, report_word: str | None, *,
    began: float, quiet: bool,
) -> int:  # fmt: skip
    """Restores all it can; gives the number of inputs that failed.

    Args:
        output_word: path or URL.
        began: when the command began, by the monotonic clock.

    Raises:
        GfpError: nothing could be started.
    """
    output = place_of(output_word)
    if report_word and is_url(report_word):
        raise UsageError(f"--report {report_word}: is written on this machine; give a path")
    report_to = Path(report_word) if report_word else None
    if report_to:
        check_report_path(report_to)
    if options.engine == "ray":
        import_ray()  # said before any work that it is missing
    if inputs == ["-"]:
        if report_to or options.dry_run or options.engine == "ray":
            flag = "report" if report_to else "dry-run" if options.dry_run else "engine ray"
            raise UsageError(f"--{flag} is for files, not for stdin")
        return restore_stdin(output, options)
    if str(output) == "-":
        raise UsageError("-o - takes its image from stdin: gfp restore - -o -")
    is_file = is_file_name(output, SUFFIX_FORMATS)
    root = output.parent if is_file else output
    jobs = plan_jobs(inputs, output, wanted=options.format, added=options.suffix, made=Ledger(root).outputs())
    if options.dry_run:
        if is_remote(root) or any(is_remote(job.source) for job in jobs):
            raise UsageError("--dry-run looks into every input: it is for files of this machine, not for URLs")
        tell_plan(jobs, root, options, began)
        return 0
    parts = choose_parts(options, warn=tell, progress=None if quiet else tell_download)
    picture = pictures_for(len(jobs)) if report_to else None
    tally = Tally()
    with ExitStack() as stack:
        if is_remote(root):  # nothing can be held there, and one listing finds all
            folders = {root}
        else:
            stack.enter_context(hold(*lock_of(root, output if is_file else None)))
            folders = {job.target.parent for job in jobs}
            folders |= {root / kind / each.relative_to(root) for kind in options.save for each in folders}
        # beside a single file others may be writing
        clean = partial(sweep, [root], output.name) if is_file else partial(sweep, folders)
        clean()
        if options.engine == "ray":
            stack.callback(clean)  # what workers left that died
        run = Run(options, root, Ledger(root), fingerprint(options, parts), parts.model_name, picture)
        sink = json_sink(json_to, stack)
        report = report_to and stack.enter_context(open_report(report_to, about(options, parts), len(jobs)))
        show, tiles = show_progress(len(jobs), stack, quiet=quiet)

        def emit(told: Told) -> None:
            record = told.record
            tally.add(record)
            if report:
                report.add(told.for_report(), told.pictures)
            if sink:
                sink.write(json_line(record))
                sink.flush()
            show(record, tally)
            if options.fail_fast and record["error"]:
                raise _Stop

        try:
            with suppress(_Stop):
                if options.engine == "ray":
                    from gfpcli.cluster.photos import process_on_ray

                    process_on_ray(run, jobs, parts, emit)
                else:
                    load = partial(load_restorer, options, parts, n_inputs=len(jobs), warn=tell, watch=tiles)
                    run.process(jobs, load, emit)
        except KeyboardInterrupt:
            tell(f"{tally.line()}; results in {root}")
            raise
    if not quiet:
        tell(f"{tally.line()}; results in {root}" + (f", report in {report_to}" if report_to else ""))
    return tally.n_failed


def restore_stdin(output: Path, options: RestoreOptions) -> int:
    """One image from stdin, to stdout with `-o -`, else to a file. Raises GfpError."""
    frame = decode_frame(sys.stdin.buffer.read(), "stdin", 0)
    parts: Parts = choose_parts(options, warn=tell)
    result = load_restorer(options, parts, warn=tell).restore(frame)
    kind = SUFFIX_FORMATS[FORMAT_SUFFIXES.get(frame.format, ".png")]
    kind = kind if options.format == "auto" else SUFFIX_FORMATS[f".{options.format}"]
    frame = writable(frame, kind)
    if frame.note:
        tell(f"stdin: {frame.note}")
    if str(output) == "-":
        data = encode_image(result.image, frame, result.alpha, kind, options.quality, options.strip)
        sys.stdout.buffer.write(data)
        return 0
    target = output if output.suffix.lower() in SUFFIX_FORMATS else output / f"stdin{FORMAT_SUFFIXES[kind]}"
    write_image(target, result.image, frame, alpha=result.alpha, quality=options.quality, strip=options.strip)
    return 0
