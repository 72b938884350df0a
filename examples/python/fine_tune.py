"""Fine-tune the built-in restorer on a folder of faces. `python fine_tune.py FACES RUN [STEPS]`"""

import logging
import sys
from dataclasses import replace
from pathlib import Path

from gfpcli.cli.train import run_train
from gfpcli.train.options import TRAIN_PRESETS

logging.basicConfig(level=logging.INFO, format="%(message)s")
faces, run = map(Path, sys.argv[1:3])
n_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 500
options = replace(TRAIN_PRESETS["compact"], start="compact", iterations=n_steps, batch_size=2, workers=0, n_valid=1)
run_train(faces, run, options, device="cpu", offline=True, is_fresh=True, quiet=False)
logging.info("try it: gfp restore PHOTOS -o OUT --model %s", run / "best")
