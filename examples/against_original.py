"""Time the original pipeline (package `gfpgan`) and gfp in turn, in one process, with the same weights and photos.

    python examples/against_original.py --pairs 5 --cases portrait,group

The face network and ParseNet get random weights in the official layouts, the detector is the built-in one in both (the
original's own is larger and slower). How masks are made is what agrees on the probe with these weights, unless
`--masks "fp32 at 512"` says it by hand. Timings hold for this machine only.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.parsing.parsenet import ParseNet
from numpy.typing import NDArray
from safetensors.torch import load_file

from gfpcli import fast
from gfpcli.adapters._compat import prepare_basicsr
from gfpcli.build import choose_parts, load_restorer
from gfpcli.cli.restore import Run, Told
from gfpcli.inputs import plan_jobs
from gfpcli.ledger import Ledger
from gfpcli.options import RestoreOptions
from gfpcli.restorer import Restorer
from gfpcli.stages import peak_memory
from gfpcli.weights import BUILTINS

LOG = logging.getLogger("against_original")
PHOTOS = Path(__file__).parent / "photos"
THRESHOLD = 0.97  # the original's, of the detector
WEIGHTS = ("model", "mask", "detector")
CASES = ("portrait", "group", "24 megapixels", "100 small", "frames")


@dataclass
class Clock:
    """Seconds and calls by stage."""

    spent: Counter[str] = field(default_factory=Counter)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added to `stage`."""

        def run(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.spent[stage] += time.perf_counter() - start

        return run


def make_case(name: str, folder: Path) -> None:
    """The photos of a case, as JPEG, from the two public-domain portraits."""
    pair = [np.asarray(cv2.imread(str(path)), np.uint8) for path in sorted(PHOTOS.glob("*.jpg"))]
    folder.mkdir(parents=True)
    if name == "portrait":
        pictures = [pair[1]]
    elif name == "group":
        pictures = [_wall(pair, (2, 3), (900, 1200))]
    elif name == "24 megapixels":
        pictures = [_wall(pair, (4, 5), (4000, 6000))]
    elif name == "100 small":
        pictures = [cv2.resize(pair[i % 2], (256, 256), interpolation=cv2.INTER_AREA) for i in range(100)]
    else:  # a slow pan; ten frames of a clip, as the original would take most of an hour for ten seconds
        pictures = [_wall(pair, (1, 2), (360, 660))[:, i : i + 640] for i in range(10)]
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])


def _wall(pair: list[NDArray[np.uint8]], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Portraits side by side, in rows, in a picture of (height, width)."""
    cell = size[1] // grid[1], size[0] // grid[0]
    rows = [[cv2.resize(pair[(x + y) % 2], cell) for x in range(grid[1])] for y in range(grid[0])]
    wall = cv2.vconcat([cv2.hconcat(row) for row in rows])
    return np.asarray(cv2.resize(wall, size[::-1]), np.uint8)


def make_weights(folder: Path) -> dict[str, Path]:
    """Random GFPGAN (clean, 512) and ParseNet, and the built-in detector without its landmark network."""
    prepare_basicsr()
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    torch.manual_seed(1)
    net = GFPGANv1Clean(512, channel_multiplier=2, input_is_latent=True, different_w=True, sft_half=True)
    states = {
        "model": {"params_ema": net.state_dict()},
        "mask": ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(),
        "detector": {k: v for k, v in load_file(BUILTINS["builtin"]).items() if not k.startswith("look.")},
    }
    paths = {name: folder / f"{name}.pth" for name in states}
    for name, state in states.items():
        torch.save(state, paths[name])
    return paths


def load_original(weights: dict[str, Path], clock: Clock) -> Callable[[Path, Path], int]:
    """The original pipeline: a folder of photos to a folder of results; gives the number of faces."""
    prepare_basicsr()
    from facexlib.utils import face_restoration_helper as helper

    detector = RetinaFace("mobile0.25", device=torch.device("cpu"))
    detector.load_state_dict({k: v.float() for k, v in torch.load(weights["detector"]).items()})
    parser = ParseNet(in_size=512, out_size=512, parsing_ch=19)
    parser.load_state_dict(torch.load(weights["mask"]))
    helper.init_detection_model = lambda *args, **named: detector.eval()
    helper.init_parsing_model = lambda *args, **named: parser.eval()
    from gfpgan import GFPGANer

    original = GFPGANer(str(weights["model"]), upscale=2, device=torch.device("cpu"))
    detector.detect_faces = clock.timed("detect", detector.detect_faces)
    original.gfpgan.forward = clock.timed("net", original.gfpgan.forward)
    parser.forward = clock.timed("mask", parser.forward)

    def run(source: Path, target: Path) -> int:
        n_faces = 0
        for path in sorted(source.glob("*.jpg")):
            _, faces, result = original.enhance(cv2.imread(str(path)), paste_back=True)
            cv2.imwrite(str(target / path.name), result)
            n_faces += len(faces)
        return n_faces

    return run


def load_ours(weights: dict[str, Path], clock: Clock, args: argparse.Namespace) -> Callable[[Path, Path], int]:
    """gfp's pipeline, as `gfp restore` runs it, with its network loaded once."""
    options = RestoreOptions(
        model=str(weights["model"]), detector=str(weights["detector"]), mask=str(weights["mask"]),
        det_threshold=THRESHOLD, precision=args.precision, compile=args.compile, offline=True, force=True,
    )  # fmt: skip
    parts = choose_parts(options, warn=LOG.warning)
    restorer = load_restorer(options, parts)
    if args.masks:
        restorer = replace(restorer, masker=restorer.masker.variants(("fp32", "bf16"))[args.masks])  # type: ignore
    LOG.info("gfp: network %s, masks of %s px", restorer.model.dtype, restorer.masker.size)  # type: ignore
    timed = _Timed(restorer.model.size, clock.timed("net", restorer.model))
    detector, masker = clock.timed("detect", restorer.detector), clock.timed("mask", restorer.masker)
    restorer = Restorer(detector, timed, masker, restorer.options)

    def run(source: Path, target: Path) -> int:
        jobs = plan_jobs([str(source)], target, wanted="jpg", added="")
        told: list[Told] = []
        Run(options, target, Ledger(target), "bench", "random").process(jobs, lambda: restorer, told.append)
        records = [each.record for each in told]
        assert all(record["error"] is None for record in records), records
        return sum(len(record["faces"]) for record in records)

    return run


@dataclass
class _Timed:
    size: int
    run: Callable[..., Any]

    def __call__(self, faces: torch.Tensor, /) -> torch.Tensor:
        out: torch.Tensor = self.run(faces)
        return out


def compare(case: str, folder: Path, runs: dict[str, Callable[[Path, Path], int]], clocks: dict[str, Clock],
            n_pairs: int) -> None:  # fmt: skip
    """Both in turn, and the ratios."""
    make_case(case, folder / case)
    seconds: dict[str, list[float]] = {side: [] for side in runs}
    faces: dict[str, int] = {}
    for clock in clocks.values():
        clock.spent.clear()
    for i in range(n_pairs):
        for side, run in runs.items():
            target = folder / f"{case} {side} {i}"
            target.mkdir()
            start = time.perf_counter()
            faces[side] = run(folder / case, target)
            seconds[side].append(time.perf_counter() - start)
    ratios = sorted(a / b for a, b in zip(seconds["original"], seconds["gfp"], strict=True))
    LOG.info("%s: %.2f times as fast (%.2f to %.2f), median of %d pairs; faces %s", case, statistics.median(ratios),
             ratios[0], ratios[-1], n_pairs, faces)  # fmt: skip
    for side, clock in clocks.items():
        whole = sum(seconds[side])
        parts = {**clock.spent, "rest": whole - sum(clock.spent.values())}
        line = ", ".join(f"{stage} {spent / n_pairs:.2f} s ({spent / whole:.0%})" for stage, spent in parts.items())
        LOG.info("  %-8s %.2f s: %s", side, whole / n_pairs, line)


def tell_memory(case: str, folder: Path, args: argparse.Namespace) -> None:
    """Peak memory of each side, each in a process of its own that does the case once with the weights in `folder`."""
    for side in ("original", "gfp"):
        command = [sys.executable, __file__, "--cases", case, "--only", side, "--precision", args.precision,
                   "--weights", str(folder)]  # fmt: skip
        if args.masks:
            command += ["--masks", args.masks]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        LOG.info("  %-8s peak memory %.2f GB", side, json.loads(done.stdout)["peak_gb"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--masks", default="", help='how masks are made, such as "bf16 at 256"; empty = what agrees')
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--weights", type=Path, help="folder with those of an earlier process; else they are made")
    parser.add_argument("--only", choices=("original", "gfp"), help="one side, once; prints its peak memory")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = {n: args.weights / f"{n}.pth" for n in WEIGHTS} if args.weights else make_weights(folder)
        clocks = {side: Clock() for side in ("original", "gfp") if args.only in (None, side)}
        makers = {"original": lambda: load_original(weights, clocks["original"]),
                  "gfp": lambda: load_ours(weights, clocks["gfp"], args)}  # fmt: skip
        runs = {side: makers[side]() for side in clocks}
        if args.only:
            make_case(args.cases, folder / args.cases)
            (folder / "out").mkdir()
            runs[args.only](folder / args.cases, folder / "out")
            sys.stdout.write(json.dumps({"peak_gb": peak_memory() / 1e9}))
            return
        LOG.info("%s, %d threads", fast.machine_of(torch.device("cpu")), torch.get_num_threads())
        for case in args.cases.split(","):
            compare(case, folder, runs, clocks, args.pairs)
            tell_memory(case, folder, args)


if __name__ == "__main__":
    main()
