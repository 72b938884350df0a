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
          "faces": "faces in a photo (4 photos)"}  # fmt: skip


def plot_growth(told: dict[str, Any]) -> None:
    """Seconds against the amount of work, with the straight line that fits best, and the peak of memory."""
    figure, axes = plt.subplots(1, len(told["rows"]), figsize=(12, 3.6), constrained_layout=True)
    for axis, (what, points) in zip(axes, told["rows"].items(), strict=True):
        amounts, seconds, peaks_mb = np.array(points, np.float64).T
        slope, start = np.polyfit(amounts, seconds, 1)
        axis.plot(amounts, slope * amounts + start, color="0.6", label=f"{start:.1f} s + {slope:.3f} s each")
        axis.plot(amounts, seconds, "o", color="tab:blue", label="measured")
        axis.set(xlabel=LABELS[what], ylabel="seconds", ylim=(0, None))
        memory = axis.twinx()
        memory.plot(amounts, peaks_mb / 1e3, "x:", color="tab:orange")
        memory.set(ylim=(0, max(peaks_mb) / 1e3 * 1.4))
        memory.set_ylabel("peak memory, GB", color="tab:orange")
        axis.legend(loc="upper left")
    figure.suptitle(f"{told['machine']}, {told['threads']} threads, built-in weights", fontsize=9)
    figure.savefig(PICTURES / "growth.png", dpi=80)


def plot_ratios(told: dict[str, Any]) -> None:
    """How many times as fast as the original pipeline: median, least and most of the pairs of each case."""
    figure, axis = plt.subplots(figsize=(8, 2.8), constrained_layout=True)
    cases = list(told["ratios"])
    medians = [statistics.median(ratios) for ratios in told["ratios"].values()]
    spread = [[median - min(ratios), max(ratios) - median] for median, ratios in zip(medians, told["ratios"].values(),
                                                                                   strict=True)]  # fmt: skip
    axis.barh(cases, medians, xerr=np.array(spread).T, color="tab:blue", ecolor="0.3", capsize=4)
    axis.axvline(1, color="0.3")
    axis.invert_yaxis()
    axis.set(xlabel="times as fast as the original pipeline")
    axis.set_title(told["machine"], fontsize=9)
    figure.savefig(PICTURES / "against_original.png", dpi=80)


def main() -> None:
    for name, plot in (("growth", plot_growth), ("against_original", plot_ratios)):
        if (file := FIGURES / f"{name}.json").exists():
            plot(json.loads(file.read_text()))


if __name__ == "__main__":
    main()
