"""The `gfp` command. Floors above 1 are imported inside command bodies only, so that `--help` never loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gfpcli import __version__
from gfpcli.cli.console import FAILED, one_line_errors
from gfpcli.cli.models import models
from gfpcli.options import FORMATS, PRECISIONS, SAVE_KINDS, TRAIN_PRESETS, RestoreOptions

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(models, name="models")
DEFAULT = RestoreOptions()


@app.callback()
def gfp() -> None:
    """Restore faces in old, small, blurred or over-compressed photos.

    Examples: gfp restore photos -o out; gfp models list; gfp doctor
    """


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(__version__)


@app.command()
def doctor() -> None:
    """Show what this machine has (torch, device, precision, ffmpeg, cache) and run one self-test.

    Example: gfp doctor
    """
    from gfpcli.cli.doctor import examine

    raise typer.Exit(FAILED if examine() else 0)


@app.command()
def restore(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(help="photos, folders (searched whole), globs, or - for stdin")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder, made if missing; a file for one input; - for stdout")
    ] = Path("restored"),
    model: Annotated[
        str, typer.Option("--model", "-m", help="auto, gfpgan-1.4|1.3|1.2|1, compact, or a checkpoint file")
    ] = DEFAULT.model,
    scale: Annotated[float, typer.Option("--scale", "-s", help="of the whole image, 1 to 8")] = DEFAULT.scale,
    strength: Annotated[float, typer.Option(help="0 keeps the photo's face, 1 takes the network's")] = DEFAULT.strength,
    background: Annotated[str, typer.Option("--background", "-b", help="none (Lanczos)")] = DEFAULT.background,
    tile: Annotated[int, typer.Option(help="background tile edge, px; 0 = automatic")] = DEFAULT.tile,
    aligned: Annotated[bool, typer.Option("--aligned", help="inputs are aligned square faces")] = DEFAULT.aligned,
    faces: Annotated[str, typer.Option(help="all, largest, center, or N largest")] = DEFAULT.faces,
    min_face: Annotated[float, typer.Option(help="smaller boxes are left alone, px")] = DEFAULT.min_face,
    detector: Annotated[
        str, typer.Option(help="auto, retinaface-r50, builtin, or a RetinaFace checkpoint")
    ] = DEFAULT.detector,
    det_threshold: Annotated[float, typer.Option(help="lowest score")] = DEFAULT.det_threshold,
    det_size: Annotated[int, typer.Option(help="longest side the detector sees, 0 = full")] = DEFAULT.det_size,
    mask: Annotated[str, typer.Option(help="auto, parse, soft, or a ParseNet checkpoint")] = DEFAULT.mask,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = DEFAULT.device,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS))] = DEFAULT.precision,
    compile: Annotated[bool, typer.Option("--compile/--no-compile", help="torch.compile")] = DEFAULT.compile,
    batch_size: Annotated[int, typer.Option(help="faces per network call, 0 = automatic")] = DEFAULT.batch_size,
    workers: Annotated[int, typer.Option(help="decoding threads")] = DEFAULT.workers,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}; auto keeps the input's")] = DEFAULT.format,
    quality: Annotated[int, typer.Option(help="of JPEG and WebP, 1 to 100")] = DEFAULT.quality,
    suffix: Annotated[str, typer.Option(help="added to each file name's stem")] = DEFAULT.suffix,
    save: Annotated[str, typer.Option(help=f"also keep, comma list of: {', '.join(SAVE_KINDS)}")] = "",
    strip: Annotated[bool, typer.Option("--strip", help="drop metadata")] = DEFAULT.strip,
    force: Annotated[bool, typer.Option("--force", help="redo what is done")] = DEFAULT.force,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan, write nothing")] = DEFAULT.dry_run,
    offline: Annotated[bool, typer.Option("--offline", help="open no socket")] = DEFAULT.offline,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop at the first failure")] = DEFAULT.fail_fast,
    json: Annotated[str | None, typer.Option(help="FILE or -: one JSON record a line for each input")] = None,
    report: Annotated[str | None, typer.Option(help="not there yet")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with a [restore] table (gfp.toml if present)")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="failures only")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Restore the faces of photos.

    Examples: gfp restore photos -o out; gfp restore old.jpg -o new.png --scale 1 --strength 0.7;
    gfp restore "scans/*.tif" -o out --save crops,faces --json out/records.jsonl
    """
    from gfpcli.cli.config import given_options

    with one_line_errors(is_debug=debug):
        options = given_options(RestoreOptions, context, config, table="restore")
        if report is not None:
            from gfpcli.errors import UsageError

            raise UsageError("--report: not there yet")
        from gfpcli.cli.restore import run_restore

        n_failed = run_restore(inputs, output, options, json, quiet=quiet)
        raise typer.Exit(FAILED if n_failed else 0)


@app.command()
def train(
    context: typer.Context,
    data: Annotated[Path, typer.Option("--data", help="folder of photos or aligned faces, or a BasicSR LMDB")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the run's folder; a begun run goes on")],
    preset: Annotated[str, typer.Option(help=", ".join(TRAIN_PRESETS))] = "paper-512",
    start: Annotated[str, typer.Option("--from", help="go on from compact, gfpgan-1.4, ..., or a file")] = "",
    prior: Annotated[str, typer.Option(help="StyleGAN2 in the decoder: stylegan2-ffhq or a file")] = "",
    config: Annotated[Path | None, typer.Option(help="YAML file of options")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, may be repeated: loss.gan=0.05, degrade=mild")
    ] = None,
    iterations: Annotated[int, typer.Option(help="of the preset where not given")] = 0,
    batch_size: Annotated[int, typer.Option(help="faces for each process and step")] = 0,
    workers: Annotated[int, typer.Option(help="data processes")] = 0,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="no: begin anew in this folder")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan, write nothing")] = False,
    preview_degradation: Annotated[
        Path | None, typer.Option(help="FILE.png: write a contact sheet of degradations, do not train")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="open no socket")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="errors only")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Train a restorer (GFP-GAN) on your own faces. Under torchrun it is distributed.

    Examples: gfp train --data faces/ -o runs/a --preset compact;
    gfp train --data ffhq/ -o runs/b --prior stylegan2-ffhq --set degrade=mild --set loss.gan=0.05;
    gfp train --data faces/ -o runs/c --preview-degradation sheet.png
    """
    with one_line_errors(is_debug=debug):
        from gfpcli.cli.train_options import train_options

        names = ("start", "prior", "iterations", "batch_size", "workers")
        given = {name: context.params[name] for name in names if _is_given(context, name)}
        options = train_options(preset, config, changes or [], given)
        from gfpcli.cli.train import run_train, tell_plan, write_preview

        if dry_run:
            tell_plan(data, output, options)
        elif preview_degradation:
            write_preview(data, output, options, preview_degradation, quiet=quiet)
        else:
            run_train(data, output, options, device=device, offline=offline, is_fresh=not resume, quiet=quiet)


@app.command("eval")
def evaluate(
    restored: Annotated[Path, typer.Argument(help="a picture, or a folder of them")],
    reference: Annotated[Path, typer.Argument(help="the true picture, or a folder with the same names")],
    json: Annotated[
        str | None, typer.Option(help="FILE or -: one JSON record a line for each pair, then the means")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Compare restored pictures with the true ones: PSNR, SSIM, NIQE; LPIPS, FID and Deg. where their weights are.

    Examples: gfp eval out/ truth/; gfp eval out/a.png truth/a.png --json -;
    gfp models pull arcface-r18 && gfp eval out/ truth/
    """
    with one_line_errors(is_debug=debug):
        from gfpcli.cli.evaluate import run_eval

        n_failed = run_eval(restored, reference, json)
        raise typer.Exit(FAILED if n_failed else 0)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def main() -> None:
    """The console script."""
    app()
