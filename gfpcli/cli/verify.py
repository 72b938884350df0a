"""The body of `gfp verify`: files to lines, records and an exit code."""

from __future__ import annotations

from contextlib import ExitStack

import typer

from gfpcli.cli.console import plain, tell
from gfpcli.cli.output import json_line, json_sink
from gfpcli.clip.label import label_of_clip
from gfpcli.errors import InputError
from gfpcli.options import VerifyOptions
from gfpcli.photo.verify import VERDICTS, Finding, Verifier, counted


def run_verify(inputs: list[str], options: VerifyOptions) -> int:
    """Tells of each file; gives the number of those that are not gfp's and unchanged. Raises GfpError."""
    verdicts: list[Finding] = []
    with ExitStack() as stack:
        sink = json_sink(options.json, stack)
        for each in Verifier(label_of_clip).verify(inputs):
            verdicts.append(each.verdict)
            if sink:
                sink.write(json_line(each.to_json()))
            is_told = options.json != "-" and not (options.quiet and each.verdict == "unchanged")
            if is_told:
                typer.echo(plain(f"{VERDICTS[each.verdict]:10}  {each.line()}"))
    if not verdicts:
        raise InputError(f"no pictures or videos in {', '.join(inputs)}")
    if not options.quiet:
        tell(", ".join(f"{n} {VERDICTS[verdict]}" for verdict, n in counted(verdicts).items()))
    return sum(each != "unchanged" for each in verdicts)
