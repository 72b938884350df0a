"""The `gfp` command: errors become one line and an exit code here, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gfpcli import __version__
from gfpcli.errors import GfpError, UsageError
from gfpcli.options import RestoreOptions

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
DEFAULT = RestoreOptions()


@app.callback()
def gfp() -> None:
    """Restore faces in photos."""


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(__version__)


@app.command()
def restore(
    inputs: Annotated[list[Path], typer.Argument(help="photos and folders (searched whole)")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder, made if missing")] = Path("restored"),
    model: Annotated[str, typer.Option("--model", "-m", help="auto, compact or a checkpoint file")] = DEFAULT.model,
    scale: Annotated[float, typer.Option("--scale", "-s", help="of the whole image, 1 to 8")] = DEFAULT.scale,
    strength: Annotated[float, typer.Option(help="0 keeps the photo's face, 1 takes the network's")] = DEFAULT.strength,
    faces: Annotated[str, typer.Option(help="all, largest, center, or N largest")] = DEFAULT.faces,
    min_face: Annotated[float, typer.Option(help="smaller boxes are left alone, px")] = DEFAULT.min_face,
    detector: Annotated[str, typer.Option(help="auto, builtin or a RetinaFace checkpoint")] = DEFAULT.detector,
    det_threshold: Annotated[float, typer.Option(help="lowest score")] = DEFAULT.det_threshold,
    det_size: Annotated[int, typer.Option(help="longest side the detector sees, 0 = full")] = DEFAULT.det_size,
    quality: Annotated[int, typer.Option(help="of JPEG and WebP, 1 to 100")] = DEFAULT.quality,
    strip: Annotated[bool, typer.Option("--strip", help="drop metadata")] = DEFAULT.strip,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Restore the faces of photos.

    Examples: gfp restore photos -o out; gfp restore old.jpg -o out --scale 1 --strength 0.7
    """
    from gfpcli.cli.restore import run

    try:
        options = RestoreOptions(
            model=model, scale=scale, strength=strength, faces=faces, min_face=min_face, detector=detector,
            det_threshold=det_threshold, det_size=det_size, quality=quality, strip=strip,
        )  # fmt: skip
        n_failed = run(inputs, output, options)
    except GfpError as error:
        if debug:
            raise
        typer.echo(f"gfp: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
    raise typer.Exit(1 if n_failed else 0)


def main() -> None:
    """The console script; an interrupt ends with 130."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
