"""A folder of photos with progress; a second run does only what is new. `python folder.py PHOTOS OUT`"""

import logging
import sys
from pathlib import Path

from gfpcli import RestoreOptions
from gfpcli.photo.batch import plan_photos, restore_photos
from gfpcli.types import Listener, Outcome

logging.basicConfig(level=logging.INFO, format="%(message)s")
options = RestoreOptions(model="compact", scale=1)
plan = plan_photos([sys.argv[1]], Path(sys.argv[2]), options)
done: list[Outcome] = []


def tell(outcome: Outcome) -> None:
    done.append(outcome)
    told = outcome.error or "; ".join(outcome.notes)
    logging.info("%d/%d %s %s %s", len(done), len(plan.jobs), outcome.status, outcome.source, told)


restore_photos(plan, options, Listener(warn=logging.warning, outcome=tell))
