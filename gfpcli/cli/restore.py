"""`gfp restore`: inputs to outputs, one line for each."""

from __future__ import annotations

from pathlib import Path

import typer

from gfpcli.build import load_restorer
from gfpcli.errors import GfpError, UsageError
from gfpcli.images import SUFFIX_FORMATS, find_images, read_frame, write_image
from gfpcli.options import RestoreOptions
from gfpcli.restorer import Restorer


def plan(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """(input, output) of every image.

    Raises:
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    pairs: list[tuple[Path, Path]] = []
    owners: dict[str, Path] = {}
    for source, relative in find_images(inputs, output):
        suffix = relative.suffix if relative.suffix.lower() in SUFFIX_FORMATS else ".png"
        target = output / relative.with_suffix(suffix)
        owner = owners.setdefault(str(target).casefold(), source)
        if owner is not source:
            raise UsageError(f"{owner} and {source} would both become {target}")
        if target.resolve() == source.resolve():
            raise UsageError(f"{target} is an input: choose another --output")
        pairs.append((source, target))
    return pairs


def run(inputs: list[Path], output: Path, options: RestoreOptions) -> int:
    """Restores everything it can, tells each result on stderr, and gives the number of inputs that failed."""
    pairs = plan(inputs, output)
    restorer = load_restorer(options)
    n_failed = 0
    for index, (source, target) in enumerate(pairs):
        try:
            line = restore_file(restorer, source, target, index)
        except GfpError as error:
            n_failed += 1
            line = f"failed    {error}"
        typer.echo(line, err=True)
    typer.echo(f"{len(pairs) - n_failed} done, {n_failed} failed; results in {output}", err=True)
    return n_failed


def restore_file(restorer: Restorer, source: Path, target: Path, index: int) -> str:
    """One file; gives the line to tell. Raises GfpError as reading, restoring and writing do."""
    frame = read_frame(source, index)
    restored = restorer.restore(frame)
    options = restorer.options
    write_image(target, restored.image, frame, alpha=restored.alpha, quality=options.quality, strip=options.strip)
    n_restored = sum(outcome.status == "restored" for outcome in restored.outcomes)
    n_lost = len(restored.outcomes) - n_restored
    faces = f"{n_restored} faces" + (f", {n_lost} could not be aligned" if n_lost else "")
    return f"{'restored' if n_restored else 'no face '}  {source} -> {target} ({faces})"
