"""What every worker of a cluster needs: the run's restorer, from weights that are the driver's, on its own machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import torch

from gfpcli import __version__
from gfpcli.errors import CheckpointError, EngineError, GfpError
from gfpcli.files.atomic import sha256_of
from gfpcli.memory import keep_memory
from gfpcli.options import FaceOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS, WEIGHTS, cache_folder, fetch
from gfpcli.weights.choose import Parts


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A weight file as every machine finds it: in the package, in its own cache, or under the same path."""

    path: Path  # on the driver, absolute
    name: str | None  # of a weight that is known
    sha256: str


@dataclass(frozen=True, slots=True)
class RestorerRecipe:
    """What a worker has to know to make the run's restorer."""

    options: FaceOptions
    model_name: str
    sources: dict[str, WeightFile | None]  # by the name of the part
    n_inputs: int  # photos of the whole run; 0 for clips
    folder: Path  # the driver's current one, from which paths may start
    version: str = __version__

    def prepare_process(self) -> None:
        """Prepares this process for the work."""
        keep_memory()
        cv2.setNumThreads(torch.get_num_threads())  # Ray gives torch as many as the worker has cores
        with suppress(OSError):  # then paths that start there are not found, and said so
            os.chdir(self.folder)

    def load(self, warn: Callable[[str], None]) -> Restorer:
        """Raises GfpError, which names this machine."""
        try:
            if self.version != __version__:
                raise EngineError(f"gfpcli is {__version__}, not {self.version} as where the run began")
            files: dict[str, Any] = {
                part: source and file_of(source, self.options) for part, source in self.sources.items()
            }
            parts = Parts(model_name=self.model_name, **files)
            return load_restorer(self.options, parts, n_inputs=self.n_inputs, warn=warn)
        except GfpError as error:
            raise type(error)(f"on {platform.node()}: {error}") from error


def recipe_of(options: FaceOptions, parts: Parts, *, n_inputs: int = 0) -> RestorerRecipe:
    """For the workers of a run that begins here."""
    files = {each.name: getattr(parts, each.name) for each in fields(parts) if each.name != "model_name"}
    sources = {part: path and source_of(path) for part, path in files.items()}
    return RestorerRecipe(options, parts.model_name, sources, n_inputs, Path.cwd())


def source_of(path: Path) -> WeightFile:
    """How the other machines find a file of this one."""
    names = {file: name for name, file in BUILTINS.items()}
    names |= {cache_folder() / weight.file: name for name, weight in WEIGHTS.items()}
    return WeightFile(path.absolute(), names.get(path), sha256_of(path))


def file_of(source: WeightFile, options: FaceOptions) -> Path:
    """The file on this machine, downloaded where it is known by name and not in the cache.

    Raises:
        CheckpointError: there is none, or another.
        WeightsError: as `fetch`.
    """
    if source.name in BUILTINS:
        path = BUILTINS[source.name]
    else:
        path = fetch(source.name, offline=options.offline) if source.name else source.path
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}; the file must lie there on every machine") from error
    if digest != source.sha256:
        raise CheckpointError(f"{path}: is not the file that the run began with: every machine must have the same")
    return path
