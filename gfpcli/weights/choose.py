"""From flags to weight files, and the fingerprint of a run's settings and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gfpcli import __version__
from gfpcli.errors import CheckpointError, DownloadError, UsageError
from gfpcli.files.atomic import os_errors_as, sha256_of
from gfpcli.options import PipelineOptions, RestoreOptions, VideoOptions
from gfpcli.weights.cache import BUILTINS, WEIGHTS, Progress, fetch, ready
from gfpcli.weights.licences import check_licence_of

MODELS = ("gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2", "gfpgan-1")  # best first
BUILT_IN_MODELS = COMPACT, COMPACT_512 = "compact", "compact-512"
DETECTOR = "retinaface-r50"
IDENTIFIER = "arcface-r18"
SCALE = ".scale.json"  # ending of the file beside an identifier that holds the products of pairs
BACKGROUNDS = ("realesrgan-x2", "realesrgan-x4", "realesr-general", "realesr-general-wdn")
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """The files a run uses; None where a part needs none."""

    model: Path
    model_name: str
    detector: Path | None
    mask: Path | None
    background: Path | None = None
    identifier: Path | None = None
    small_model: Path | None = None  # restores the faces that are shown small

    @property
    def files(self) -> tuple[Path | None, ...]:
        """All of them, in a fixed order, and the identifier's scale."""
        own = self.model, self.detector, self.mask, self.background, self.identifier, self.scale
        return (*own, self.small_model) if self.small_model else own  # runs without it keep their fingerprint

    @property
    def networks(self) -> tuple[Path | None, ...]:
        """Those of the networks."""
        return self.model, self.detector, self.mask, self.background, self.identifier, self.small_model

    @property
    def scale(self) -> Path | None:
        """The file beside the identifier by which its products are read."""
        path = self.identifier and self.identifier.with_suffix(SCALE)
        return path if path and path.is_file() else None


def choose_parts(options: PipelineOptions, *, warn: Warn, progress: Progress | None = None) -> Parts:
    """Names to files, downloaded where they are not in the cache.

    Raises:
        UsageError: a name that is neither known nor a file.
        WeightsError: a named download that failed or is not allowed, or a licence that was not accepted.
    """
    mask = None if options.aligned else _mask_of(options, progress)
    missing: dict[str, str] = {}
    detector = None if options.aligned else _detector_of(options, missing, progress)
    background = _background_of(options, progress)
    identifier = _identifier_of(options, progress)
    model, name = _model_of(options, missing, progress)
    if missing:
        warn(_line_of(missing))
    parts = Parts(model, name, detector, mask, background, identifier, _small_model_of(options, name))
    for path in filter(None, parts.files):
        check_licence_of(path, options.accept_licence)
    return parts


def choose_part(kind: str, name: str, *, offline: bool, progress: Progress | None = None) -> Path:
    """The file of one part, by the name that its flag takes.

    Args:
        kind: one of EXPORT_KINDS.

    Raises:
        UsageError: a name that is neither known nor a file, or that leads to no file.
        WeightsError: a download that failed or is not allowed.
    """
    flag = "model" if kind == "restorer" else kind
    named: dict[str, Any] = {flag: name}
    options = RestoreOptions(offline=offline, **named)
    missing: dict[str, str] = {}
    if kind == "restorer":
        path: Path | None = _model_of(options, missing, progress)[0]
    elif kind == "detector":
        path = _detector_of(options, missing, progress)
    else:
        choices = {"mask": _mask_of, "background": _background_of, "identifier": _identifier_of}
        path = choices[kind](options, progress)
    if path is None or missing:
        raise UsageError(f"--{flag} {name}: names no weights that are here; give a name or a file")
    return path


def _mask_of(options: PipelineOptions, progress: Progress | None) -> Path | None:
    if options.mask == "soft":
        return None
    if options.mask == "auto":
        return ready("parsenet")
    if options.mask == "parse":
        return fetch("parsenet", offline=options.offline, progress=progress)
    return _file_of("mask", options.mask, ("auto", "parse", "soft"))


def _model_of(options: PipelineOptions, missing: dict[str, str], progress: Progress | None) -> tuple[Path, str]:
    if options.model in BUILT_IN_MODELS:
        return BUILTINS[options.model], options.model
    if options.model in MODELS:
        return fetch(options.model, offline=options.offline, progress=progress), options.model
    if options.model != "auto":
        return _file_of("model", options.model, ("auto", *BUILT_IN_MODELS, *MODELS)), options.model
    for name in MODELS:
        if path := ready(name):
            return path, name
    path = _fetch_if_possible(MODELS[0], options, missing, progress)
    built_in = COMPACT if isinstance(options, VideoOptions) else COMPACT_512  # half the time counts in a clip
    return (path, MODELS[0]) if path else (BUILTINS[built_in], built_in)


def _small_model_of(options: PipelineOptions, name: str) -> Path | None:
    """The one of 256 px beside the one of 512 px, for small faces. In a clip no face changes its network."""
    is_one_size = options.aligned or isinstance(options, VideoOptions)
    return BUILTINS[COMPACT] if name == COMPACT_512 and not is_one_size else None


def _detector_of(options: PipelineOptions, missing: dict[str, str], progress: Progress | None) -> Path:
    if options.detector == "builtin":
        return BUILTINS["builtin"]
    if options.detector == DETECTOR:
        return fetch(DETECTOR, offline=options.offline, progress=progress)
    if options.detector != "auto":
        return _file_of("detector", options.detector, ("auto", "builtin", DETECTOR))
    if path := ready(DETECTOR):
        return path
    if options.model in BUILT_IN_MODELS:
        return BUILTINS["builtin"]  # somebody who asks for the built-in model wants no download
    return _fetch_if_possible(DETECTOR, options, missing, progress) or BUILTINS["builtin"]


def _fetch_if_possible(
    name: str, options: PipelineOptions, missing: dict[str, str], progress: Progress | None
) -> Path | None:
    """The file, downloaded where it is not in the cache; where it cannot be had, the reason is kept in `missing`."""
    try:
        return fetch(name, offline=options.offline, progress=progress)
    except DownloadError as error:
        missing[name] = "--offline is set" if options.offline else f"the network failed ({error})"
        return None


def _line_of(missing: dict[str, str]) -> str:
    """One warning for all weights that built-in ones are used in place of."""
    roles = ["detector" if name == DETECTOR else "model" for name in missing]
    pulls = " and ".join(f"`gfp models pull {name}`" for name in missing)
    flags = " and ".join(f"--{role} FILE" for role in roles)
    return (f"not in the cache: {', '.join(missing)}; {next(iter(missing.values()))}; the small built-in "
            f"{' and '.join(roles)} will be used; for full quality run {pulls} once, or give {flags}")  # fmt: skip


def _background_of(options: PipelineOptions, progress: Progress | None) -> Path | None:
    if options.background == "none":
        return None
    if options.background == "compact-x2":
        return BUILTINS["compact-x2"]
    if options.background in BACKGROUNDS:
        return fetch(options.background, offline=options.offline, progress=progress)
    return _file_of("background", options.background, ("none", "compact-x2", *BACKGROUNDS))


def _identifier_of(options: PipelineOptions, progress: Progress | None) -> Path:
    if options.identifier in ("auto", "builtin"):
        return BUILTINS["identity"]
    if options.identifier == IDENTIFIER:
        return fetch(IDENTIFIER, offline=options.offline, progress=progress)
    return _file_of("identifier", options.identifier, ("auto", "builtin", IDENTIFIER))


def _file_of(flag: str, value: str, names: tuple[str, ...]) -> Path:
    for path in (Path(value), Path(f"{value}.safetensors")):  # a run's weights go by RUN/best
        if path.is_file():
            return path
    near = f" ({value} is known, but not for this flag)" if value in WEIGHTS else ""
    raise UsageError(f"--{flag} {value!r}: choose one of {', '.join(names)}, or a checkpoint file{near}")


def fingerprint(options: PipelineOptions, parts: Parts) -> str:
    """A hash of everything that changes pixels or files: settings, weights and version.

    Raises:
        CheckpointError: a weight file cannot be read.
    """
    facts: dict[str, object] = {
        each.name: getattr(options, each.name) for each in fields(options) if each.metadata["in_fingerprint"]
    }
    facts["device"] = options.device.partition(",")[0].partition(":")[0]  # which one, and how many, changes nothing
    facts["identity_guard"] = options.identity_limits  # what `on` stands for may change
    files = [_digest_of(path) if path else None for path in parts.files]
    text = json.dumps([__version__, facts, files], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _digest_of(path: Path) -> str:
    with os_errors_as(CheckpointError, path):
        return sha256_of(path)
