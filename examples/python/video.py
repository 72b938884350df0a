"""A video with progress; one that was stopped goes on. `python video.py OLD.mp4 NEW.mp4`"""

import logging
import sys
from pathlib import Path

from gfpcli.clip.batch import plan_clips, restore_clips
from gfpcli.options import VideoOptions
from gfpcli.types import Listener, Outcome

logging.basicConfig(level=logging.INFO, format="%(message)s")
options = VideoOptions(model="compact", preset="fast")
plan = plan_clips([sys.argv[1]], Path(sys.argv[2]), options)


def tell(source: Path, n_done: int, n_all: int, n_faces: int) -> None:
    logging.info("%s: %d of %d frames, %d faces", source.name, n_done, n_all, n_faces)


def tell_outcome(outcome: Outcome) -> None:
    logging.info("%s %s", outcome.status, outcome.error or outcome.output)


restore_clips(plan, options, Listener(warn=logging.warning, outcome=tell_outcome, frames=tell))
