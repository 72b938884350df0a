"""How commands speak: errors as one line and an exit code, data on stdout, everything else on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from gfpcli.errors import GfpError, UsageError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def tell(line: str) -> None:
    """One line on stderr."""
    typer.echo(line, err=True)


@contextmanager
def one_line_errors(*, is_debug: bool = False) -> Iterator[None]:
    """Turns expected errors into one line and an exit code; with `is_debug` they keep their traceback."""
    try:
        yield
    except GfpError as error:
        if is_debug:
            raise
        tell(f"gfp: {error}")
        raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from None
    except KeyboardInterrupt:
        tell("gfp: interrupted; what was finished is kept, the same command goes on")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr, shown on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
