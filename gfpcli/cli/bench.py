"""`gfp bench`: what each stage costs on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from gfpcli.cli.console import tell
from gfpcli.cli.output import json_sink
from gfpcli.cli.progress import tell_download
from gfpcli.errors import DeviceError
from gfpcli.files.formats import FORMAT_SUFFIXES, SUFFIX_FORMATS
from gfpcli.options import BenchOptions
from gfpcli.photo.inputs import find_images
from gfpcli.photo.profile import STAGES, Spent, Stopwatch, decode, encode, observed
from gfpcli.pipeline.restorer import Restorer
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTIN
from gfpcli.weights.choose import Warn, choose_parts
from gfpcli.weights.cpu import WITHOUT_BF16, cpu_features, limit_to
from gfpcli.weights.devices import choose_devices

Record: TypeAlias = dict[str, Any]  # a line of `--json`
PORTRAIT = BUILTIN / "portrait.jpg"


@dataclass(frozen=True, slots=True)
class Measured:
    """What pictures cost, stage by stage."""

    rows: tuple[Record, ...]
    title: str  # what was run, on what


def run_bench(inputs: list[str], options: BenchOptions, json_to: str | None) -> None:
    """Prints the table. On a CPU that has bf16 the whole is also measured without it. Raises GfpError."""
    paths = [path for path, _ in find_images(inputs, None)] if inputs else [PORTRAIT]
    measured = measure_stages(paths, options, warn=tell)
    features = cpu_features()
    rows = [{**row, "cpu": asdict(features)} for row in measured.rows]
    if choose_devices(options.device)[0].type == "cpu" and features.has_bf16:
        limited = measure_without_bf16(paths, options)
        by_stage = {row["stage"]: row["seconds_per_image"] for row in limited.rows}
        rows = [{**row, "seconds_per_image_without_bf16": by_stage.get(row["stage"])} for row in rows]
    with ExitStack() as stack:
        if sink := json_sink(json_to, stack):
            for row in rows:
                sink.write(json.dumps(row) + "\n")
    console = Console(stderr=json_to == "-")
    console.print(f"CPU: {features.line()}", soft_wrap=True)
    console.print(stage_table(rows, measured.title))


def measure_stages(paths: list[Path], options: BenchOptions, warn: Warn = lambda line: None) -> Measured:
    """Restores the pictures in this process. Raises GfpError."""
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    parts = choose_parts(options, warn=warn, progress=tell_download)
    restorer, device = load_restorer(options, parts, warn=warn), choose_devices(options.device)[0]
    restore_one(paths[0], restorer, options, Stopwatch(device))  # warms up
    watch, n_faces = Stopwatch(device), 0
    for path in paths * options.rounds:
        n_faces += restore_one(path, restorer, options, watch)
    rows = tuple(rows_of(watch, len(paths) * options.rounds, n_faces))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    title = f"{parts.model_name} on {device} ({name}), {restorer.computes_in}, scale {options.scale:g}"
    counted = f"pictures: {len(paths)}, rounds: {options.rounds}, faces: {n_faces // options.rounds}"
    return Measured(rows, f"{title}; {counted}")


def measure_without_bf16(paths: list[Path], options: BenchOptions) -> Measured:
    """The same as on a CPU that has no bf16: in a new process, as oneDNN takes no limit later. Raises GfpError."""
    new = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=new, initializer=limit_to, initargs=(WITHOUT_BF16,)) as pool:
        try:
            return pool.submit(measure_stages, paths, options).result()
        except BrokenProcessPool as error:
            raise DeviceError("the run without bf16 was ended from outside (is there enough memory?)") from error


def restore_one(path: Path, restorer: Restorer, options: BenchOptions, watch: Stopwatch) -> int:
    """One picture through all stages, one after the other; the number of faces the network made. Raises GfpError."""
    photo = decode(path, watch)
    result = observed(restorer, watch).restore(photo.frame)
    suffix = FORMAT_SUFFIXES[photo.format] if options.format == "auto" else f".{options.format}"
    encode(photo, result, SUFFIX_FORMATS[suffix], options, watch)
    return len(result.crops)


def rows_of(watch: Stopwatch, n_images: int, n_faces: int) -> Iterator[Record]:
    """One record for each stage that was met, then one for all together."""
    spent = [(stage, watch.spent[stage]) for stage in STAGES if stage in watch.spent]
    everything = Spent(
        sum(each.seconds for _, each in spent), sum(each.cpu_s for _, each in spent),
        max(each.peak for _, each in spent), max(each.gpu_peak for _, each in spent),
    )  # fmt: skip
    for stage, each in (*spent, ("all", everything)):
        seconds = max(each.seconds, 1e-9)
        yield {
            "stage": stage, "seconds_per_image": round(seconds / n_images, 6), "share": seconds / everything.seconds,
            "images_per_s": round(n_images / seconds, 3), "faces_per_s": round(n_faces / seconds, 3),
            "peak_memory": each.peak, "peak_gpu_memory": each.gpu_peak,
        }  # fmt: skip


def stage_table(rows: list[Record], title: str) -> Table:
    """The table that is printed; columns for the GPU and for times without bf16 where there are any."""
    has_gpu = any(row["peak_gpu_memory"] for row in rows)
    has_limited = any(row.get("seconds_per_image_without_bf16") for row in rows)
    heads = ["s/image", *(["without bf16"] if has_limited else []), "share", "images/s", "faces/s", "peak memory"]
    heads += ["peak on GPU"] if has_gpu else []
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("stage")
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        peaks = [row["peak_memory"], row["peak_gpu_memory"]][: 1 + has_gpu]
        limited = [_seconds(row["seconds_per_image_without_bf16"])] if has_limited else []
        table.add_row(
            row["stage"], _seconds(row["seconds_per_image"]), *limited, f"{row['share']:.0%}",
            f"{row['images_per_s']:.4g}", f"{row['faces_per_s']:.4g}" if row["faces_per_s"] else "-",
            *(f"{peak / 1e6:.0f} MB" for peak in peaks), end_section=row["stage"] == rows[-2]["stage"],
        )  # fmt: skip
    return table


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.4f}"
