"""How a worker of a cluster makes the run's restorer on its own machine, from the same weights as the driver."""

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
from gfpcli.errors import CheckpointError, EngineError, GfpError, os_reason
from gfpcli.files.atomic import sha256_of
from gfpcli.memory import keep_memory
from gfpcli.options import PipelineOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS, WEIGHTS, cache_folder, fetch
from gfpcli.weights.choose import Parts


@dataclass(frozen=True, slots=True)
class WeightFile:
    """How any machine finds a weight file: in the package or in its own cache by name, else under the same path."""

    path: Path  # on the driver, absolute
    name: str | None  # in the table of weights, or a built-in one
    sha256: str


@dataclass(frozen=True, slots=True)
class RestorerRecipe:
    """Everything that a worker needs to make the run's restorer."""

    options: PipelineOptions
    model_name: str
    sources: dict[str, WeightFile | None]  # by the field of `Parts`
    n_inputs: int  # photos of the whole run; 0 for clips
    folder: Path  # the driver's working folder, to which relative paths refer
    version: str = __version__

    def prepare_process(self) -> None:
        """Prepares the worker's process: memory, threads, working folder."""
        keep_memory()
        cv2.setNumThreads(torch.get_num_threads())  # Ray gives torch as many as the worker has cores
        with suppress(OSError):  # relative paths are then not found, which their errors say
            os.chdir(self.folder)

    def load(self, warn: Callable[[str], None]) -> Restorer:
        """Raises GfpError, which names this machine."""
        try:
            if self.version != __version__:
                raise EngineError(f"gfpcli is {__version__}, not {self.version} as where the run began")
            files: dict[str, Any] = {
                part: source and local_file(source, self.options) for part, source in self.sources.items()
            }
            parts = Parts(model_name=self.model_name, **files)
            return load_restorer(self.options, parts, n_inputs=self.n_inputs, warn=warn)
        except GfpError as error:
            raise type(error)(f"on {platform.node()}: {error}") from error


def recipe_of(options: PipelineOptions, parts: Parts, *, n_inputs: int = 0) -> RestorerRecipe:
    """The recipe of a run that begins on this machine."""
    files = {each.name: getattr(parts, each.name) for each in fields(parts) if each.name != "model_name"}
    sources = {part: path and source_of(path) for part, path in files.items()}
    return RestorerRecipe(options, parts.model_name, sources, n_inputs, Path.cwd())


def source_of(path: Path) -> WeightFile:
    """How other machines find a weight file of this one. Raises OSError."""
    names = {file: name for name, file in BUILTINS.items()}
    names |= {cache_folder() / weight.file: name for name, weight in WEIGHTS.items()}
    return WeightFile(path.absolute(), names.get(path), sha256_of(path))


def local_file(source: WeightFile, options: PipelineOptions) -> Path:
    """The file on this machine; one that is known by name is downloaded where it is not in the cache.

    Raises:
        CheckpointError: the file is not here, or its content is another.
        WeightsError: as `fetch`.
    """
    if source.name in BUILTINS:
        path = BUILTINS[source.name]
    else:
        path = fetch(source.name, offline=options.offline) if source.name else source.path
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {os_reason(error)}; the file must lie there on every machine") from error
    if digest != source.sha256:
        raise CheckpointError(f"{path}: is not the file that the run began with: every machine must have the same")
    return path
