"""What a run leaves to look at: one JSON line for each iteration, TensorBoard, grids, and the plot of its losses."""

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
from gfpcli.train.validate import Validation

LOG, PLOT, BOARD, GRIDS = "log.jsonl", "losses.png", "tensorboard", "grids"
SMOOTH = 0.95  # of the plotted curves


@dataclass(frozen=True, slots=True)
class Board:
    """Writes into a run's folder."""

    folder: Path
    writer: SummaryWriter

    def step(self, iteration: int, values: Mapping[str, float], *, is_logged: bool) -> None:
        """The weighted terms of an iteration. Raises OutputError."""
        with os_errors_as(OutputError, self.folder / LOG):
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"iteration": iteration, **values}) + "\n")
            if is_logged:
                for name, value in values.items():
                    self.writer.add_scalar(f"train/{name}", value, iteration)

    def validation(self, iteration: int, result: Validation) -> None:
        """Numbers and grid. Raises OutputError."""
        write_bytes(self.folder / GRIDS / f"{iteration:07d}.png", cv2.imencode(".png", result.grid)[1].tobytes())
        for name in ("psnr", "ssim", "niqe"):
            self.writer.add_scalar(f"valid/{name}", getattr(result, name), iteration)
        self.writer.add_image("valid/low, restored, true", result.grid[..., ::-1], iteration, dataformats="HWC")

    def close(self) -> None:
        """Everything written, the plot too. Raises OutputError."""
        self.writer.close()
        plot_losses(self.folder)


def open_board(folder: Path, iteration: int) -> Board:
    """A board that goes on after `iteration` iterations: what an interrupted run wrote beyond is dropped.

    Raises:
        OutputError: the folder cannot be written.
    """
    with os_errors_as(OutputError, folder):
        kept = [line for line in _lines(folder / LOG) if json.loads(line)["iteration"] < iteration]
        write_bytes(folder / LOG, "".join(kept).encode())
        return Board(folder, SummaryWriter(str(folder / BOARD), purge_step=iteration))


def _lines(path: Path) -> list[str]:
    """Whole lines; a kill may have cut the last one."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("}\n")]


def plot_losses(folder: Path) -> None:
    """`losses.png` from the log, a panel for each term. Raises OutputError."""
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
    for place, name in enumerate(names, start=1):
        x = np.array([row["iteration"] for row in rows if name in row])
        y = np.array([row[name] for row in rows if name in row], float)
        panel = figure.add_subplot(n_down, n_across, place)
        panel.plot(x, y, color="0.8", linewidth=0.8)
        panel.plot(x, smoothed(y), linewidth=1.4)
        panel.set_title(name, fontsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    write_bytes(folder / PLOT, out.getvalue())


def smoothed(values: np.ndarray) -> np.ndarray:
    """The running mean, without the pull of its start."""
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean, weight = SMOOTH * mean + (1 - SMOOTH) * value, SMOOTH * weight + (1 - SMOOTH)
        result.append(mean / weight)
    return np.array(result)
