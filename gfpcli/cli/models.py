"""`gfp models`: the weights table and its cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gfpcli.cli.commands import command
from gfpcli.cli.completion import completed
from gfpcli.cli.console import tell
from gfpcli.errors import OutputError, UsageError

models = typer.Typer(no_args_is_help=True, help="List, download, check and convert weights.", rich_markup_mode=None)
OFFERED = completed("weights")
Name = Annotated[
    str | None,
    typer.Argument(help="a name from `gfp models list`; none: show sizes and licences", autocompletion=OFFERED),
]
ROLES = {"builtin": " (detector)", "compact-x2": " (background)", "identity": " (identifier)"}


@command(models, "gfp models list", name="list")
def list_() -> None:
    """Show all weights, what is in the cache, and the licences."""
    tell_weights(has_builtins=True)


def tell_weights(*, has_builtins: bool) -> None:
    """Prints a row for each weight file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gfpcli.files.atomic import sha256_of
    from gfpcli.weights import cache as weights
    from gfpcli.weights.known_faces import KNOWN
    from gfpcli.weights.licences import accepted_licences

    table = Table("name", "here", "size", "licence", "sha256", box=box.SIMPLE)
    for name, path in weights.BUILTINS.items() if has_builtins else ():
        label = f"{name}{ROLES.get(name, '')}"
        licence = weights.BUILTIN_LICENCES[name]
        table.add_row(label, "built in", _megabytes(path.stat().st_size), licence, sha256_of(path)[:12])
    for weight in weights.WEIGHTS.values():
        is_here = "yes" if weights.cached(weight.name) else "no"
        digest = weights.expected_hash(weight)
        shown = digest[:12] if digest else "recorded at first download"
        table.add_row(weight.name, is_here, _megabytes(weight.size), weight.licence, shown)
    for name, licence in {family.accepted_as: family.licence for family in KNOWN if family.accepted_as}.items():
        is_accepted = "accepted" if name in accepted_licences() else "not accepted"
        table.add_row(f"{name} (files of yours)", is_accepted, "", licence, f"--accept-licence {name}")
    Console(width=None if Console().is_terminal else 140).print(table)
    tell(f"cache: {weights.cache_folder()}")


def _megabytes(n_bytes: int | None) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes else "?"


@command(models, "gfp models pull", "gfp models pull gfpgan-1.4")
def pull(name: Name = None, offline: Annotated[bool, typer.Option("--offline", help="open no socket")] = False) -> None:
    """Download weights into the cache; a cut download goes on where it stopped, a damaged file is replaced."""
    if name is None:
        tell_weights(has_builtins=False)
        tell("nothing was downloaded; `gfp models pull NAME` takes one, under its licence")
        return
    from gfpcli.cli.console import download_progress
    from gfpcli.weights import cache as weights

    with download_progress(name) as progress:
        if not offline and weights.verify(name) is False and (wrong := weights.cached(name)):
            wrong.unlink()
        typer.echo(weights.fetch(name, offline=offline, progress=progress))


@command(models, "gfp models verify", name="verify")
def verify_all() -> int:
    """Check every cached file against its SHA-256."""
    from gfpcli.weights import cache as weights

    n_wrong = 0
    for name in weights.WEIGHTS:
        is_good = weights.verify(name)
        if is_good is not None:
            n_wrong += not is_good
            wrong = f"WRONG, remove {weights.cached(name)} and pull it again"
            typer.echo(f"{name}: {'ok' if is_good else wrong}")
    return n_wrong


@command(models, "gfp models path gfpgan-1.4")
def path(
    name: Annotated[str | None, typer.Argument(help="none: show the cache folder", autocompletion=OFFERED)] = None,
) -> int:
    """Show where weights lie (exit code 1 where they are not there)."""
    from gfpcli.weights import cache as weights

    where = weights.cache_folder() if name is None else weights.BUILTINS.get(name) or weights.cached(name)
    if where is None:
        tell(f"gfp: {name} is not in {weights.cache_folder()}: run `gfp models pull {name}`")
        return 1
    typer.echo(where)
    return 0


@command(models, "gfp models convert GFPGANv1.4.pth gfpgan-1.4.safetensors --half", name="convert")
def convert_checkpoint(
    source: Annotated[Path, typer.Argument(help="a .pth or .safetensors checkpoint")],
    target: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
    half: Annotated[bool, typer.Option("--half", help="store 16-bit numbers")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there already")] = False,
) -> None:
    """Rewrite a checkpoint as safetensors, inference weights only."""
    from gfpcli.model.checkpoint import convert

    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: the target must end in .safetensors")
    if target.resolve() == source.resolve():
        raise UsageError(f"{target} is the source: choose another name")
    if os.path.lexists(target) and not force:
        raise OutputError(f"{target}: is there already: choose another name, or --force")
    convert(source, target, is_half=half)
    typer.echo(target)
