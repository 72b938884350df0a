"""`gfp models`: the weights table and its cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gfpcli.cli.console import one_line_errors, tell
from gfpcli.weights import cache as weights

models = typer.Typer(no_args_is_help=True, help="List, download, check and convert weights.", rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="a name from `gfp models list`")]
ROLES = {"builtin": " (detector)", "compact-x2": " (background)"}
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks")]


@models.command("list")
def list_() -> None:
    """Show all weights, what is in the cache, and the licences.

    Example: gfp models list
    """
    table = Table("name", "here", "size", "licence", "sha256", box=box.SIMPLE)
    for name, path in weights.BUILTINS.items():
        label = f"{name}{ROLES.get(name, '')}"
        licence = weights.BUILTIN_LICENCES[name]
        table.add_row(label, "built in", _size(path.stat().st_size), licence, weights.sha256_of(path)[:12])
    for weight in weights.WEIGHTS.values():
        is_here = "yes" if weights.cached(weight.name) else "no"
        digest = (weights.expected_hash(weight) or "recorded at first download")[:26]
        table.add_row(
            weight.name, is_here, _size(weight.size), weight.licence, digest[:12] if " " not in digest else digest
        )
    Console(width=None if Console().is_terminal else 140).print(table)
    tell(f"cache: {weights.cache_folder()}")


def _size(n_bytes: int | None) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes else "?"


@models.command()
def pull(
    name: Name,
    offline: Annotated[bool, typer.Option("--offline", help="open no socket")] = False,
    debug: Debug = False,
) -> None:
    """Download weights into the cache; a cut download goes on where it stopped, a damaged file is replaced.

    Example: gfp models pull gfpgan-1.4
    """
    from gfpcli.cli.console import download_progress

    with one_line_errors(is_debug=debug), download_progress(name) as progress:
        if not offline and weights.verify(name) is False and (wrong := weights.cached(name)):
            wrong.unlink()
        typer.echo(weights.fetch(name, offline=offline, progress=progress))


@models.command()
def verify(debug: Debug = False) -> None:
    """Check every cached file against its SHA-256.

    Example: gfp models verify
    """
    n_wrong = 0
    with one_line_errors(is_debug=debug):
        for name in weights.WEIGHTS:
            is_good = weights.verify(name)
            if is_good is None:
                continue
            n_wrong += not is_good
            typer.echo(
                f"{name}: {'ok' if is_good else 'WRONG, remove ' + str(weights.cached(name)) + ' and pull it again'}"
            )
    raise typer.Exit(1 if n_wrong else 0)


@models.command()
def path(
    name: Annotated[str | None, typer.Argument(help="leave out for the cache folder")] = None, debug: Debug = False
) -> None:
    """Show where weights lie (exit code 1 where they are not there).

    Example: gfp models path gfpgan-1.4
    """
    with one_line_errors(is_debug=debug):
        if name is None:
            typer.echo(weights.cache_folder())
            return
        where = weights.BUILTINS.get(name) or weights.cached(name)
        if where is None:
            tell(f"gfp: {name} is not in {weights.cache_folder()}: run `gfp models pull {name}`")
            raise typer.Exit(1)
        typer.echo(where)


@models.command()
def convert(
    source: Annotated[Path, typer.Argument(help="a .pth or .safetensors checkpoint")],
    target: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
    half: Annotated[bool, typer.Option("--half", help="store 16-bit numbers")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there already")] = False,
    debug: Debug = False,
) -> None:
    """Rewrite a checkpoint as safetensors, inference weights only.

    Example: gfp models convert GFPGANv1.4.pth gfpgan-1.4.safetensors --half
    """
    from gfpcli.errors import OutputError, UsageError
    from gfpcli.model.checkpoint import convert as convert_file

    with one_line_errors(is_debug=debug):
        if target.suffix != ".safetensors":
            raise UsageError(f"{target}: the target must end in .safetensors")
        if target.resolve() == source.resolve():
            raise UsageError(f"{target} is the source: choose another name")
        if os.path.lexists(target) and not force:
            raise OutputError(f"{target}: is there already: choose another name, or --force")
        try:
            convert_file(source, target, is_half=half)
        except OSError as error:
            raise OutputError(f"{target}: {error.strerror or error}") from error
        typer.echo(target)
