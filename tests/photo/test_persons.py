"""Clusters of identity vectors made here."""

from __future__ import annotations

import numpy as np
import pytest

from gfpcli.photo import persons
from gfpcli.photo.persons import Vectors, persons_of


def faces(rng: np.random.Generator, who: list[int], noise: float = 0.3) -> Vectors:
    """Unit vectors (N, 64) near the one of each person."""
    people = rng.normal(size=(max(who, default=0) + 1, 64))
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    vectors = people[who] + rng.normal(size=(len(who), 64)) * noise / 8
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_the_person_with_the_most_faces_comes_first(rng: np.random.Generator) -> None:
    assert persons_of(faces(rng, [0, 1, 2, 1, 2, 1]), 0.5) == [3, 1, 2, 1, 2, 1]
    assert persons_of(faces(rng, [5, 3, 3, 5]), 0.5) == [1, 2, 2, 1], "of equals the one seen first"


def test_few_faces_are_clustered_too(rng: np.random.Generator) -> None:
    assert persons_of(np.zeros((0, 64), np.float32), 0.5) == []
    assert persons_of(faces(rng, [0]), 0.5) == [1]
    assert persons_of(faces(rng, [0, 0]), 0.5) == [1, 1] and persons_of(faces(rng, [0, 1]), 0.5) == [1, 2]


def test_the_threshold_decides(rng: np.random.Generator) -> None:
    vectors = faces(rng, [0, 0, 1, 1])
    assert persons_of(vectors, alike=0.9999) == [1, 2, 3, 4]
    assert persons_of(vectors, alike=-1.0) == [1, 1, 1, 1]


@pytest.mark.parametrize("most", [2, 3, 7])
def test_many_are_clustered_in_parts(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    who = rng.integers(0, 3, 60).tolist()
    vectors = faces(rng, who)
    whole = persons_of(vectors, 0.5)
    monkeypatch.setattr(persons, "MOST_TOGETHER", most)
    assert persons_of(vectors, 0.5) == whole
