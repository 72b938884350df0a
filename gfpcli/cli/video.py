"""The body of `gfp video`: words to a run over clips, on this machine or a cluster, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

from gfpcli.cli.console import tell
from gfpcli.cli.progress import RunView, tell_files_left_out
from gfpcli.clip.batch import ClipEngine, open_clip, plan_clips, restore_clips, restore_clips_here
from gfpcli.clip.clip import Clip
from gfpcli.clip.disk import free_bytes, gigabytes, room_for
from gfpcli.errors import UsageError
from gfpcli.files.jobs import VideoJob
from gfpcli.files.storage import is_url, local_word, place_of
from gfpcli.options import VideoOptions
from gfpcli.photo.report import check_report_path


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
    engine = _clip_engine(options)
    plan = plan_clips(inputs, output, options)
    if options.dry_run:
        tell_clips(plan.jobs, options)
        tell_files_left_out(plan.left_out)
        return 0
    if options.report and is_url(options.report):
        raise UsageError(f"--report {options.report}: is written on this machine; give a path")
    report_to = Path(options.report) if options.report else None
    if report_to:
        check_report_path(report_to, is_forced=options.force)
    view = RunView(json_to, quiet, options.force, is_video=True)
    with view.listening() as listener:
        restore_clips(plan, options, listener, engine=engine, report_to=report_to)
    if not quiet:
        tell_files_left_out(plan.left_out)
        if report_to:
            tell(f"report in {report_to}")
    return view.tally.n_failed


def _clip_engine(options: VideoOptions) -> ClipEngine:
    """What restores the clips; a preview needs no cluster. Raises EngineError where Ray is not installed."""
    if options.engine != "ray":
        return restore_clips_here
    from gfpcli.cluster.clips import restore_clips_on_cluster
    from gfpcli.cluster.pool import import_ray

    import_ray()  # said before any work that it is missing
    return restore_clips_here if options.preview else restore_clips_on_cluster


def tell_clips(jobs: list[VideoJob], options: VideoOptions) -> None:
    """What a run would do; writes nothing. Raises GfpError."""
    for job in jobs:
        clip = open_clip(job, options)
        info, encoder = clip.info, clip.encoder
        tell(
            f"{job.source} -> {job.target}: {info.n_frames} frames of {info.size[1]}x{info.size[0]}, "
            f"{info.codec} {info.pix_fmt} -> {encoder.name} {encoder.pix_fmt}; {_room_line(clip)}"
        )
    tell(f"{len(jobs)} clips, scale {options.scale:g}, model {options.model}; nothing was written (--dry-run)")


def _room_line(clip: Clip) -> str:
    """How much room on the disk it needs."""
    finished, needed = room_for(clip)
    folder = clip.target.parent
    free = gigabytes(free_bytes(folder))
    return f"about {gigabytes(finished)}, {gigabytes(needed)} while it is made; {free} are free in {folder}"
