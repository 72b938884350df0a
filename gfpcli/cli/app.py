"""The `gfp` command. Floors above 1 are imported inside command bodies only, so that `--help` never loads torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gfpcli import __version__
from gfpcli.cli import flags
from gfpcli.cli.console import FAILED, one_line_errors
from gfpcli.cli.models import models
from gfpcli.files.formats import CONTAINERS
from gfpcli.memory import keep_memory
from gfpcli.options import CODECS, SAVE_KINDS, BenchOptions, RestoreOptions, VideoOptions
from gfpcli.train.options import TRAIN_PRESETS

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.add_typer(models, name="models")
DEFAULT, CLIP, SPEED = RestoreOptions(), VideoOptions(), BenchOptions()


@app.callback()
def gfp() -> None:
    """Restore faces in old, small, blurred or over-compressed photos and videos.

    Examples: gfp restore photos -o out; gfp video old.mp4 -o new.mp4; gfp models list; gfp doctor
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
    inputs: Annotated[
        list[str], typer.Argument(help="photos, folders (searched whole), globs, URLs (s3://...), or - for stdin")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="folder or URL, made if missing; a file for one input; - for stdout")
    ] = "restored",
    model: flags.Model = DEFAULT.model,
    scale: flags.Scale = DEFAULT.scale,
    strength: flags.Strength = DEFAULT.strength,
    background: flags.Background = DEFAULT.background,
    tile: flags.Tile = DEFAULT.tile,
    aligned: flags.Aligned = DEFAULT.aligned,
    faces: flags.Faces = DEFAULT.faces,
    min_face: flags.MinFace = DEFAULT.min_face,
    detector: flags.Detector = DEFAULT.detector,
    det_threshold: flags.DetThreshold = DEFAULT.det_threshold,
    det_size: flags.DetSize = DEFAULT.det_size,
    mask: flags.Mask = DEFAULT.mask,
    device: flags.Device = DEFAULT.device,
    precision: flags.Precision = DEFAULT.precision,
    compile: flags.Compile = DEFAULT.compile,
    batch_size: flags.BatchSize = DEFAULT.batch_size,
    workers: Annotated[
        int,
        typer.Option(
            help="decoding threads (0 = 2); with --engine ray the workers, each with a restorer of its own (0 = as "
            "many as the cluster holds)"
        ),
    ] = DEFAULT.workers,
    format: flags.Format = DEFAULT.format,
    quality: flags.Quality = DEFAULT.quality,
    suffix: flags.Suffix = DEFAULT.suffix,
    save: Annotated[str, typer.Option(help=f"also keep, comma list of: {', '.join(SAVE_KINDS)}")] = "",
    strip: flags.Strip = DEFAULT.strip,
    force: flags.Force = DEFAULT.force,
    dry_run: flags.DryRun = DEFAULT.dry_run,
    offline: flags.Offline = DEFAULT.offline,
    fail_fast: flags.FailFast = DEFAULT.fail_fast,
    engine: flags.Engine = DEFAULT.engine,
    address: flags.Address = DEFAULT.address,
    gpus_per_worker: flags.GpusPerWorker = DEFAULT.gpus_per_worker,
    json: flags.Json = None,
    report: Annotated[
        str | None, typer.Option(help="FILE.html: one page with before/after sliders, faces, failures, settings")
    ] = None,
    config: flags.Config = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Restore the faces of photos.

    Examples: gfp restore photos -o out; gfp restore old.jpg -o new.png --scale 1 --strength 0.7;
    gfp restore "scans/*.tif" -o out --save crops,faces --json out/records.jsonl;
    gfp restore photos -o out --report out/report.html --save compare; gfp restore photos --dry-run;
    gfp restore s3://album/scans -o s3://album/restored;
    gfp restore /shared/photos -o /shared/out --engine ray --address auto
    """
    began = time.monotonic()
    from gfpcli.cli.config import given_options

    with one_line_errors(is_debug=debug):
        options = given_options(RestoreOptions, context, config, table="restore")
        from gfpcli.cli.restore import run_restore

        n_failed = run_restore(inputs, output, options, json, report, began=began, quiet=quiet)
        raise typer.Exit(FAILED if n_failed else 0)


@app.command()
def video(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(help="videos, folders of videos, or a folder of frames")],
    output: Annotated[
        str, typer.Option("--output", "-o", help=f"folder, or for one input a file: {', '.join(CONTAINERS)}")
    ] = "restored",
    model: flags.Model = CLIP.model,
    scale: flags.Scale = CLIP.scale,
    strength: flags.Strength = CLIP.strength,
    background: flags.Background = CLIP.background,
    tile: flags.Tile = CLIP.tile,
    faces: flags.Faces = CLIP.faces,
    min_face: flags.MinFace = CLIP.min_face,
    detector: flags.Detector = CLIP.detector,
    det_threshold: flags.DetThreshold = CLIP.det_threshold,
    det_size: flags.DetSize = CLIP.det_size,
    mask: flags.Mask = CLIP.mask,
    device: flags.Device = CLIP.device,
    precision: flags.Precision = CLIP.precision,
    compile: flags.Compile = CLIP.compile,
    batch_size: flags.BatchSize = CLIP.batch_size,
    codec: Annotated[str, typer.Option(help=f"{', '.join(CODECS)}, or a hardware encoder (h264_nvenc)")] = CLIP.codec,
    crf: Annotated[int, typer.Option(help="constant quality, lower is better; -1 = the codec's usual")] = CLIP.crf,
    preset: Annotated[str, typer.Option(help="the encoder's speed: medium, slow, ...")] = CLIP.preset,
    pix_fmt: Annotated[str, typer.Option(help="ffmpeg's name; auto keeps depth and chroma")] = CLIP.pix_fmt,
    start: Annotated[float, typer.Option(help="leave out what comes before, s")] = CLIP.start,
    end: Annotated[float, typer.Option(help="leave out what comes after, s; 0 = nothing")] = CLIP.end,
    smooth: Annotated[float, typer.Option(help="temporal stability, 0 = each frame alone")] = CLIP.smooth,
    detect_every: Annotated[int, typer.Option(help="look for faces in every N-th frame; 0 = automatic")] = 0,
    rate: Annotated[float, typer.Option(help="frames/s of a folder of frames")] = CLIP.rate,
    frames_dir: Annotated[str, typer.Option(help="also keep each finished frame as PNG in this folder")] = "",
    preview: Annotated[int, typer.Option(help="N: only a before/after strip of N frames and a short clip")] = 0,
    suffix: flags.Suffix = CLIP.suffix,
    strip: flags.Strip = CLIP.strip,
    force: flags.Force = CLIP.force,
    dry_run: flags.DryRun = CLIP.dry_run,
    offline: flags.Offline = CLIP.offline,
    fail_fast: flags.FailFast = CLIP.fail_fast,
    engine: flags.Engine = CLIP.engine,
    address: flags.Address = CLIP.address,
    workers: Annotated[
        int,
        typer.Option(help="with --engine ray: that share the clips' stretches; 0 = as many as the cluster holds"),
    ] = CLIP.workers,
    gpus_per_worker: flags.GpusPerWorker = CLIP.gpus_per_worker,
    json: flags.Json = None,
    config: flags.Config = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Restore the faces of videos; sound, subtitles, chapters and times are kept. A run that was stopped goes on.

    Examples: gfp video old.mp4 -o new.mp4; gfp video clips -o out --codec h265 --smooth 0.8;
    gfp video film.mkv -o look.mkv --start 60 --end 70 --preview 6;
    gfp video /shared/films -o /shared/out --engine ray --address auto
    """
    from gfpcli.cli.config import given_options

    with one_line_errors(is_debug=debug):
        options = given_options(VideoOptions, context, config, table="video")
        from gfpcli.cli.video import run_video

        n_failed = run_video(inputs, output, options, json, quiet=quiet)
        raise typer.Exit(FAILED if n_failed else 0)


@app.command()
def bench(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None, typer.Argument(help="photos, folders, globs; none: the portrait in the package")
    ] = None,
    model: flags.Model = SPEED.model,
    scale: flags.Scale = SPEED.scale,
    background: flags.Background = SPEED.background,
    tile: flags.Tile = SPEED.tile,
    aligned: flags.Aligned = SPEED.aligned,
    faces: flags.Faces = SPEED.faces,
    detector: flags.Detector = SPEED.detector,
    det_size: flags.DetSize = SPEED.det_size,
    mask: flags.Mask = SPEED.mask,
    device: flags.Device = SPEED.device,
    precision: flags.Precision = SPEED.precision,
    compile: flags.Compile = SPEED.compile,
    batch_size: flags.BatchSize = SPEED.batch_size,
    format: flags.Format = SPEED.format,
    quality: flags.Quality = SPEED.quality,
    rounds: Annotated[int, typer.Option(help="how often each picture is restored")] = SPEED.rounds,
    threads: Annotated[int, typer.Option(help="of the CPU for each stage, 0 = automatic")] = SPEED.threads,
    offline: flags.Offline = SPEED.offline,
    json: Annotated[str | None, typer.Option(help="FILE or -: one JSON record a line for each stage")] = None,
    config: flags.Config = None,
    debug: flags.Debug = False,
) -> None:
    """Time each stage on this machine: seconds, pictures and faces a second, peak memory. Writes no picture.

    Examples: gfp bench; gfp bench photos --model gfpgan-1.4 --device cuda --precision fp16;
    gfp bench photos --threads 1 --rounds 5 --json bench.jsonl
    """
    from gfpcli.cli.config import given_options

    with one_line_errors(is_debug=debug):
        options = given_options(BenchOptions, context, config, table="bench")
        from gfpcli.cli.bench import run_bench

        run_bench(inputs or [], options, json)


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
    keep_memory()
    app()
