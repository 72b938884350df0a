"""One photo in Python: its faces, and how much was drawn. `python one_photo.py OLD.jpg NEW.jpg`"""

import logging
import sys

from gfpcli import RestoreOptions, load_restorer, restore_image

logging.basicConfig(level=logging.INFO, format="%(message)s")
source, target = sys.argv[1:3]
restorer = load_restorer(RestoreOptions(model="compact", scale=2))
result = restore_image(source, restorer)  # an array does as well: (H, W, 3) BGR, or RGB with is_rgb=True
for face in result.faces:
    logging.info("%s %s, score %.2f", face.record.status, face.record.box, face.record.score)
    if face.map is not None:
        logging.info("  crop %s, drawn detail up to %d of 255", face.crop.shape, face.map.max())
for note in result.save(target):  # EXIF and all else of the photo stay; a label says what drew in it
    logging.info("%s: %s", target, note)
logging.info("%s: %dx%d, %d faces restored", target, *result.rgb.shape[1::-1], result.n_restored)
