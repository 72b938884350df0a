"""Time the original pipeline (package `gfpgan`) and gfp in turn with the same weights and photos.

    python examples/against_original.py --pairs 5 --cases portrait,group
    python examples/against_original.py --quick        the first two cases once, in about three minutes

Each has a process of its own, so that neither runs with the other's settings; they are asked in turn. On a CPU with
bf16 gfp is also run as on one without (oneDNN, which runs the convolutions, is told to use no later instructions than
AVX512-VNNI); the original computes in fp32, for which that changes nothing.
The face network and ParseNet get random weights in the official layouts, the detector is the built-in one in both (the
original's own is larger and slower). How masks are made is what agrees on the probe with these weights, unless
`--masks "fp32 at 512"` says it by hand. Timings hold for this machine only.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.parsing.parsenet import ParseNet
from safetensors.torch import load_file
from scenes import portraits, twenty_faces, wall, write_photos

from gfpcli.adapters._compat import prepare_basicsr
from gfpcli.adapters.facexlib import load_maskers
from gfpcli.adapters.onnxruntime import OnnxClassNet
from gfpcli.files.ledger import Ledger
from gfpcli.memory import keep_memory
from gfpcli.model.checkpoint import read_state
from gfpcli.options import RestoreOptions
from gfpcli.photo import batch as restore
from gfpcli.photo.batch import FinishedPhoto, PhotoRun
from gfpcli.photo.inputs import plan_jobs
from gfpcli.photo.profile import peak_memory, reset_peaks
from gfpcli.pipeline.parsing import ParseNetMasker
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import PictureBatch
from gfpcli.weights import autotune
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import choose_parts
from gfpcli.weights.cpu import ISA_LIMIT, WITHOUT_BF16, cpu_features

LOG = logging.getLogger("against_original")
THRESHOLD = 0.97  # the original's, of the detector
ORIGINAL, GFP, LIMITED = SIDES = ("original", "gfp", "gfp without bf16")
READY = "ready\n"
WEIGHTS = ("model", "mask", "detector")
CASES = ("portrait", "group", "24 megapixels", "100 small", "frames")
QUICK_CASES = "portrait,group"


@dataclass
class Clock:
    """Seconds and calls by stage."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added to `stage`."""

        def run(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.spent[stage] += time.perf_counter() - start

        return run


def make_case(name: str, folder: Path, part: int, n_parts: int) -> None:
    """The photos of a case, as JPEG, from the two public-domain portraits; of the 100 small ones the part of a pair."""
    pair = portraits()
    if name == "portrait":
        pictures = [pair[1]]
    elif name == "group":
        pictures = [wall(pair, (2, 3), (900, 1200))]
    elif name == "24 megapixels":
        pictures = [twenty_faces()]
    elif name == "100 small":
        small = [np.asarray(cv2.resize(each, (256, 256), interpolation=cv2.INTER_AREA), np.uint8) for each in pair]
        pictures = [small[i % 2] for i in range(part, 100, n_parts)]
    else:  # a slow pan; ten frames of a clip, as the original would take most of an hour for ten seconds
        wide = wall(pair, (1, 2), (360, 660))
        pictures = [wide[:, i : i + 640] for i in range(10)]
    write_photos(folder, pictures)


def make_weights(folder: Path) -> None:
    """Random GFPGAN (clean, 512) and ParseNet, and the built-in detector without its landmark network."""
    folder.mkdir()
    prepare_basicsr()
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    torch.manual_seed(1)
    net = GFPGANv1Clean(512, channel_multiplier=2, input_is_latent=True, different_w=True, sft_half=True)
    states = {
        "model": {"params_ema": net.state_dict()},
        "mask": ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(),
        "detector": {k: v for k, v in load_file(BUILTINS["builtin"]).items() if not k.startswith("look.")},
    }
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")


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
    read, write = clock.timed("codecs", cv2.imread), clock.timed("codecs", cv2.imwrite)

    def run(source: Path, target: Path) -> int:
        n_faces = 0
        for path in sorted(source.glob("*.jpg")):
            _, faces, result = original.enhance(read(str(path)), paste_back=True)
            write(str(target / path.name), result)
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
    restorer = load_restorer(options, parts, n_inputs=args.inputs)
    if args.masks:
        state, cpu = read_state(weights["mask"]), torch.device("cpu")
        maskers = load_maskers(state, source=str(weights["mask"]), device=cpu, dtypes=("fp32", "bf16"))
        restorer = replace(restorer, masker=maskers[args.masks])
    masker = restorer.masker
    assert isinstance(masker, ParseNetMasker)
    by = "onnxruntime" if isinstance(masker.net, OnnxClassNet) else "torch"
    LOG.info("gfp: network in %s, masks of %d px by %s", restorer.computes_in, masker.size, by)
    timed = _Timed(restorer.model.size, clock.timed("net", restorer.model))
    restorer = Restorer(
        clock.timed("detect", restorer.detector), timed, clock.timed("mask", masker), restorer.options
    )  # fmt: skip
    for codec in ("decode_photo", "encode_photo"):  # in threads of their own: what the rest takes is then told too low
        setattr(restore, codec, clock.timed("codecs", getattr(restore, codec)))

    def run(source: Path, target: Path) -> int:
        jobs, _ = plan_jobs([str(source)], target, wanted="jpg", added="")
        told: list[FinishedPhoto] = []
        PhotoRun(options, target, Ledger(target), "bench", "random").process(jobs, lambda: restorer, told.append)
        outcomes = [each.outcome for each in told]
        assert all(outcome.error is None for outcome in outcomes), outcomes
        return sum(len(outcome.faces) for outcome in outcomes)

    return run


@dataclass
class _Timed:
    size: int
    run: Callable[..., Any]

    def __call__(self, faces: PictureBatch, /) -> PictureBatch:
        out: PictureBatch = self.run(faces)
        return out


@dataclass
class Side:
    """One of the two, in a process of its own; it is asked one line of JSON at a time."""

    name: str
    child: subprocess.Popen[str]

    def ask(self, source: Path, target: Path) -> dict[str, Any]:
        """Restores a folder of photos: seconds, faces, seconds by stage, and the peak of memory meanwhile."""
        target.mkdir()
        assert self.child.stdin and self.child.stdout
        self.child.stdin.write(json.dumps([str(source), str(target)]) + "\n")
        self.child.stdin.flush()
        told: dict[str, Any] = json.loads(self.child.stdout.readline())
        return told


def begin(name: str, weights: Path, args: argparse.Namespace) -> Side:
    """Starts a side and waits until it has loaded everything."""
    command = [sys.executable, __file__, "--serve", name, "--weights", str(weights), "--precision", args.precision,
               "--masks", args.masks, "--inputs", str(args.inputs)]  # fmt: skip
    command += ["--compile"] if args.compile else []
    limit = {ISA_LIMIT: WITHOUT_BF16} if name == LIMITED else {}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **limit}
    )
    assert child.stdout and child.stdout.readline() == READY
    return Side(name, child)


def serve(args: argparse.Namespace) -> None:
    """A side: answers until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    weights = {name: args.weights / f"{name}.pth" for name in WEIGHTS}
    clock = Clock()
    if args.serve == ORIGINAL:
        run = load_original(weights, clock)
    else:
        keep_memory()  # as the command does
        run = load_ours(weights, clock, args)
    answers.write(READY)
    answers.flush()
    for line in sys.stdin:
        source, target = (Path(each) for each in json.loads(line))
        clock.spent.clear()
        reset_peaks(torch.device("cpu"))
        start = time.perf_counter()
        n_faces = run(source, target)
        seconds = time.perf_counter() - start
        told = {"seconds": seconds, "faces": n_faces, "spent": clock.spent, "peak": peak_memory()}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def compare(case: str, folder: Path, sides: list[Side], n_rounds: int) -> dict[str, list[float]]:
    """All in turn; for each side but the original how many times as fast it was in each round, in order of size."""
    told: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for i in range(n_rounds):
        source = folder / f"{case} {i}"
        make_case(case, source, i, n_rounds)
        for side in sides:
            told[side.name].append(side.ask(source, folder / f"{case} {i} {side.name}"))
    seconds = {name: [each["seconds"] for each in answers] for name, answers in told.items()}
    ratios = {
        name: sorted(a / b for a, b in zip(seconds[ORIGINAL], own, strict=True))
        for name, own in seconds.items() if name != ORIGINAL
    }  # fmt: skip
    for name, each in ratios.items():
        LOG.info("%s, %s: %.2f times as fast (%.2f to %.2f), median of %d pairs", case, name, statistics.median(each),
                 each[0], each[-1], n_rounds)  # fmt: skip
    for name, answers in told.items():
        log_stages(name, answers)
    return ratios


def log_stages(name: str, answers: list[dict[str, Any]]) -> None:
    """Where the time of a side went."""
    whole = sum(each["seconds"] for each in answers)
    spent = sum((Counter(each["spent"]) for each in answers), Counter())
    parts = {**spent, "rest": whole - sum(spent.values())}
    n_rounds = len(answers)
    line = ", ".join(f"{stage} {part / n_rounds:.2f} s ({part / whole:.0%})" for stage, part in parts.items())
    peak = max(each["peak"] for each in answers) / 1e9
    LOG.info("  %-16s %d faces, %.2f s: %s; peak %.2f GB", name, answers[0]["faces"], whole / n_rounds, line, peak)


def measure(args: argparse.Namespace, folder: Path, names: list[str]) -> dict[str, dict[str, list[float]]]:
    """The ratios of every case, by case and side."""
    weights = args.weights or folder / "weights"
    if not args.weights:
        make_weights(weights)
    sides = [begin(name, weights, args) for name in names]
    ratios = {case: compare(case, folder, sides, args.pairs) for case in args.cases.split(",")}
    for side in sides:
        side.child.communicate()
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--masks", default="", help='how masks are made, such as "bf16 at 256"; empty = what agrees')
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--inputs", type=int, default=0, help="choose the network as a run of so many photos does")
    parser.add_argument("--json", type=Path, help="file for the ratios, which examples/plots.py draws")
    parser.add_argument("--weights", type=Path, help="folder of these; made where not given")
    parser.add_argument("--quick", action="store_true", help=f"the same as --pairs 1 --cases {QUICK_CASES}")
    parser.add_argument("--serve", choices=SIDES, help="be one of the sides (it calls itself so)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.serve:
        serve(args)
        return
    if args.quick:
        args.pairs, args.cases = 1, QUICK_CASES
    features, n_threads = cpu_features(), torch.get_num_threads()
    LOG.info("%s; %d threads, torch %s", features.line(), n_threads, torch.__version__)
    if not features.has_bf16:
        LOG.info("this CPU has no bf16: no column with it")
    names = [name for name in SIDES if features.has_bf16 or name != LIMITED]
    with tempfile.TemporaryDirectory() as name:
        ratios = measure(args, Path(name), names)
    if args.json:
        machine = f"{autotune.machine_of(torch.device('cpu'))}; medians of {args.pairs} pairs"
        told = {"machine": machine, "cpu": asdict(features), "ratios": ratios}
        args.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
