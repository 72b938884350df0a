"""The `gfp` command. Floors above 1 are imported inside command bodies only, so that `--help` never loads torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gfpcli import __version__
from gfpcli.cli.commands import command
from gfpcli.cli.models import models
from gfpcli.files.formats import WRITTEN
from gfpcli.memory import keep_memory
from gfpcli.options import (
    IN_OUT,
    BenchOptions,
    EvalOptions,
    ExportOptions,
    FacesOptions,
    RestoreOptions,
    VerifyOptions,
    VideoOptions,
    WatchOptions,
)
from gfpcli.train.options import TrainCommandOptions

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models, name="models")


def tell_version(is_wanted: bool) -> None:
    """`gfp --version`."""
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def gfp(
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    """Restore faces in old, small, blurred or over-compressed photos and videos.

    \b
    Examples:
      gfp restore photos -o out
      gfp faces photos -o plan.json
      gfp video old.mp4 -o new.mp4
      gfp models list
    """


@command(app, "gfp version")
def version() -> None:
    """Show the version."""
    typer.echo(__version__)


@command(app, "gfp doctor")
def doctor() -> int:
    """Show what this machine has (torch, device, precision, ffmpeg, cache) and run one self-test."""
    from gfpcli.cli.doctor import examine

    return examine()


@command(
    app,
    "gfp restore photos -o out",
    "gfp restore old.jpg -o new.png --scale 1 --strength 0.7",
    'gfp restore "scans/*.tif" -o out --save crops,faces --json out/records.jsonl',
    "gfp restore photos -o out --report out/report.html --save compare",
    "gfp restore photos -o out --plan plan.json",
    "gfp restore photos -o out --only aunt.jpg --max-face 200",
    "gfp restore s3://album/scans -o s3://album/restored",
    "gfp restore /shared/photos -o /shared/out --engine ray --address auto",
)
def restore(
    inputs: Annotated[
        list[str], typer.Argument(help="photos, folders (searched whole), globs, URLs (s3://...), or - for stdin")
    ],
    options: RestoreOptions,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="folder or URL, made if missing; a file for one input; - for stdout",
                     rich_help_panel=IN_OUT),
    ] = "restored",
) -> int:  # fmt: skip
    """Restore the faces of photos."""
    began = time.monotonic()
    from gfpcli.cli.restore import run_restore

    return run_restore(inputs, output, options, options.json, options.report, began=began, quiet=options.quiet)


@command(
    app,
    "gfp faces photos -o plan.json --sheet persons.png",
    "gfp faces photos --only aunt.jpg -o aunt.json && gfp restore photos -o out --plan aunt.json",
    "gfp faces photos -o - | jq '.photos[].faces[].person'",
)
def faces(
    inputs: Annotated[list[str], typer.Argument(help="photos, folders (searched whole), globs, URLs (s3://...)")],
    options: FacesOptions,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="FILE.json of the plan; - for stdout", rich_help_panel=IN_OUT),
    ] = "plan.json",
) -> int:
    """List the faces of photos, and who they are, as a plan that can be edited and given to restore."""
    from gfpcli.cli.faces import run_faces

    return run_faces(inputs, output, options)


@command(
    app,
    "gfp video old.mp4 -o new.mp4",
    "gfp video clips -o out --codec h265 --smooth 0.8",
    "gfp video film.mkv -o look.mkv --start 60 --end 70 --preview 6",
    "gfp video /shared/films -o /shared/out --engine ray --address auto",
)
def video(
    inputs: Annotated[list[str], typer.Argument(help="videos, folders of videos, or a folder of frames")],
    options: VideoOptions,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help=f"folder, or for one input a file: {', '.join(WRITTEN)}",
                     rich_help_panel=IN_OUT),
    ] = "restored",
) -> int:  # fmt: skip
    """Restore the faces of videos; sound, subtitles, chapters and times are kept. A run that was stopped goes on."""
    from gfpcli.cli.video import run_video

    return run_video(inputs, output, options, options.json, quiet=options.quiet)


@command(
    app,
    "gfp watch ~/Scans -o ~/Restored",
    "gfp watch inbox -o out --scale 1 --suffix _restored --keep-times",
)
def watch(
    folder: Annotated[str, typer.Argument(help="folder of this machine; its subfolders are watched too")],
    options: WatchOptions,
    output: Annotated[
        str, typer.Option("--output", "-o", help="folder, made if missing", rich_help_panel=IN_OUT)
    ] = "restored",
) -> None:  # fmt: skip
    """Restore the photos of a folder, then each that arrives there as soon as it is whole, until Ctrl-C."""
    from gfpcli.cli.watch import run_watch

    run_watch(folder, output, options)


@command(
    app,
    "gfp bench",
    "gfp bench photos --model gfpgan-1.4 --device cuda --precision fp16",
    "gfp bench photos --threads 1 --rounds 5 --json bench.jsonl",
)
def bench(
    options: BenchOptions,
    inputs: Annotated[
        list[str] | None, typer.Argument(help="photos, folders, globs; none: the portrait in the package")
    ] = None,
) -> None:
    """Time each stage on this machine: seconds, pictures and faces a second, peak memory. Writes no picture."""
    from gfpcli.cli.bench import run_bench

    run_bench(inputs or [], options, options.json)


@command(
    app,
    "gfp export --model gfpgan-1.4 -o gfpgan-1.4.onnx",
    "gfp export --model runs/a/best -o mine.onnx --precision fp16",
    "gfp export --background realesrgan-x4 -o x4.onnx",
)
def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="the .onnx file to write", rich_help_panel=IN_OUT)
    ],
    options: ExportOptions,
) -> None:
    """Write a network as ONNX, for `--model`, `--detector`, `--mask` or `--background` and other tools.

    The file is compared with the network before it gets its name.
    """
    from gfpcli.cli.export import run_export

    run_export(output, options)


@command(
    app,
    "gfp train --data faces/ -o runs/a --preset compact",
    "gfp train --data ffhq/ -o runs/b --prior stylegan2-ffhq --set degrade=mild --set loss.gan=0.05",
    "gfp train --data faces/ -o runs/p --preset prior-256 && gfp train --data faces/ -o runs/c --set size=256 "
    "--prior runs/p/best",
    "gfp train --data faces/ -o runs/d --preview-degradation sheet.png",
    name="train",
)
def train_restorer(
    data: Annotated[
        Path,
        typer.Option("--data", help="folder of photos or aligned faces, or a BasicSR LMDB", rich_help_panel=IN_OUT),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="the run's folder; a begun run goes on", rich_help_panel=IN_OUT)
    ],
    options: TrainCommandOptions,
) -> None:
    """Train a restorer (GFP-GAN), or its prior (StyleGAN2), on your own faces. Under torchrun it is distributed."""
    from gfpcli.cli.train_options import train_options

    training = train_options(options.preset, options.config, list(options.changes), options.given)
    from gfpcli.cli.train import run_train, tell_training_plan, write_degradation_sheet

    if options.dry_run:
        tell_training_plan(data, output, training, is_fresh=not options.resume)
    elif options.preview_degradation:
        write_degradation_sheet(data, output, training, options.preview_degradation, quiet=options.quiet)
    else:
        run_train(
            data, output, training,
            device=options.device, offline=options.offline, is_fresh=not options.resume, quiet=options.quiet,
        )  # fmt: skip


@command(
    app,
    "gfp eval out/ truth/",
    "gfp eval out/a.png truth/a.png --json -",
    "gfp models pull arcface-r18 && gfp eval out/ truth/ --channel y --crop 4 --latex table.tex",
    "gfp eval out/ --no-reference",
    "gfp eval --video new.mp4 old.mp4",
    name="eval",
)
def evaluate(
    restored: Annotated[Path, typer.Argument(help="a picture, or a folder of them; with --video a clip")],
    options: EvalOptions,
    reference: Annotated[
        Path | None, typer.Argument(help="the true picture, or a folder with the same names; with --video the input")
    ] = None,
) -> int:
    """Compare restored pictures with the true ones: PSNR, SSIM, NIQE, landmarks; LPIPS, FID and Deg. where their
    weights are."""
    if options.video:
        from gfpcli.cli.steadiness import run_video_eval

        return run_video_eval(restored, reference, options.json)
    from gfpcli.cli.evaluate import run_eval

    return run_eval(restored, reference, options)


@command(app, "gfp verify out", "gfp verify out/a.jpg film.mp4 --json -", "gfp verify s3://album/restored -q",
         name="verify")  # fmt: skip
def verify_outputs(
    inputs: Annotated[list[str], typer.Argument(help="outputs, folders of them (searched whole), globs, URLs")],
    options: VerifyOptions,
) -> int:
    """Tell of each file whether gfp made it, from what and how, and whether it is unchanged since.

    By the label in the file and the ledger in its folder or one above. Exit code 0: all are gfp's and unchanged.
    """
    from gfpcli.cli.verify import run_verify

    return run_verify(inputs, options)


def main() -> None:
    """The console script."""
    keep_memory()
    app()
