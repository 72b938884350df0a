"""The body of `gfp export`."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from gfpcli.cli.console import download_progress, tell
from gfpcli.errors import OutputError, UsageError
from gfpcli.options import EXPORT_KINDS, ExportOptions


def run_export(target: Path, options: ExportOptions) -> None:
    """Writes one network as ONNX; the file's name goes to stdout, how near it is to the network to stderr.

    Raises:
        GfpError: the network cannot be had, or its export is not the same network.
    """
    kind, name = next((kind, name) for kind, name in zip(EXPORT_KINDS, options.part_names, strict=True) if name)
    if target.suffix != ".onnx":
        raise UsageError(f"{target}: the file must end in .onnx")
    if os.path.lexists(target) and not options.force:
        raise OutputError(f"{target}: is there already: choose another name, or --force")
    from gfpcli.weights.choose import choose_part
    from gfpcli.weights.export import OPSET, export_network

    with download_progress(name) as progress:
        path = choose_part(kind, name, offline=options.offline, progress=progress)
    shown = Path(name).name  # of a file the name only
    parity = export_network(path, shown, kind, options.precision, target)
    tell(f"{kind} {shown}, opset {OPSET}, {options.precision}: {parity.line()}")
    typer.echo(target)
