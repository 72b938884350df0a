"""Values that the shell offers for a flag or an argument: `gfp --install-completion` sets it up."""

from __future__ import annotations

from collections.abc import Callable

Complete = Callable[[str], list[str]]


def completed(name: str, words: tuple[str, ...] = (), *, is_list: bool = False) -> Complete:
    """What is offered for what was typed so far; where that is nothing the shell offers files.

    Args:
        name: of the option, or of the argument `weights`.
        words: all valid values of an option, where it has such; else the names that it takes besides files.
        is_list: a comma list, of which the last word is completed.
    """

    def offer(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",") if is_list else ("", "", incomplete)
        return [f"{head}{comma}{word}" for word in words or names_of(name) if word.startswith(last)]

    return offer


def names_of(name: str) -> tuple[str, ...]:
    """The names that an option knows which takes files too; none for others."""
    from gfpcli.train.options import TRAIN_PRESETS
    from gfpcli.weights.cache import BUILTINS, WEIGHTS
    from gfpcli.weights.choose import BACKGROUNDS, BUILT_IN_MODELS, DETECTOR, MODELS

    known = {
        "model": ("auto", *BUILT_IN_MODELS, *MODELS), "detector": ("auto", "builtin", DETECTOR),
        "background": ("none", "compact-x2", *BACKGROUNDS), "mask": ("auto", "parse", "soft"),
        "device": ("auto", "cpu", "cuda", "mps"), "faces": ("all", "largest", "center"),
        "preset": tuple(TRAIN_PRESETS), "weights": (*WEIGHTS, *BUILTINS),
    }  # fmt: skip
    return known.get(name, ())
