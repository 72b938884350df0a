"""Flags that `gfp restore` and `gfp video` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gfpcli.options import ENGINES, FORMATS, PRECISIONS

Model: TypeAlias = Annotated[
    str, typer.Option("--model", "-m", help="auto, gfpgan-1.4|1.3|1.2|1, compact, or a checkpoint file")
]
Scale: TypeAlias = Annotated[float, typer.Option("--scale", "-s", help="of the whole image, 1 to 8")]
Strength: TypeAlias = Annotated[float, typer.Option(help="0 keeps the photo's face, 1 takes the network's")]
Background: TypeAlias = Annotated[
    str,
    typer.Option(
        "--background",
        "-b",
        help="what enlarges all but the faces: none (Lanczos), compact-x2 (built in), realesrgan-x2, realesrgan-x4, "
        "realesr-general, realesr-general-wdn, or a checkpoint; at scale 1 it cleans: enlarges, then reduces",
    ),
]
Tile: TypeAlias = Annotated[int, typer.Option(help="background tile edge, px; 0 = by free memory")]
Aligned: TypeAlias = Annotated[bool, typer.Option("--aligned", help="inputs are aligned square faces")]
Faces: TypeAlias = Annotated[str, typer.Option(help="all, largest, center, or N largest")]
MinFace: TypeAlias = Annotated[float, typer.Option(help="smaller boxes are left alone, px")]
Detector: TypeAlias = Annotated[str, typer.Option(help="auto, retinaface-r50, builtin, or a RetinaFace checkpoint")]
DetThreshold: TypeAlias = Annotated[float, typer.Option(help="lowest score")]
DetSize: TypeAlias = Annotated[int, typer.Option(help="longest side the detector sees, 0 = full")]
Mask: TypeAlias = Annotated[str, typer.Option(help="auto, parse, soft, or a ParseNet checkpoint")]
Device: TypeAlias = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; several with commas: cuda:0,cuda:1")
]
Precision: TypeAlias = Annotated[
    str, typer.Option(help=f"{', '.join(PRECISIONS)}; auto is the fastest that agrees with fp32")
]
Compile: TypeAlias = Annotated[
    bool | None, typer.Option("--compile/--no-compile", help="torch.compile [default: in long runs]")
]
BatchSize: TypeAlias = Annotated[int, typer.Option(help="faces per network call, 0 = automatic")]
Format: TypeAlias = Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}; auto keeps the input's")]
Quality: TypeAlias = Annotated[int, typer.Option(help="of JPEG and WebP, 1 to 100")]
Suffix: TypeAlias = Annotated[str, typer.Option(help="added to each file name's stem")]
Strip: TypeAlias = Annotated[bool, typer.Option("--strip", help="drop metadata")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="redo what is done")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="print the plan, write nothing")]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="open no socket")]
FailFast: TypeAlias = Annotated[bool, typer.Option("--fail-fast", help="stop at the first failure")]
Engine: TypeAlias = Annotated[
    str, typer.Option(help=f"{', '.join(ENGINES)}: this machine, or those of a Ray cluster (pip install 'gfpcli[ray]')")
]
Address: TypeAlias = Annotated[
    str,
    typer.Option(
        help="of the Ray cluster: auto (the one that runs on this machine), HOST or HOST:PORT; default: RAY_ADDRESS, "
        "else one of this machine alone, for this run"
    ),
]
GpusPerWorker: TypeAlias = Annotated[
    float, typer.Option(help="with --engine ray, a share such as 0.5 too; none on a cluster without GPUs, or with cpu")
]
Json: TypeAlias = Annotated[str | None, typer.Option(help="FILE or -: one JSON record a line for each input")]
Config: TypeAlias = Annotated[
    Path | None, typer.Option(help="TOML file with a table named like the command (gfp.toml if present)")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="failures only")]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="show tracebacks")]
