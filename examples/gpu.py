"""What a GPU makes of gfp: one command of at most ten minutes, one table (gpu.json and gpu.md).

    python examples/gpu.py                          where there is a CUDA GPU; else it says so and writes nothing
    python examples/gpu.py --device cpu --quick     the same on a CPU and on little, to try the script itself

In this order, until the time is used up; what is left then is named in the table as not measured:

- parity: the face networks on the GPU against the CPU in fp32, with TF32 in convolutions as torch has it
- the network alone: faces/s in batches of 1, 8 and 32, in fp32, bf16 and fp16, as it is, tuned by cuDNN, as a CUDA
  graph, and at last compiled
- the whole of `gfp restore` and `gfp video` from files to files: photos, 24 megapixels with 20 faces, a clip of 1080p

The large network has random weights in the official layout of 512 px (speed does not depend on their values); so has
ParseNet. Photos and clips are made from the portraits in `examples/photos`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from runs import AS_ASKED, BUILT_IN, DETECTED, run_gfp
from scenes import portraits, twenty_faces, write_clip, write_photos
from torch import Tensor

from gfpcli.files.atomic import write_bytes
from gfpcli.weights.autotune import machine_of, probe_batch
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.face_model import load_face_model

LOG = logging.getLogger("gpu")
HERE = Path(__file__).parent
MINUTES = 9.5
GOAL_FACES, GOAL_CLIP = "400 faces/s on an H100", "30 frames/s on an H100"
PRECISIONS = ("bf16", "fp16", "fp32")  # the most wanted first
PLAIN, TUNED, GRAPH, COMPILED = WAYS = ("as it is", "tuned by cuDNN", "CUDA graph", "compiled")
SHARE_NETWORK, SHARE_PIPELINE = 0.25, 0.75  # of the time, after which the next part begins
MEASURE_S = 0.8  # that a network is run for one figure, at least
TIME_OVER = "the time was over"  # why a row has no figure
HD = 1080, 1920
NetFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """A figure of the table."""

    part: str  # parity, network or pipeline
    name: str
    figure: float | None  # None: not measured, for the reason in `note`
    unit: str
    goal: str = ""
    gpu_bytes: int | None = None  # at most, of the GPU's memory
    bytes: int | None = None  # at most, of the process
    note: str = ""


@dataclass
class Table:
    """The rows so far, and until when more may be measured."""

    minutes: float
    began: float = field(default_factory=time.monotonic)
    rows: list[Row] = field(default_factory=list)

    def left_s(self, share: float = 1.0) -> float:
        """Seconds until this share of the time is used up."""
        return 60 * self.minutes * share - (time.monotonic() - self.began)

    def add(self, row: Row) -> None:
        """One more, which is also told."""
        self.rows.append(row)
        figure = "not measured" if row.figure is None else f"{row.figure:.4g} {row.unit}"
        LOG.info("%s: %s: %s%s", row.part, row.name, figure, f" ({row.note})" if row.note else "")


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    batches: tuple[int, ...] = (1, 8, 32)
    precisions: tuple[str, ...] = PRECISIONS
    photos: tuple[int, ...] = (40, 240)  # a short and a long run: their difference is free of the start
    large: tuple[int, ...] = (1, 5)
    frames: tuple[int, int] = (60, 360)
    clip_size: tuple[int, int] = HD
    has_large_network: bool = True


QUICK = Extent((1, 2), ("bf16", "fp32"), (), (), (2, 12), (180, 320), has_large_network=False)


@dataclass
class Most:
    """The largest value so far."""

    bytes: int = 0


@contextmanager
def watched_memory(device: torch.device) -> Iterator[Most]:
    """How much of the GPU's memory is taken at most inside the block, by all processes, over what was before it."""
    most = Most()
    if device.type != "cuda":
        yield most
        return
    over, free = threading.Event(), torch.cuda.mem_get_info(device)[0]

    def watch() -> None:
        while not over.wait(0.05):
            most.bytes = max(most.bytes, free - torch.cuda.mem_get_info(device)[0])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


# The network alone, in a process of its own: it can be ended when its time is over


def serve(args: argparse.Namespace) -> None:
    """Measures networks and writes each row as a line of JSON."""
    warnings.simplefilter("ignore")
    device, extent = torch.device(args.device), QUICK if args.quick else Extent()
    ways = args.serve.split(",")
    rows = network_rows(args.network, device, extent, ways)
    if PLAIN in ways:
        paths = dict.fromkeys((args.network, BUILTINS["compact"]))
        rows = chain(*(parity_rows(path, device, extent) for path in paths), rows)
    for row in rows:
        sys.stdout.write(json.dumps(asdict(row)) + "\n")
        sys.stdout.flush()


def parity_rows(path: Path, device: torch.device, extent: Extent) -> Iterator[Row]:
    """PSNR of a face against the CPU's in fp32, and the largest difference."""
    net = load_face_model(path, torch.device("cpu"), "fp32", is_compiled=False)
    probe = probe_batch(net.size)
    want = np.clip(net(probe), -1, 1)
    for precision in extent.precisions:
        model = load_face_model(path, device, precision, is_compiled=False)
        error = np.clip(model(probe), -1, 1) - want
        psnr = float(10 * np.log10(4 / max(np.square(error).mean(), 1e-12)))
        yield Row("parity", f"{path.stem} in {precision}, from the CPU's fp32", psnr, "dB",
                  note=f"at most {127.5 * np.abs(error).max():.2f} of 255 levels")  # fmt: skip


def network_rows(path: Path, device: torch.device, extent: Extent, ways: Sequence[str]) -> Iterator[Row]:
    """Faces/s of the network, whose faces lie on the device; then through its port, with the copies to and fro."""
    for precision in extent.precisions:
        model = load_face_model(path, device, precision, is_compiled=False)
        for way in ways:
            for n in reversed(extent.batches):
                batch = model.placed(np.repeat(probe_batch(model.size), n, axis=0))
                yield timed_row(f"batch {n}, {precision}, {way}", partial(ready, model.net, batch, way), n, device)
        if PLAIN in ways:
            n = extent.batches[-1]
            faces = np.repeat(probe_batch(model.size), n, axis=0)
            name = f"batch {n}, {precision}, {PLAIN}, from and to the CPU's memory"
            yield timed_row(name, partial(partial, model, faces), n, device)


def ready(net: NetFunction, batch: Tensor, way: str) -> Callable[[], object]:
    """A call of the network on the batch, in one of WAYS."""
    torch.backends.cudnn.benchmark = way != PLAIN
    if way == COMPILED:
        torch.compiler.reset()  # else the ninth network is quietly not compiled
        compiled = torch.compile(copy.deepcopy(net), dynamic=False)
        return lambda: compiled(batch)
    if way != GRAPH:
        return lambda: net(batch)
    beside = torch.cuda.Stream()
    with torch.cuda.stream(beside):  # as torch asks for: calls before the capture, on another stream
        for _ in range(3):
            net(batch)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(batch)
    return graph.replay


def timed_row(name: str, prepare: Callable[[], Callable[[], object]], n_faces: int, device: torch.device) -> Row:
    """The median of single calls."""
    is_cuda = device.type == "cuda"
    wait: Callable[[], None] = torch.cuda.synchronize if is_cuda else lambda: None
    times: list[float] = []
    try:
        if is_cuda:
            torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            call = prepare()
            call()
            wait()
            while sum(times) < MEASURE_S or len(times) < 3:
                start = time.perf_counter()
                call()
                wait()
                times.append(time.perf_counter() - start)
    except Exception as error:  # whatever a device or a compiler raises for what it cannot do: it is told
        return Row("network", name, None, "faces/s", note=" ".join(str(error).split())[:120])
    memory = torch.cuda.max_memory_allocated() if is_cuda else None
    return Row("network", name, n_faces / statistics.median(times), "faces/s", GOAL_FACES, memory)


def measure_network(table: Table, args: argparse.Namespace, network: Path, ways: Sequence[str], share: float) -> None:
    """Runs `serve` until its share of the time is over."""
    rest = f"the rest of: {', '.join(ways)}"
    if table.left_s(share) <= 0:
        table.add(Row("network", rest, None, "faces/s", note=TIME_OVER))
        return
    command = [sys.executable, __file__, "--serve", ",".join(ways), "--network", str(network), "--device", args.device]
    command += ["--quick"] if args.quick else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        killer = threading.Timer(max(table.left_s(share), 0), child.kill)
        killer.start()
        for line in child.stdout or ():
            table.add(Row(**json.loads(line)))
        child.wait()
        killer.cancel()
    if child.returncode:
        reason = TIME_OVER if child.returncode < 0 else f"exit code {child.returncode}"
        table.add(Row("network", rest, None, "faces/s", note=reason))


# The whole pipeline, by the command


@dataclass(frozen=True)
class Case:
    """One kind of input, in a short and a long run."""

    name: str
    verb: str
    sources: tuple[Path, ...]  # of the short and the long run
    amounts: tuple[int, ...]
    unit: str
    flags: tuple[str, ...]
    goal: str = ""


def cases_of(folder: Path, extent: Extent, large: tuple[str, ...], device: str) -> Iterator[Case]:
    """The cases, the most wanted first, the compiled one last. `large` are the flags of the large network."""
    portrait = np.asarray(cv2.resize(portraits()[1][:540, 20:], (640, 480), interpolation=cv2.INTER_AREA), np.uint8)
    clips = [write_clip(folder / f"clip {n}" / "clip.mp4", n, extent.clip_size) for n in extent.frames]
    photos = [write_photos(folder / f"photos {n}", [portrait] * n) for n in extent.photos]
    where, jpeg, clip_name = ("--device", device), ("--format", "jpg"), f"clip of {extent.clip_size[0]} lines, one head"
    sets = {"network of 512 px": (*large, *where), "built-in weights": (*BUILT_IN, *where)}
    for name, flags in list(sets.items())[0 if extent.has_large_network else 1 :]:
        yield Case(f"{clip_name}, {name}", "video", tuple(clips), extent.frames, "frames/s", flags, GOAL_CLIP)
        if extent.photos:
            yield Case(f"photos of 640x480, {name}", "restore", tuple(photos), extent.photos, "photos/s",
                       (*flags, *jpeg))  # fmt: skip
        if extent.large:
            sheets = tuple(write_photos(folder / f"large {n} {name}", [twenty_faces()] * n) for n in extent.large)
            yield Case(f"24 megapixels with 20 faces, {name}", "restore", sheets, extent.large, "photos/s",
                       (*flags, *jpeg))  # fmt: skip
    name, flags = next(iter(sets.items()))
    yield Case(f"{clip_name}, {name}, --compile", "video", tuple(clips), extent.frames, "frames/s",
               (*flags, "--compile"), GOAL_CLIP)  # fmt: skip


def measure_case(table: Table, case: Case, device: torch.device, has_first_run: bool) -> None:
    """Figures of a case: after the start, and how long the start takes."""

    def limit() -> float:
        return table.left_s(SHARE_PIPELINE if "--compile" not in case.flags else 1.0)

    try:
        if limit() <= 0:
            raise TimeoutError(TIME_OVER)
        if has_first_run:  # it finds the fastest precision and fills caches
            run_gfp(case.verb, case.sources[0], case.flags, limit_s=limit())
        short = run_gfp(case.verb, case.sources[0], case.flags, limit_s=limit())
        with watched_memory(device) as memory:
            long = run_gfp(case.verb, case.sources[1], case.flags, limit_s=limit())
    except (TimeoutError, RuntimeError) as error:
        table.add(Row("pipeline", case.name, None, case.unit, case.goal, note=str(error)))
        return
    if (more_s := long.seconds - short.seconds) <= 0:
        table.add(Row("pipeline", case.name, None, case.unit, case.goal, note="the long run took no longer: too noisy"))
        return
    rate = (case.amounts[1] - case.amounts[0]) / more_s
    start_s = max(short.seconds - case.amounts[0] / rate, 0)
    note = f"{long.n_faces} faces and {long.seconds:.1f} s in the long run, of which the start {start_s:.1f} s"
    table.add(Row("pipeline", case.name, rate, case.unit, case.goal, memory.bytes or None, long.peak_bytes, note))


# Table


def markdown(table: Table, facts: dict[str, Any]) -> str:
    """The table as a page."""
    lines = [
        "# On a GPU", "",
        f"`python examples/gpu.py`, {facts['date']}: {facts['machine']}, {facts['cores']} threads of the CPU; "
        f"{facts['minutes']:.1f} minutes. The goals are for an NVIDIA H100.", "",
        "| | what | figure | goal | GPU memory, GB | process, GB | |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in table.rows:
        figure = "not measured" if row.figure is None else f"{row.figure:.4g} {row.unit}"
        memories = ["" if each is None else f"{each / 1e9:.2f}" for each in (row.gpu_bytes, row.bytes)]
        note = row.note.replace("|", "/")
        lines.append(f"| {row.part} | {row.name} | {figure} | {row.goal} | {memories[0]} | {memories[1]} | {note} |")
    return "\n".join([*lines, ""])


def write_table(table: Table, folder: Path, device: torch.device) -> None:
    """gpu.json and gpu.md."""
    facts = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine_of(device), "cores": torch.get_num_threads(),
        "cuda": torch.version.cuda, "minutes": (time.monotonic() - table.began) / 60,
    }  # fmt: skip
    told = {**facts, "rows": [asdict(row) for row in table.rows]}
    write_bytes(folder / "gpu.json", (json.dumps(told, indent=1) + "\n").encode())
    write_bytes(folder / "gpu.md", markdown(table, facts).encode())
    LOG.info("%s and gpu.md are written", folder / "gpu.json")


def measure(table: Table, args: argparse.Namespace, folder: Path) -> None:
    """All parts, as far as the time goes."""
    device, extent = torch.device(args.device), QUICK if args.quick else Extent()
    network, large = BUILTINS["compact"], BUILT_IN
    if extent.has_large_network:
        from against_original import make_weights

        make_weights(weights := folder / "weights")
        network = weights / "model.pth"
        large = ("--model", str(network), "--mask", str(weights / "mask.pth"), *DETECTED, *AS_ASKED)
    measure_network(table, args, network, WAYS[:3] if device.type == "cuda" else WAYS[:1], SHARE_NETWORK)
    *cases, compiled = cases_of(folder, extent, large, args.device)
    for case in cases:
        measure_case(table, case, device, extent.has_large_network)
    if extent.has_large_network:
        measure_network(table, args, network, [COMPILED], 1.0)
        measure_case(table, compiled, device, has_first_run=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which nothing more is begun")
    parser.add_argument("--out", type=Path, default=HERE / "figures", help="folder of gpu.json and gpu.md")
    parser.add_argument("--quick", action="store_true", help="little of each, with the built-in network")
    parser.add_argument("--serve", default="", help="measure networks in these ways (it calls itself so)")
    parser.add_argument("--network", type=Path, help="their file")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.serve:
        serve(args)
        return
    if args.device == "cuda" and not torch.cuda.is_available():
        LOG.info("no CUDA GPU here: nothing was measured, and no table is written")
        return
    table = Table(args.minutes)
    with tempfile.TemporaryDirectory() as name:
        measure(table, args, Path(name))
    args.out.mkdir(parents=True, exist_ok=True)
    write_table(table, args.out, torch.device(args.device))


if __name__ == "__main__":
    main()
