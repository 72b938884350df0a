"""`gfp doctor`: what this machine has, and one self-test."""

from __future__ import annotations

import platform
import sys
import time

import imageio_ffmpeg
import numpy as np
import torch
import typer

from gfpcli import __version__
from gfpcli.errors import GfpError
from gfpcli.options import RestoreOptions
from gfpcli.types import Frame
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import WEIGHTS, cache_folder, cached, verify
from gfpcli.weights.choose import choose_parts
from gfpcli.weights.cpu import cpu_features
from gfpcli.weights.devices import choose_devices


def examine() -> int:
    """Prints one line for each thing looked at; gives the number of things that are wrong."""
    features = cpu_features()
    lines = [
        ("gfpcli", __version__), ("python", f"{platform.python_version()} ({sys.executable})"),
        ("torch", torch.__version__), ("cpu", features.line()), ("device", _device()),
        ("precision", _precision(features.has_bf16)), ("ffmpeg", _ffmpeg()), ("cache", _cache()),
        ("self-test", _self_test()),
    ]  # fmt: skip
    for name, value in lines:
        typer.echo(f"{name:10} {value}")
    return sum(value.startswith("FAILED") for _, value in lines)


def _device() -> str:
    device = choose_devices("auto")[0]
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{device.type} ({what})"


def _precision(cpu_has_bf16: bool) -> str:
    if torch.cuda.is_available():
        return "fp32, fp16, " + ("bf16" if torch.cuda.is_bf16_supported() else "no bf16")
    return "fp32, bf16" if cpu_has_bf16 else "fp32, bf16 (slower here: the CPU has neither AVX512-BF16 nor AMX)"


def _ffmpeg() -> str:
    try:
        return f"{imageio_ffmpeg.get_ffmpeg_version()} ({imageio_ffmpeg.get_ffmpeg_exe()})"
    except (RuntimeError, OSError) as error:
        return f"FAILED: {error}"


def _cache() -> str:
    here = [name for name in WEIGHTS if cached(name)]
    wrong = [name for name in here if verify(name) is False]
    state = f"{cache_folder()} ({', '.join(here) or 'empty'})"
    return f"FAILED: {state}; wrong hash: {', '.join(wrong)}" if wrong else state


def _self_test() -> str:
    """One gray picture through the built-in weights."""
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", aligned=True, device="cpu")
    start = time.monotonic()
    try:
        restorer = load_restorer(options, choose_parts(options, warn=typer.echo))
        image = restorer.restore(Frame(0, np.full((256, 256, 3), 128, np.uint8), "self-test")).image
    except GfpError as error:
        return f"FAILED: {error}"
    error_level = float(np.abs(image.astype(float) - 128).mean())
    verdict = "ok" if error_level < 8 else "FAILED"
    return f"{verdict}: built-in restorer, {time.monotonic() - start:.1f} s, off by {error_level:.1f} grey levels"
