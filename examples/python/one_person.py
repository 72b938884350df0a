"""The faces of one person only, in a folder of photos. `python one_person.py PORTRAIT.jpg PHOTOS OUT`"""

import logging
import sys
from pathlib import Path

from gfpcli import RestoreOptions
from gfpcli.photo.batch import plan_photos, restore_photos
from gfpcli.types import Listener, Outcome

logging.basicConfig(level=logging.INFO, format="%(message)s")
portrait, photos, out = sys.argv[1:4]
options = RestoreOptions(model="compact", scale=1, only=(portrait,))
plan = plan_photos([photos], Path(out), options)


def tell(outcome: Outcome) -> None:
    kept = len(outcome.faces) - outcome.n_restored
    logging.info("%s: %d of that person, %d others kept", outcome.source, outcome.n_restored, kept)


restore_photos(plan, options, Listener(warn=logging.warning, outcome=tell))
