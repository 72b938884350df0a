"""Time each stage on the demo photos, three rounds: python examples/bench.py (timings are for this machine only)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gfpcli.build import choose_parts, load_restorer
from gfpcli.images import encode_image, read_frame
from gfpcli.options import RestoreOptions


def main() -> None:
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", offline=True)
    restorer = load_restorer(options, choose_parts(options, warn=sys.stderr.write))
    paths = sorted((Path(__file__).parent / "photos").glob("*.jpg")) * 3
    spent: dict[str, float] = {}
    for path in paths:
        marks = [time.perf_counter()]
        frame = read_frame(path, 0)
        marks.append(time.perf_counter())
        found = restorer.find(frame)
        marks.append(time.perf_counter())
        faces = restorer.restore_crops(found.crops)
        marks.append(time.perf_counter())
        result = restorer.assemble(found, faces, seconds=0)
        marks.append(time.perf_counter())
        encode_image(result.image, frame, None, "PNG", 95, False)
        marks.append(time.perf_counter())
        for name, start, end in zip(("decode", "detect", "net", "paste", "encode"), marks, marks[1:], strict=False):
            spent[name] = spent.get(name, 0) + end - start
    for name, seconds in spent.items():
        sys.stdout.write(f"{name:8} {seconds / len(paths):7.3f} s/photo {seconds / sum(spent.values()):5.0%}\n")


if __name__ == "__main__":
    main()
