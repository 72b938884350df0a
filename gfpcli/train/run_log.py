"""What a run logs: a JSON line for each iteration, TensorBoard, image grids of validations, a plot of the losses."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as, write_bytes
from gfpcli.train.validate import Validated

LOG, PLOT, TENSORBOARD, GRIDS = "log.jsonl", "losses.png", "tensorboard", "grids"
SMOOTHING = 0.95  # decay of the plotted moving averages


@dataclass(frozen=True, slots=True)
class RunLog:
    """Writes into the folder of a run."""

    folder: Path
    writer: SummaryWriter

    def step(self, iteration: int, values: Mapping[str, float], *, is_logged: bool) -> None:
        """Logs the values of an iteration; `is_logged`: in TensorBoard too. Raises OutputError."""
        with os_errors_as(OutputError, self.folder / LOG):
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"iteration": iteration, **values}) + "\n")
            if is_logged:
                for name, value in values.items():
                    self.writer.add_scalar(f"train/{name}", value, iteration)

    def validation(self, iteration: int, result: Validated) -> None:
        """Logs the metrics and the grid of a validation. Raises OutputError."""
        write_bytes(self.folder / GRIDS / f"{iteration:07d}.png", cv2.imencode(".png", result.grid)[1].tobytes())
        for name, value in result.figures.items():
            self.writer.add_scalar(f"valid/{name}", value, iteration)
        self.writer.add_image(f"valid/{result.shown}", result.grid[..., ::-1], iteration, dataformats="HWC")

    def rewind(self, iteration: int) -> RunLog:
        """Drops what was logged from `iteration` on, and gives the log to continue with. Raises OutputError."""
        self.writer.close()
        return open_run_log(self.folder, iteration)

    def close(self) -> None:
        """Writes what is buffered, and the plot. Raises OutputError."""
        self.writer.close()
        plot_losses(self.folder)


def open_run_log(folder: Path, iteration: int) -> RunLog:
    """A log that continues after `iteration` iterations; later ones that an interrupted run logged are dropped.

    Raises:
        OutputError: the folder cannot be written.
    """
    with os_errors_as(OutputError, folder):
        kept = [line for line in _lines(folder / LOG) if json.loads(line)["iteration"] < iteration]
        write_bytes(folder / LOG, "".join(kept).encode())
        return RunLog(folder, SummaryWriter(str(folder / TENSORBOARD), purge_step=iteration))


def _lines(path: Path) -> list[str]:
    """The complete lines of a log; a kill may have cut the last one short."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("}\n")]


def plot_losses(folder: Path) -> None:
    """Draws `losses.png` from the log, a panel for each term. Raises OutputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in _lines(folder / LOG)]
    names = sorted({name for row in rows for name in row} - {"iteration"})
    if not names:
        return
    n_across = 3
    n_down = -(-len(names) // n_across)
    figure = Figure(figsize=(5 * n_across, 2.6 * n_down), layout="constrained")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names, start=1):
        x = np.array([row["iteration"] for row in rows if name in row])
        y = np.array([row[name] for row in rows if name in row], float)
        panel = figure.add_subplot(n_down, n_across, index)
        panel.plot(x, y, color="0.8", linewidth=0.8)
        panel.plot(x, smoothed(y), linewidth=1.4)
        panel.set_title(name, fontsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    write_bytes(folder / PLOT, out.getvalue())


def smoothed(values: np.ndarray) -> np.ndarray:
    """The exponential moving average, with the bias of its start corrected."""
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * value, SMOOTHING * weight + (1 - SMOOTHING)
        result.append(mean / weight)
    return np.array(result)
