"""The body of `gfp watch`: a folder to a run that does not end, and what is shown of it."""

from __future__ import annotations

from gfpcli.cli.console import tell
from gfpcli.cli.progress import RunView
from gfpcli.files.storage import local_word, place_of
from gfpcli.options import WatchOptions
from gfpcli.photo.watch import Watch, watch_photos


def run_watch(folder_word: str, output_word: str, options: WatchOptions) -> None:
    """Restores what is in a folder and what arrives there, until Ctrl-C.

    Raises:
        GfpError: nothing could be started.
        KeyboardInterrupt: Ctrl-C.
    """
    watch = Watch(place_of(local_word(folder_word)), place_of(local_word(output_word)), options)
    view = RunView(options.json, options.quiet, is_forced=False, has_bars=False)
    with view.listening() as listener:
        listener.warn(f"watching {watch.folder}; results in {watch.output}; Ctrl-C ends")
        try:
            watch_photos(watch, listener)
        except KeyboardInterrupt:
            tell(f"{view.tally.line()}; results in {watch.output}")
            raise
