"""How commands speak: errors as one line and an exit code, data on stdout, everything else on stderr."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from gfpcli.errors import GfpError, UsageError, os_reason
from gfpcli.memory import is_out_of_memory

FAILED, USAGE, INTERRUPTED = 1, 2, 130
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # with those that turn text around


def tell(line: str) -> None:
    """One line on stderr, whatever a file's name in it may hold."""
    typer.echo(plain(line), err=True)


def plain(line: str) -> str:
    """Control characters and what is no Unicode as escapes: a name can neither break a line nor steer a terminal."""
    shown = CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), line)
    return shown.encode("utf-8", "backslashreplace").decode()


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
    except BrokenPipeError:
        raise  # whoever read stdout is gone: click ends quietly
    except (OSError, MemoryError, RuntimeError) as error:  # torch tells of memory by RuntimeError
        if is_debug or isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        tell(f"gfp: {system_reason(error)}")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        tell("gfp: interrupted; what was finished is kept, the same command goes on")
        raise typer.Exit(INTERRUPTED) from None


def system_reason(error: OSError | MemoryError | RuntimeError) -> str:
    """What the system says, with the file's name where there is one."""
    if not isinstance(error, OSError):
        return "not enough memory: a smaller --batch-size, --set size or --device cpu may do"
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{os_reason(error)}"


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
