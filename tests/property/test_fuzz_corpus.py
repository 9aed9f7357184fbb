"""Every fuzz target holds on its corpus, and on blind mutations of it: the same ones each time.

The digging is done by `make fuzz`; this keeps targets alive and what was once found, found.
"""

import random
import time
import tracemalloc

import pytest
from fuzz import catalogue, run
from fuzz.mutate import mutations

SECONDS = 0.3  # of mutations for each target: all together stay below ten
MUTATIONS = 200  # at most, so that a fast machine does not try other inputs than a slow one
MAX_MEMORY = 16 * 1024 * 1024  # for one input; the dearest, a full DNS response, takes three MiB

by_target = pytest.mark.parametrize("name", catalogue.names())


@by_target
def test_the_corpus_holds(name: str) -> None:
    target = catalogue.load(name)
    seeds = target.seeds()
    assert seeds, "a target without an example is not exercised"
    for data in (b"", *seeds.values()):
        target.run(data)
        assert memory_taken(target, data) <= MAX_MEMORY


def memory_taken(target: catalogue.Target, data: bytes) -> int:
    """Bytes that Python held at the most."""
    tracemalloc.start()
    try:
        target.fuzz(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@by_target
def test_mutations_of_the_corpus_hold(name: str) -> None:
    target = catalogue.load(name)
    source = mutations(list(target.seeds().values()), target.words, random.Random(name))
    end = time.monotonic() + SECONDS
    for number in range(MUTATIONS):
        data = next(source)
        try:
            target.run(data)
        except Exception as broken:
            raise AssertionError(f"mutation {number}: {data!r}") from broken
        if time.monotonic() > end:
            return


def test_every_corpus_has_its_target() -> None:
    assert sorted(path.name for path in catalogue.CORPUS.iterdir()) == catalogue.names()


def test_the_blind_runner_keeps_what_breaks(tmp_path, monkeypatch, capsys) -> None:
    def refuse(data: bytes) -> None:
        assert b"\r" not in data

    target = catalogue.Target("sse", refuse, ())
    monkeypatch.setattr(catalogue, "load", lambda name: target)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    assert run._blind("sse", seconds=5, seed=0) is False
    (kept,) = (tmp_path / ".cache/fuzz/sse").iterdir()
    assert b"\r" in kept.read_bytes()
    assert kept.name in capsys.readouterr().out
