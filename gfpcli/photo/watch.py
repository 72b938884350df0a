"""A run that does not end: photos are restored as they arrive in a folder, on the ledger of `gfp restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from gfpcli.errors import EmptyInputError, GfpError, InputError, UsageError
from gfpcli.files.arrivals import Arrivals, changes_in
from gfpcli.files.jobs import Job, is_same
from gfpcli.files.ledger import Ledger
from gfpcli.files.locking import sweep
from gfpcli.files.storage import is_remote
from gfpcli.options import WatchOptions
from gfpcli.photo.batch import PhotoPlan, PhotoRun, hold_outputs, plan_photos
from gfpcli.photo.inputs import is_photo_name
from gfpcli.types import Listener
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts, fingerprint


@dataclass(slots=True)
class Watch:
    """A watched folder, and which of its photos are to be restored next.

    Raises:
        InputError: it is no folder.
        UsageError: a URL, an output that is one file, or the folder itself without `--suffix`.
    """

    folder: Path
    output: Path
    options: WatchOptions
    arrivals: Arrivals = field(init=False)
    _told: str = ""

    def __post_init__(self) -> None:
        if is_remote(self.folder) or is_remote(self.output):
            raise UsageError("gfp watch is for folders of this machine, not for URLs")
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder")
        if is_photo_name(self.output):
            raise UsageError(f"--output {self.output}: gfp watch writes into a folder")
        if is_same(self.folder, self.output) and not self.options.suffix:
            raise UsageError(f"{self.output} is watched itself: choose another --output, or a --suffix")
        self.arrivals = Arrivals(self.options.settle)

    def jobs(self, listener: Listener) -> list[Job]:
        """The photos that have become whole. What stands in the way, or is left out, is told when it changes."""
        try:
            plan = plan_photos([str(self.folder)], self.output, self.options)
        except GfpError as error:
            if not isinstance(error, EmptyInputError):
                self._tell(f"gfp: {error}", listener)
            return []
        self._tell("; ".join(plan.left_out.lines()), listener)
        whole = set(self.arrivals.whole(path for job in plan.jobs for path in (job.source, *job.sidecars)))
        return [job for job in plan.jobs if job.source in whole or whole.intersection(job.sidecars)]

    def batches(self, listener: Listener) -> Iterator[list[Job]]:
        """Jobs as they come, without end. Raises KeyboardInterrupt on Ctrl-C."""
        for _ in changes_in(self.folder, self.arrivals.is_waiting):
            if jobs := self.jobs(listener):
                yield jobs

    def _tell(self, line: str, listener: Listener) -> None:
        if line and line != self._told:
            listener.warn(line)
        self._told = line


def watch_photos(watch: Watch, listener: Listener) -> None:
    """Restores what is there, then what arrives, until Ctrl-C.

    Raises:
        GfpError: nothing could be started.
        KeyboardInterrupt: Ctrl-C; everything that was finished is told and kept.
    """
    options, root = watch.options, watch.output
    parts = choose_parts(options, warn=listener.warn, progress=listener.download)
    load = cache(partial(load_restorer, options, parts, n_inputs=1, warn=listener.warn, watch=listener.tiles))
    with ExitStack() as stack:
        hold_outputs(PhotoPlan([], root, None), options, stack)
        sweep(path for path in (root, *root.rglob("*")) if path.is_dir())
        run = PhotoRun(options, root, Ledger(root), fingerprint(options, parts), parts.model_name)
        listener.begin(0)
        for jobs in watch.batches(listener):
            run.process(jobs, load, lambda finished: listener.outcome(finished.outcome))
