"""Draw the plots of the speed page from the figures that were measured.

    python examples/growth.py --json examples/figures/growth.json
    python examples/against_original.py --pairs 5 --compile --json examples/figures/against_original.json
    python examples/plots.py

Without one of the two files only the other is drawn.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
FIGURES, PICTURES = HERE / "figures", HERE / "pictures"
LABELS = {"photos": "photos of 200 px", "megapixels": "megapixels of a photo (4 photos)",
          "faces": "faces in a photo (4 photos)", "frames": "frames of a clip of 640x360"}  # fmt: skip


def plot_growth(told: dict[str, Any]) -> None:
    """Time against the amount of work, with the straight lines that fit best, and the peak of memory.

    Seconds by the clock are left out where the machine had other work too: they would show that work.
    """
    is_busy = told["load"] > 1
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    for axis, (what, points) in zip(axes.flat, told["rows"].items(), strict=True):
        amounts, seconds, cpu_s, peaks_mb = np.array(points, np.float64).T
        lines = [("processor s", cpu_s, "tab:green", "s"), *([] if is_busy else [("s", seconds, "tab:blue", "o")])]
        for name, times, color, mark in lines:
            slope, start = np.polyfit(amounts, times, 1)
            axis.plot(amounts, slope * amounts + start, color=color, alpha=0.5)
            axis.plot(amounts, times, mark, color=color, label=f"{start:.1f} {name} + {slope:.3f} {name} each")
        axis.set(xlabel=LABELS[what], ylabel="seconds", ylim=(0, max(line[1].max() for line in lines) * 1.3))
        memory = axis.twinx()
        memory.plot(amounts, peaks_mb / 1e3, "x:", color="tab:orange")
        memory.set(ylim=(0, max(peaks_mb) / 1e3 * 1.8))
        memory.set_ylabel("peak memory, GB", color="tab:orange")
        axis.legend(loc="upper left")
    busy = f", beside other work (load {told['load']:.0f}): processor time only" if is_busy else ""
    figure.suptitle(f"{told['machine']}, {told['threads']} threads, built-in weights{busy}", fontsize=9)
    figure.savefig(PICTURES / "growth.png", dpi=80)


def plot_ratios(told: dict[str, Any]) -> None:
    """How many times as fast as the original pipeline: median, least and most of the pairs, by case and side."""
    cases = list(told["ratios"])
    sides = sorted({side for case in cases for side in told["ratios"][case]})
    figure, axis = plt.subplots(figsize=(8, 0.6 + (0.25 + 0.2 * len(sides)) * len(cases)), constrained_layout=True)
    width = 0.8 / len(sides)
    for i, side in enumerate(sides):
        each = [told["ratios"][case][side] for case in cases]
        medians = np.array([statistics.median(ratios) for ratios in each])
        spread = np.array([[min(ratios), max(ratios)] for ratios in each]).T - medians
        places = np.arange(len(cases)) + (i - (len(sides) - 1) / 2) * width
        axis.barh(places, medians, width, xerr=np.abs(spread), label=side, ecolor="0.3", capsize=3)
    axis.set_yticks(range(len(cases)), cases)
    axis.axvline(1, color="0.3")
    axis.invert_yaxis()
    axis.set(xlabel="times as fast as the original pipeline")
    axis.set_title(told["machine"], fontsize=9)
    axis.legend()
    figure.savefig(PICTURES / "against_original.png", dpi=80)


def main() -> None:
    for name, plot in (("growth", plot_growth), ("against_original", plot_ratios)):
        if (file := FIGURES / f"{name}.json").exists():
            plot(json.loads(file.read_text()))


if __name__ == "__main__":
    main()
