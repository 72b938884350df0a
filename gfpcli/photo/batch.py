"""A run over many photos: each is read, restored, written, entered into the ledger, and its outcome is told."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from gfpcli.errors import GfpError, InputError, OutputError, failure_line
from gfpcli.files.atomic import PendingOutput, os_errors_as, prepare_output
from gfpcli.files.folders import LeftOut
from gfpcli.files.formats import SUFFIX_FORMATS
from gfpcli.files.jobs import Job
from gfpcli.files.ledger import DONE, Ledger, what_stands
from gfpcli.files.locking import check_inside, hold, lock_of, sweep
from gfpcli.files.storage import NEW_FILE, FileFacts, is_remote, place_of, store_of
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import Photo, decode_frame, decode_photo, known_kind, read_file, read_frame
from gfpcli.photo.encode import encode_photo
from gfpcli.photo.extras import about, prepare_extras
from gfpcli.photo.face_plan import (
    check_unchanged,
    entry_of_records,
    frame_as_planned,
    read_plan,
    settings_as_planned,
    with_plan,
)
from gfpcli.photo.inputs import is_photo_name, plan_jobs, plan_stdin
from gfpcli.photo.label import Label, label_of, made_with
from gfpcli.photo.references import References, read_references
from gfpcli.photo.report import DrawPictures, Pictures, Report, open_report, pictures_for
from gfpcli.photo.sheets import Layers, PlacedMask
from gfpcli.photo.sidecars import Sidecar, prepare_sidecars, read_sidecars, settings_with
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import Stop, deliver, map_ahead
from gfpcli.types import FaceRecord, Failed, Frame, Listener, Outcome, OutcomeStatus, PlannedPhoto, Restored
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import licence_of
from gfpcli.weights.choose import Parts, choose_parts, fingerprint

FACES_FAILED = "some faces failed"  # in place of the settings, so that the next run tries again
N_WAITING = 4  # results that wait to be written


@dataclass(frozen=True, slots=True)
class PhotoTask:
    """A photo that is to be restored, decoded."""

    job: Job
    sha256: str  # of the input's content
    photo: Photo
    facts: FileFacts = NEW_FILE  # what the output gets: permissions, and with `--keep-times` dates
    sidecars: tuple[Sidecar, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishedPhoto:
    """What became of a photo, and what a report shows of it."""

    outcome: Outcome
    pictures: Pictures | None = None
    known_faces: tuple[FaceRecord, ...] = ()  # from the ledger, of a photo that was done before
    entry: PlannedPhoto | None = None  # what a plan says, or would say, of it; where a report is wanted
    is_planned: bool = False  # the run was given a plan with this entry


@dataclass(frozen=True, slots=True)
class PendingPhoto:
    """A restored photo, written under hidden names, with what the ledger is to know of it."""

    job: Job
    finished: FinishedPhoto  # once its outputs have their names
    output: PendingOutput
    extras: tuple[tuple[PendingOutput, str], ...]  # what `--save` keeps, with the SHA-256 of the content
    input_sha256: str
    settings: str
    output_sha256: str
    same_as: str = ""  # as of the ledger's entry
    sidecars: tuple[tuple[PendingOutput, str], ...] = ()  # copies of them, with the SHA-256 of the content

    def discard(self) -> None:
        """Removes everything that was written."""
        for each in (self.output, *(extra for extra, _ in (*self.extras, *self.sidecars))):
            each.discard()


Emit: TypeAlias = Callable[[FinishedPhoto], None]
"""Takes what became of a photo. May raise `Stop`."""


@dataclass(frozen=True, slots=True)
class PhotoRun:
    """What the photos of a run have in common, and the steps of one photo: prepare, (restore), encode, commit."""

    options: RestoreOptions
    root: Path  # folder of the outputs
    ledger: Ledger
    settings: str  # fingerprint of options and weights
    model_name: str
    references: References | None = None  # the persons that are shown by `--only` and `--not`
    draw: DrawPictures | None = None  # makes the report's pictures, where a report is wanted
    label: Label | None = None  # of the outputs, before their faces are counted; None where none is wanted
    made_with: str = ""  # what the ledger tells of the run's settings

    def prepare(self, numbered: tuple[int, Job]) -> PhotoTask | FinishedPhoto:
        """Reads and decodes an input, in a thread; gives the outcome of one that is done or cannot be read."""
        index, job = numbered
        with self.failing(job) as failed:
            check_inside(self.root, job.target)
            data = read_file(job.source) if job.data is None else job.data
            known_kind(data, str(job.source))  # first: of another kind nothing becomes, whatever stands at its target
            digest, (sidecars, notes) = hashlib.sha256(data).hexdigest(), read_sidecars(job)
            check_unchanged(job, digest)
            facts = self.facts_of(job)
            if not self.options.force and (reason := self.what_stands(job, digest, sidecars)):
                if facts.times_ns and reason == DONE:
                    self.keep_times(job.target, facts.times_ns)
                return self.skipped(job, data, reason)
            photo = decode_photo(data, str(job.source), index)
            photo = replace(photo, frame=frame_as_planned(photo.frame, job))
            return PhotoTask(job, digest, photo, facts, sidecars, (*job.notes, *notes))
        return failed[0]

    def facts_of(self, job: Job) -> FileFacts:
        """Permissions and dates for the outputs of a job. Raises InputError."""
        if job.data is not None:
            return NEW_FILE
        with os_errors_as(InputError, job.source):
            facts = store_of(job.source).facts(job.source)
        return facts if self.options.keep_times else replace(facts, times_ns=None)

    def keep_times(self, target: Path, times_ns: tuple[int, int]) -> None:
        """Gives an output that is done the dates of its input. Raises OutputError."""
        with os_errors_as(OutputError, target):
            known = store_of(target).facts(target).times_ns
            if known and known[1] != times_ns[1]:
                store_of(target).set_times(target, times_ns)

    def what_stands(self, job: Job, digest: str, sidecars: tuple[Sidecar, ...]) -> str | None:
        """Why an output is left as it is, None where it is to be made: also where a copy of a sidecar is gone."""
        reason = what_stands(self.ledger, job.target, digest, self.settings_of(job, sidecars))
        return None if reason == DONE and any(self.ledger.is_gone(each.target) for each in sidecars) else reason

    def settings_of(self, job: Job, sidecars: tuple[Sidecar, ...]) -> str:
        """What the ledger keeps of all that made an output besides the content of its input."""
        return settings_as_planned(settings_with(self.settings, sidecars), job.planned)

    def same_as(self, task: PhotoTask, outcome: Outcome) -> str:
        """The settings of the plan that asks for what was done: with it the photo need not be made again."""
        if task.job.planned or self.options.aligned or outcome.error:
            return ""
        asked = entry_of_records(task.job.name, task.sha256, task.photo.frame, outcome.faces)
        return settings_as_planned(settings_with(self.settings, task.sidecars), asked)

    @contextmanager
    def failing(self, job: Job) -> Iterator[list[FinishedPhoto]]:
        """Turns any error of one photo into its outcome, put into the list: the others go on."""
        failed: list[FinishedPhoto] = []
        try:
            yield failed
        except Exception as error:
            failed.append(self.failed(job, failure_line(job.source, error)))

    def failed(self, job: Job, reason: str) -> FinishedPhoto:
        """A photo without an output."""
        outcome = replace(self.outcome(job, "failed"), output=None, error=reason)
        return FinishedPhoto(outcome, entry=job.planned, is_planned=job.planned is not None)

    def skipped(self, job: Job, data: bytes, reason: str) -> FinishedPhoto:
        """A photo that was done before; for a report both files are looked at again, with the faces of the ledger."""
        pictures, faces, entry = None, self.ledger.faces_of(job.target), job.planned
        if self.draw:
            with suppress(GfpError):  # the report then shows none
                before, after = decode_frame(data, str(job.source), 0), read_frame(job.target, 0)
                pictures = self.pictures((before.image, before.alpha), (after.image, after.alpha), faces)
                entry = self.entry_of(job, hashlib.sha256(data).hexdigest(), before, faces)
        outcome = replace(self.outcome(job, "skipped"), notes=(reason,))
        return FinishedPhoto(outcome, pictures, faces, entry, job.planned is not None)

    def pictures(
        self, before: Layers, after: Layers, faces: tuple[FaceRecord, ...], masks: Sequence[PlacedMask | None] = ()
    ) -> Pictures | None:
        """The report's pictures of a photo; None where no report is wanted, or no memory is left for them."""
        with suppress(MemoryError, cv2.error):
            return self.draw and self.draw(before, after, faces, masks)
        return None

    def entry_of(self, job: Job, sha256: str, frame: Frame, faces: tuple[FaceRecord, ...]) -> PlannedPhoto | None:
        """What a plan says of a photo, or would say after this run; None where no report is wanted."""
        if job.planned or not self.draw or self.options.aligned:
            return job.planned
        return entry_of_records(job.name, sha256, frame, faces)

    def encode(self, item: tuple[PhotoTask, Restored | Failed]) -> PendingPhoto | FinishedPhoto:
        """Writes a result and its extras under hidden names; gives the outcome where that fails."""
        task, result = item
        job, options = task.job, self.options
        if isinstance(result, Failed):
            return self.failed(job, str(result.error))
        with self.failing(job) as failed, ExitStack() as pending:
            extras = tuple(prepare_extras(self.root, job, result, options, task.facts, pending))
            kind = SUFFIX_FORMATS[job.target.suffix.lower()]
            encoded = encode_photo(
                task.photo, result.image, result.alpha, kind, quality=options.quality, strip=options.strip,
                label=self.label_of(result),
            )  # fmt: skip
            sidecars, notes = self.prepare_sidecars(task, result, pending)
            outcome = self.outcome_of(job, result)
            outcome = replace(outcome, notes=(*encoded.notes, *task.notes, *notes, *outcome.notes))
            before, after = (result.frame.image, result.frame.alpha), (result.image, result.alpha)
            pictures = self.pictures(before, after, outcome.faces, placed_masks(result))
            entry = self.entry_of(job, task.sha256, result.frame, outcome.faces)
            finished = FinishedPhoto(outcome, pictures, entry=entry, is_planned=job.planned is not None)
            settings = self.settings_of(job, task.sidecars) if outcome.error is None else FACES_FAILED
            output = prepare_output(job.target, [encoded.data], task.facts)
            digest = hashlib.sha256(encoded.data).hexdigest()
            pending.pop_all()
            same_as = self.same_as(task, outcome)
            return PendingPhoto(job, finished, output, extras, task.sha256, settings, digest, same_as, sidecars)
        return failed[0]

    def label_of(self, result: Restored) -> Label | None:
        """What an output says of itself."""
        if self.label is None or not self.label.draws_faces:
            return self.label
        return replace(self.label, n_faces=sum(each.status == "restored" for each in result.outcomes))

    def prepare_sidecars(
        self, task: PhotoTask, result: Restored, pending: ExitStack
    ) -> tuple[tuple[tuple[PendingOutput, str], ...], list[str]]:
        """The copies of a photo's sidecars under hidden names, and notes on what is lost. Raises OutputError."""
        placement = task.photo.placement((result.image.shape[0], result.image.shape[1]))
        made = list(prepare_sidecars(task.sidecars, placement, pending, keeps_times=self.options.keep_times))
        copies = tuple(each for each in made if not isinstance(each, str))
        return copies, [each for each in made if isinstance(each, str)]

    def commit(self, made: PendingPhoto | FinishedPhoto) -> FinishedPhoto:
        """Enters a photo into the ledger, then gives its outputs their names: what has a name is never done again."""
        if isinstance(made, FinishedPhoto):
            return made
        with self.failing(made.job) as failed, ExitStack() as pending:
            pending.callback(made.discard)
            for extra, _ in () if self.options.force else made.extras:
                self.ledger.check_ours(extra.target)
            sidecars, notes = self.sidecars_to_publish(made)
            beside = {extra.target: digest for extra, digest in (*made.extras, *sidecars)}
            outcome = made.finished.outcome
            self.ledger.add(
                made.job.target, made.input_sha256, made.settings, made.output_sha256, outcome.faces, beside,
                same_as=made.same_as, source=str(made.job.source), made_with=self.made_with,
            )  # fmt: skip
            for extra, _ in (*made.extras, *sidecars):
                extra.publish()
            made.output.publish()
            pending.pop_all()
            return replace(made.finished, outcome=replace(outcome, notes=(*outcome.notes, *notes)))
        return failed[0]

    def sidecars_to_publish(self, made: PendingPhoto) -> tuple[list[tuple[PendingOutput, str]], list[str]]:
        """The copies of sidecars in whose places nothing stands that is not ours, and notes on the others."""
        if self.options.force:
            return list(made.sidecars), []
        kept, notes = [], []
        for output, digest in made.sidecars:
            try:
                self.ledger.check_ours(output.target)
                kept.append((output, digest))
            except OutputError as error:
                output.discard()
                notes.append(str(error))
        return kept, notes

    def outcome(self, job: Job, status: OutcomeStatus) -> Outcome:
        """An outcome without faces."""
        return Outcome(str(job.source), str(job.target), status, self.options.scale, self.model_name)

    def outcome_of(self, job: Job, result: Restored) -> Outcome:
        """The outcome of a written output. Faces that failed keep the photo's pixels, and make it an error."""
        faces = tuple(face_records(result))
        errors = [face.error for face in faces if face.status == "failed"]
        is_restored = any(face.status in ("restored", "unchanged", "kept") for face in faces)
        told = f"{len(errors)} of {len(faces)} faces failed and were left alone"
        n_kept = sum(face.status == "kept" for face in faces)
        height, width = result.image.shape[:2]
        return replace(
            self.outcome(job, "restored" if is_restored else "failed" if errors else "no_face"), scale=result.scale,
            width=width, height=height, seconds=round(result.timings["total"], 3), faces=faces,
            error=f"{job.source}: {told}: {errors[0]}" if errors else None, notes=notes_on_kept(n_kept),
            computed_in=result.computed_in,
        )  # fmt: skip

    def process(self, jobs: list[Job], load: Callable[[], Restorer], emit: Emit) -> None:
        """Restores every job on this machine; `emit` hears of each as soon as it is finished, on this thread.

        Raises:
            Exception: whatever `emit` raises.
        """
        results = self.results(jobs, load, emit)
        deliver(
            results, lambda item: self.commit(self.encode(item)), emit, depth=N_WAITING, weigh_item=n_bytes_of_result
        )

    def results(
        self, jobs: Iterable[Job], load: Callable[[], Restorer], emit: Emit
    ) -> Iterator[tuple[PhotoTask, Restored | Failed]]:
        """Each job through the network, which is loaded when the first one needs it; `emit` hears of the others."""
        tasks: deque[PhotoTask] = deque()
        n_threads = self.options.n_threads

        def frames() -> Iterator[Frame]:
            prepared = map_ahead(
                self.prepare, enumerate(jobs), workers=n_threads, depth=n_threads + 2, weigh_result=n_bytes_of_task
            )
            for item in prepared:
                if isinstance(item, PhotoTask):
                    tasks.append(item)
                    yield item.photo.frame
                else:
                    emit(item)

        source = frames()
        for first in source:  # once: the stream takes the rest
            restorer = self.references.applied_to(load()) if self.references else load()
            for result in restorer.stream(chain([first], source)):
                yield tasks.popleft(), result


def face_records(result: Restored) -> Iterator[FaceRecord]:
    """Every face that was found, with what became of it."""
    each_s = round(result.timings["network"] / max(len(result.crops), 1), 4)
    for face, outcome in zip(result.found, result.outcomes, strict=True):
        yield FaceRecord(
            tuple(np.round(face.box, 2).tolist()), round(face.score, 4), outcome.status,
            tuple(map(tuple, np.round(face.landmarks, 2).tolist())),
            each_s if outcome.status == "restored" else None, outcome.error,
            _rounded(outcome.identity), _rounded(outcome.strength),
        )  # fmt: skip


def notes_on_kept(n_kept: int) -> tuple[str, ...]:
    """A line where faces were kept as they are because restored they were no longer the same person."""
    if n_kept == 0:
        return ()
    kept = "1 face is" if n_kept == 1 else f"{n_kept} faces are"
    return (f"{kept} kept as in the input: restored, it would be another person (--identity-guard)",)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def placed_masks(result: Restored) -> list[PlacedMask | None]:
    """Where each face that was found was pasted; None for one that was not."""
    made = zip(result.masks, result.crops, strict=True)
    is_made = [outcome.status not in ("failed", "skipped") for outcome in result.outcomes]
    masks = [next(made, None) if each else None for each in is_made]
    return [each and (each[0], each[1].frame_to_crop) for each in masks]


def n_bytes_of_task(item: PhotoTask | FinishedPhoto) -> int:
    """Of a decoded picture that waits; an outcome counts as nothing."""
    return item.photo.frame.image.nbytes if isinstance(item, PhotoTask) else 0


def n_bytes_of_result(item: tuple[PhotoTask, Restored | Failed]) -> int:
    """Of a picture that waits to be written, with its result."""
    task, result = item
    return task.photo.frame.image.nbytes + (result.image.nbytes if isinstance(result, Restored) else 0)


@dataclass(frozen=True, slots=True)
class PhotoPlan:
    """The inputs of a run and their outputs, known before work starts."""

    jobs: list[Job]
    root: Path  # folder of the outputs
    file: Path | None  # the output, where `--output` names one file
    left_out: LeftOut = LeftOut()


def plan_photos(inputs: list[str], output: Path, options: RestoreOptions, stdin: bytes | None = None) -> PhotoPlan:
    """Finds the inputs.

    Args:
        stdin: an input's content, in place of `inputs`.

    Raises:
        InputError, UsageError, OutputError: as `plan_jobs`, `read_plan` and `with_plan`, or the output folder cannot
            be read.
    """
    is_file = is_photo_name(output)
    root = output.parent if is_file else output
    left_out = LeftOut()
    if stdin is not None:
        jobs = [plan_stdin(stdin, output, wanted=options.format, added=options.suffix)]
    else:
        jobs, left_out = plan_jobs(
            inputs, output, wanted=options.format, added=options.suffix, made=Ledger(root).outputs(),
            takes_hidden=options.hidden, has_sidecars=not options.strip,
        )  # fmt: skip
    if options.plan:
        jobs = with_plan(jobs, read_plan(place_of(options.plan)), options.plan)
    return PhotoPlan(jobs, root, output if is_file else None, left_out)


PhotoEngine: TypeAlias = Callable[[PhotoRun, list[Job], Parts, Listener, Emit], None]
"""Restores the jobs of a run, on this machine or others, and emits what became of each. Raises what `emit` raises."""


def restore_photos_here(run: PhotoRun, jobs: list[Job], parts: Parts, listener: Listener, emit: Emit) -> None:
    """The `PhotoEngine` of this machine. Raises GfpError where the restorer cannot be loaded."""
    load = partial(load_restorer, run.options, parts, n_inputs=len(jobs), warn=listener.warn, watch=listener.tiles)
    run.process(jobs, load, emit)


def restore_photos(
    plan: PhotoPlan, options: RestoreOptions, listener: Listener, *, engine: PhotoEngine = restore_photos_here,
    report_to: Path | None = None,
) -> None:  # fmt: skip
    """Restores all it can of a plan; with `fail_fast` up to the first failure.

    Args:
        report_to: the HTML page to write.

    Raises:
        GfpError: nothing could be started.
    """
    parts = choose_parts(options, warn=listener.warn, progress=listener.download)
    with ExitStack() as stack:
        hold_outputs(plan, options, stack)
        draw = pictures_for(len(plan.jobs)) if report_to else None
        label, references = label_of(parts, options), read_references(options, parts)
        settings = fingerprint(options, parts)
        settings = references.settings_with(settings) if references else settings
        run = PhotoRun(
            options, plan.root, Ledger(plan.root), settings, parts.model_name, references, draw,
            label if options.label else None, made_with(label, options),
        )  # fmt: skip
        listener.begin(len(plan.jobs))
        report = None
        if report_to:
            planned = [job.planned for job in plan.jobs if job.planned]
            report = stack.enter_context(open_report(report_to, about(options, parts), len(plan.jobs), planned))
        with suppress(Stop):
            emit = partial(_emit, report, listener, options.fail_fast, licence_of(parts.model))
            engine(run, plan.jobs, parts, listener, emit)


def _emit(
    report: Report | None, listener: Listener, is_fail_fast: bool, licence: str, finished: FinishedPhoto
) -> None:
    outcome = replace(finished.outcome, licence=licence)
    if report:
        shown = replace(outcome, faces=outcome.faces or finished.known_faces)
        report.add(shown, finished.pictures, finished.entry, is_planned=finished.is_planned)
    listener.outcome(outcome)
    if is_fail_fast and outcome.error:
        raise Stop


def hold_outputs(plan: PhotoPlan, options: RestoreOptions, stack: ExitStack) -> None:
    """Holds the lock of the outputs until `stack` is closed, and removes what a killed run left.

    Raises:
        OutputError: another run holds it, or the folder cannot be written.
    """
    root = plan.root
    if is_remote(root):  # nothing can be held there, and one listing finds all
        folders = {root}
    else:
        stack.enter_context(hold(*lock_of(root, plan.file)))
        folders = {job.target.parent for job in plan.jobs}
        folders |= {root / kind / each.relative_to(root) for kind in options.save for each in folders}
    # beside a single file others may be writing
    clean = partial(sweep, [root], plan.file.name) if plan.file else partial(sweep, folders)
    clean()
    if options.engine == "ray":
        stack.callback(clean)  # what workers left that died
